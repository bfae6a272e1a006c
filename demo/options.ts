import { parseArgs } from 'node:util'

export interface Options {
  /** 1 is about 75,000 rows at the source. */
  readonly scale: number
  /** How long changes are carried over after the initial copy. */
  readonly seconds: number
  /** The same seed makes the same rows and the same sequence of changes. */
  readonly seed: number
  readonly keep: boolean
  readonly json: boolean
  readonly help: boolean
}

export const HELP = `npm run demo -- [options]

Joins two live applications in two Postgres servers of its own, in about a minute. It needs nothing but this folder, and leaves nothing.

  --keep          leave the servers up at the end, to look around, until Ctrl-C
  --json          one line of JSON with the results on the standard output; the story goes to the error output
  --scale <n>     how much data: 1 (default) is about 75,000 rows at the source
  --seconds <n>   how long to carry changes over after the initial copy (default 20)
  --seed <n>      other data and other changes (default 1)
`

/** Reads the command line; throws an Error with a text for the user. */
export function readOptions(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv], allowPositionals: false,
    options: {
      keep: { type: 'boolean', default: false }, json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
      scale: { type: 'string', default: '1' }, seconds: { type: 'string', default: '20' }, seed: { type: 'string', default: '1' },
    },
  })
  return {
    keep: values.keep, json: values.json, help: values.help, scale: number('--scale', values.scale, { least: 0.01, most: 100 }),
    seconds: number('--seconds', values.seconds, { least: 1, most: 86_400 }),
    seed: number('--seed', values.seed, { least: 0, most: 2 ** 32 - 1 }),
  }
}

function number(name: string, text: string, { least, most }: { readonly least: number; readonly most: number }): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= least && value <= most)) throw new Error(`${name}: expected a number from ${least} to ${most}`)
  return value
}
