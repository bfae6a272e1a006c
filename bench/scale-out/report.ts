import type { ProcessUsage } from '../kafka/usage.ts'
import { median } from '../stats.ts'
import type { ScaleTrial } from './trial.ts'

export interface ScaleResults {
  readonly version: 1
  readonly date: string
  readonly options: Readonly<Record<string, unknown>>
  readonly machine: Readonly<Record<string, string | number>>
  readonly serverSettings: Readonly<Record<string, string>>
  readonly workload: { readonly title: string; readonly rows: number; readonly transactions: number }
  readonly trials: readonly ScaleTrial[]
}

/** The table of the README as Markdown. Pure: the same results give the same text. */
export function renderScale({ date, machine, workload, trials }: ScaleResults): string {
  const groups = [...new Map(trials.map((one) => [`${one.delayMs}/${one.share}/${one.processes}`, one])).values()]
  const lines = groups.map(({ delayMs, share, processes }) => {
    const alike = trials.filter((one) => one.delayMs === delayMs && one.share === share)
    const own = alike.filter((one) => one.processes === processes)
    const middle = (of: (one: ScaleTrial) => number): number => median(own.map(of))
    const one = alike.filter((other) => other.processes === 1)
    const times = one.length === 0 ? '–' : (middle((t) => t.rowsPerSecond) / median(one.map((t) => t.rowsPerSecond))).toFixed(2)
    const all = (of: (usage: ProcessUsage) => number): string => own[0].deliver.map((_, i) => of(own.reduce((a, b) => (a.deliver[i].seconds < b.deliver[i].seconds ? a : b)).deliver[i]).toFixed(1)).join(' + ')
    const busy = own.some((t) => t.machine === null) ? '–' : middle((t) => t.machine! / t.allSeconds).toFixed(1)
    const cores = middle((t) => (t.deliver.reduce((sum, d) => sum + d.seconds, 0) + t.broker + t.destination + t.benchmark) / t.allSeconds)
    return `| ${delayMs === 0 ? 'near' : `${delayMs} ms each way`}${share < 1 ? `, ${share} of a core a process` : ''} | ${processes} | ${Math.round(middle((t) => t.rowsPerSecond)).toLocaleString('en')} | ${times} ` +
      `| ${all((usage) => usage.seconds)} | ${middle((t) => t.destination).toFixed(1)} | ${middle((t) => t.broker).toFixed(1)} | ${middle((t) => t.benchmark).toFixed(1)} | ${cores.toFixed(1)} of ${busy} |`
  })
  return [
    `${date.slice(0, 10)}, ${machine['postgres']}, Node ${machine['node']}, ${machine['cores']} cores (${machine['cpu']}): ${workload.title}, ${workload.rows.toLocaleString('en')} rows.`, '',
    '| destination | deliver processes | rows/s | to one | CPU s: each process | destination | broker | benchmark and proxy | cores in use: by these, of all |',
    '| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |', ...lines,
  ].join('\n')
}
