import type { WorkloadFacts } from '../results.ts'
import { median } from '../stats.ts'
import type { SteadyLatency } from './latency.ts'
import { MOVERS, type MoverName } from './mover.ts'
import { STAGES, type Stage, type StageRun } from './stages.ts'

export interface KafkaResults {
  readonly version: 1
  readonly date: string
  readonly options: Readonly<Record<string, unknown>>
  readonly machine: Readonly<Record<string, string | number>>
  readonly serverSettings: Readonly<Record<string, string>>
  readonly workloads: readonly WorkloadFacts[]
  readonly stages: readonly StageRun[]
  readonly latencies: readonly SteadyLatency[]
}

/** The tables of the README as Markdown. Pure: the same results give the same text. */
export function renderKafkaReport({ date, machine, options, workloads, stages, latencies }: KafkaResults): string {
  const lines = [
    `${date.slice(0, 10)}, ${machine['postgres']}, Node ${machine['node']}, ${machine['cores']} cores (${machine['cpu']}), size ${String(options['scale'])}, ` +
      `${String(options['runs'])} run${options['runs'] === 1 ? '' : 's'}.`, '',
    '| workload | way | Debezium rows/s | rekey rows/s | ratio | Debezium CPU s: source, Connect, broker, destination | rekey CPU s: source, capture, deliver, broker, Redis, destination | memory: Connect; capture, deliver |',
    '| --- | --- | ---: | ---: | ---: | --- | --- | --- |',
    ...workloads.filter((w) => w.phase !== 'latency').flatMap((w) => STAGES.map((stage) => {
      const [theirs, ours] = MOVERS.map((mover) => runsOf(stages, { phase: w.phase, stage, mover }))
      const rates = [theirs, ours].map((runs) => (runs.length === 0 ? null : Math.round(median(runs.map((r) => r.rowsPerSecond)))))
      const ratio = rates[0] === null || rates[1] === null ? '–' : `**${(rates[1] / rates[0]).toFixed(2)}**`
      return `| (${w.phase}) ${w.title}, ${w.rows} rows | ${stage} | ${rates[0] ?? '–'} | ${rates[1] ?? '–'} | ${ratio} ` +
        `| ${cpu(theirs, ['connect', 'broker'])} | ${cpu(ours, ['capture', 'deliver', 'broker', 'redis'])} ` +
        `| ${memory(theirs, ['connect'])}; ${memory(ours, ['capture', 'deliver'])} |`
    })),
  ]
  if (latencies.length > 0) {
    lines.push('', '| commit at the source until visible, 200 transactions a second | p50 | p99 |', '| --- | ---: | ---: |')
    for (const mover of MOVERS) {
      const own = latencies.filter((l) => l.mover === mover)
      if (own.length > 0) lines.push(`| ${mover} | ${median(own.map((l) => l.p50)).toFixed(1)} ms | ${median(own.map((l) => l.p99)).toFixed(1)} ms |`)
    }
  }
  return lines.join('\n')
}

function runsOf(stages: readonly StageRun[], of: { readonly phase: string; readonly stage: Stage; readonly mover: MoverName }): StageRun[] {
  return stages.filter((run) => run.phase === of.phase && run.stage === of.stage && run.mover === of.mover)
}

function cpu(runs: readonly StageRun[], names: readonly string[]): string {
  if (runs.length === 0) return '–'
  const middle = (of: (run: StageRun) => number | undefined): string => {
    const values = runs.flatMap((run) => of(run) ?? [])
    return values.length === 0 ? '–' : median(values).toFixed(1)
  }
  return [middle((r) => r.source), ...names.map((name) => middle((r) => r.processes[name]?.seconds)), middle((r) => r.destination)].join(', ')
}

function memory(runs: readonly StageRun[], names: readonly string[]): string {
  return names.map((name) => {
    const values = runs.flatMap((run) => run.processes[name]?.peakMiB ?? [])
    return values.length === 0 ? '–' : `${Math.max(...values)} MiB`
  }).join(', ')
}
