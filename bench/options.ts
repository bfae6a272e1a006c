import { parseArgs } from 'node:util'
import type { Major } from '../test/support/postgres.ts'
import { PHASES, type PhaseName } from './workloads.ts'
import { CONTENDERS, type ContenderName } from './contender.ts'

export interface Options {
  readonly quick: boolean
  /** The last line of the standard output is one JSON object, and progress goes to the standard error. */
  readonly json: boolean
  readonly only: readonly PhaseName[]
  readonly contenders: readonly ContenderName[]
  /** Interleaved pairs per workload. */
  readonly runs: number
  /** Factor on the rows of every workload; 1 is the full size. */
  readonly scale: number
  readonly samples: number
  readonly major: Major
  /** How rekey is configured: what its bulk work is made for, or its careful defaults. */
  readonly checks: 'engine' | 'set'
  readonly indexes: 'keep' | 'rebuild'
  readonly profile: boolean
}

export const USAGE = `Usage: npm run bench -- [options]
  --quick              smaller workloads and three pairs: some minutes
  --json               progress on stderr, one JSON object as the last line of stdout
  --only a,b,c,d,latency
  --runs N             interleaved pairs per workload (default 5, quick 3)
  --rows FACTOR        size of the workloads, 1 is full (default 1, quick 0.3)
  --major N            Postgres 14 to 18 (default 15)
  --checks engine|set  how rekey proves foreign keys (default set)
  --indexes keep|rebuild
                       what rekey's copy does with plain indexes of large tables (default rebuild)
  --contenders native,rekey
  --profile            CPU profiles of rekey into bench/profiles`

/** Throws Error with a sentence for the user. */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false }, json: { type: 'boolean', default: false }, profile: { type: 'boolean', default: false },
      only: { type: 'string' }, contenders: { type: 'string' }, checks: { type: 'string' },
      indexes: { type: 'string' }, runs: { type: 'string' }, rows: { type: 'string' }, major: { type: 'string' },
    },
  })
  const { quick, json, profile } = values
  return {
    quick, json, profile,
    only: listOf(values.only, PHASES, '--only'),
    contenders: listOf(values.contenders, CONTENDERS, '--contenders'),
    runs: numberOf(values.runs ?? (quick ? '3' : '5'), '--runs', { least: 1, most: 99, whole: true }),
    scale: numberOf(values.rows ?? (quick ? '0.3' : '1'), '--rows', { least: 0.001, most: 100, whole: false }),
    samples: 400,
    major: numberOf(values.major ?? '15', '--major', { least: 14, most: 18, whole: true }) as Major,
    checks: listOf(values.checks ?? 'set', ['engine', 'set'] as const, '--checks')[0],
    indexes: listOf(values.indexes ?? 'rebuild', ['keep', 'rebuild'] as const, '--indexes')[0],
  }
}

function listOf<T extends string>(text: string | undefined, known: readonly T[], name: string): readonly T[] {
  if (text === undefined) return known
  const asked = text.split(',')
  const unknown = asked.filter((one) => !(known as readonly string[]).includes(one))
  if (unknown.length > 0) throw new Error(`${name}: ${unknown.join(', ')} is not one of ${known.join(', ')}`)
  return known.filter((one) => asked.includes(one))
}

function numberOf(text: string, name: string, range: { least: number; most: number; whole: boolean }): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= range.least && value <= range.most) || (range.whole && !Number.isInteger(value))) {
    throw new Error(`${name}: expected a number from ${range.least} to ${range.most}`)
  }
  return value
}
