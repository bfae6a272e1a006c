import { parseArgs } from 'node:util'

export const CONTENDERS = ['rclone', 'rclone-parts', 'rekey'] as const
export type ContenderName = (typeof CONTENDERS)[number]

export interface Options {
  readonly pairs: number
  readonly small: { readonly objects: number; readonly bytes: number }
  readonly large: { readonly objects: number; readonly bytes: number }
  /** Objects that a contender has under way at the same time. */
  readonly workers: number
  /** What rekey proves of each copy. */
  readonly verify: 1 | 2
  /** CPU profiles of rekey go to bench/profiles. */
  readonly profile: boolean
  /** rekey's `objects.threads`; null: its default. */
  readonly threads: number | null
  readonly movers: readonly ContenderName[]
}

export const USAGE = `Usage: npm run bench:objects -- [options]
  --quick           4,000 small objects and 5 of 200 MB, two pairs
  --pairs N         interleaved pairs (default 3)
  --small N         objects of 4 KiB (default 20000; 0 leaves them out)
  --large N         objects of 200 MB in parts of 8 MiB (default 20; 0 leaves them out)
  --workers N       objects at the same time, for both (default 32)
  --verify 1|2      what rekey proves: 1 size and ETag, 2 SHA-256 on both sides (default 2)
  --movers A,B      some of rclone, rclone-parts and rekey (default all)
  --threads N       rekey's objects.threads (default: as it is without)
  --profile         CPU profiles of rekey in bench/profiles
The disk must hold the objects once, and twice more while a pair runs.`

/** Throws Error with a sentence for the user. */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false }, pairs: { type: 'string' }, small: { type: 'string' }, large: { type: 'string' },
      workers: { type: 'string', default: '32' }, verify: { type: 'string', default: '2' }, profile: { type: 'boolean', default: false },
      threads: { type: 'string' },
      movers: { type: 'string', default: CONTENDERS.join(',') },
    },
  })
  const number = (text: string, name: string, most: number): number => {
    if (!/^\d{1,7}$/.test(text) || Number(text) > most) throw new Error(`--${name}: expected a whole number up to ${most}`)
    return Number(text)
  }
  const [pairs, small, large] = values.quick ? ['2', '4000', '5'] : ['3', '20000', '20']
  return {
    pairs: Math.max(1, number(values.pairs ?? pairs, 'pairs', 99)),
    small: { objects: number(values.small ?? small, 'small', 1_000_000), bytes: 4_096 },
    large: { objects: number(values.large ?? large, 'large', 1_000), bytes: 200_000_000 },
    workers: Math.max(1, number(values.workers, 'workers', 512)), verify: number(values.verify, 'verify', 2) === 1 ? 1 : 2,
    profile: values.profile, threads: values.threads === undefined ? null : number(values.threads, 'threads', 64), movers: moversOf(values.movers),
  }
}

function moversOf(text: string): ContenderName[] {
  return text.split(',').map((name) => {
    const known = CONTENDERS.find((one) => one === name)
    if (known === undefined) throw new Error(`--movers: there is no ${name}`)
    return known
  })
}
