import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { RESULTS, type Median, type Results } from './results.ts'

/** The tables of the README as Markdown, from a result file. Pure: the same results give the same text. */
export function renderReport(results: Results): string {
  const { machine, options, latency } = results
  const lines = [
    `${results.date.slice(0, 10)}, ${machine['postgres']}, Node ${machine['node']}, ${machine['cores']} cores (${machine['cpu']}), ` +
      `medians of ${options.runs} interleaved pair${options.runs === 1 ? '' : 's'}, size ${options.scale}.`,
    '',
    '| workload | rows | native rows/s | rekey rows/s | ratio | native CPU s: source, apply | rekey CPU s: source, rekey, destination ' +
      '| memory |',
    '| --- | ---: | ---: | ---: | ---: | --- | --- | ---: |',
    ...results.workloads.filter((w) => w.phase in results.medians).map((w) => {
      const { native, rekey } = results.medians[w.phase]
      const ratio = results.ratios[w.phase as keyof Results['ratios']]
      const cells = [`(${w.phase}) ${w.title}`, count(w.rows), count(native?.rowsPerSecond), count(rekey?.rowsPerSecond),
        ratio === null ? '–' : `**${ratio.toFixed(2)}**`,
        cpu(native, ['source', 'destination']), cpu(rekey, ['source', 'node', 'destination']),
        rekey?.cpu ? `${rekey.cpu.rssMiB} MiB` : '–']
      return `| ${cells.join(' | ')} |`
    }),
  ]
  const names = (['native', 'rekey'] as const).filter((name) => latency[name])
  if (names.length > 0) {
    lines.push('', '| commit at the source until visible, idle | p50 | p99 |', '| --- | ---: | ---: |')
    for (const name of names) lines.push(`| ${name} | ${latency[name]!.p50.toFixed(2)} ms | ${latency[name]!.p99.toFixed(2)} ms |`)
  }
  return [...lines, '', results.note, ''].join('\n')
}

function count(value: number | undefined): string {
  return value === undefined ? '–' : String(value).replace(/\B(?=(\d{3})+$)/g, ',')
}

function cpu(of: Median | undefined, roles: readonly ('source' | 'node' | 'destination')[]): string {
  const usage = of?.cpu
  return usage ? roles.map((role) => usage[role].toFixed(1)).join(', ') : '–'
}

/** The newest of the result files that are whole. */
async function newest(): Promise<string> {
  const names = (await readdir(RESULTS).catch(() => [])).filter((n) => n.endsWith('.json') && !n.endsWith('-partial.json')).sort()
  if (names.length === 0) throw new Error('there are no results yet: run `npm run bench`, or name a file')
  return path.join(RESULTS, names[names.length - 1])
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const file = process.argv[2] ?? (await newest())
  process.stdout.write(renderReport(JSON.parse(await readFile(file, 'utf8')) as Results))
}
