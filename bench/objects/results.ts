import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { median, round } from '../stats.ts'
import { CONTENDERS, type ContenderName, type Options } from './options.ts'
import type { ObjectSet } from './seed.ts'
import type { Measured } from './watch.ts'

const RESULTS = fileURLToPath(new URL('../results/objects', import.meta.url))

export interface Run extends Measured {
  readonly set: ObjectSet
  readonly pair: number
  readonly contender: ContenderName
}

export interface Results {
  readonly version: 1
  readonly date: string
  readonly options: Options
  readonly machine: Readonly<Record<string, string | number>>
  readonly runs: readonly Run[]
}

/** Objects a second of rekey over those of another: the median over the pairs. */
export function ratioOf(runs: readonly Run[], set: ObjectSet['name'], other: ContenderName): number {
  const seconds = (pair: number, name: ContenderName): number =>
    runs.find((run) => run.set.name === set && run.pair === pair && run.contender === name)?.seconds ?? Number.NaN
  const pairs = [...new Set(runs.filter((run) => run.set.name === set).map((run) => run.pair))]
  return round(median(pairs.map((pair) => seconds(pair, other) / seconds(pair, 'rekey'))), 2)
}

export function table({ runs }: Pick<Results, 'runs'>): string {
  const lines = [
    '| objects | contender | objects/s | MB/s | CPU s: contender, S3 servers, databases | memory | rekey to it |',
    '| --- | --- | ---: | ---: | --- | ---: | ---: |',
  ]
  for (const set of new Map(runs.map((run) => [run.set.name, run.set])).values()) {
    for (const name of CONTENDERS) {
      const own = runs.filter((run) => run.set.name === set.name && run.contender === name)
      if (own.length === 0) continue
      const middle = (of: (run: Run) => number, digits = 1): string => round(median(own.map(of)), digits).toFixed(digits)
      const cells = [
        `${set.objects} of ${set.bytes < 1e6 ? `${set.bytes / 1_024} KiB` : `${set.bytes / 1e6} MB`}`, name,
        middle(({ seconds }) => set.objects / seconds, set.name === 'small' ? 0 : 2),
        middle(({ seconds }) => (set.objects * set.bytes) / seconds / 1e6),
        [middle(({ cpu }) => cpu.contender), middle(({ cpu }) => cpu.servers), middle(({ cpu }) => cpu.databases)].join(', '),
        `${middle(({ rssMiB }) => rssMiB, 0)} MiB`, name === 'rekey' ? '' : `**${ratioOf(runs, set.name, name).toFixed(2)}**`,
      ]
      lines.push(`| ${cells.join(' | ')} |`)
    }
  }
  return lines.join('\n')
}

export async function write(results: Results): Promise<string> {
  await mkdir(RESULTS, { recursive: true })
  const file = path.join(RESULTS, `${results.date.slice(0, 10)}.json`)
  await writeFile(file, `${JSON.stringify(results, null, 2)}\n`)
  return file
}
