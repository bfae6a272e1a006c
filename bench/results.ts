import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { CONTENDERS, type ContenderName } from './contender.ts'
import type { Usage } from './cpu.ts'
import type { Latency } from './latency.ts'
import type { Options } from './options.ts'
import type { Run } from './run.ts'
import { median, round } from './stats.ts'
import type { PhaseName } from './workloads.ts'

export const RESULTS = fileURLToPath(new URL('results', import.meta.url))

export interface WorkloadFacts {
  readonly phase: PhaseName
  readonly title: string
  readonly rows: number
  readonly transactions: number
  readonly walBytes: number
}

export interface Median {
  readonly rowsPerSecond: number
  readonly seconds: number
  readonly cpu: Usage | null
}

export interface Results {
  readonly version: 1
  readonly date: string
  readonly note: string
  readonly options: Options
  readonly serverSettings: Readonly<Record<string, string>>
  readonly machine: Readonly<Record<string, string | number>>
  readonly workloads: readonly WorkloadFacts[]
  readonly runs: readonly Run[]
  readonly latencies: readonly Latency[]
  readonly medians: Readonly<Record<string, Readonly<Partial<Record<ContenderName, Median>>>>>
  readonly latency: Readonly<Partial<Record<ContenderName, { readonly p50: number; readonly p99: number }>>>
  /** Rows a second of rekey over those of native replication: the median of the pairs; null where there is no pair. */
  readonly ratios: Readonly<Record<'a' | 'b' | 'c' | 'd', number | null>>
}

export const NOTE = 'The machine is noisy: rates vary from run to run, and the contenders of a pair run right after each other, so the ' +
  'ratios count. Native replication keeps integer keys, checks no foreign key and commits without waiting for the disk; rekey rewrites ' +
  'every key, checks foreign keys and waits for the disk.'

type Measured = Pick<Results, 'options' | 'serverSettings' | 'machine' | 'workloads' | 'runs' | 'latencies'>

/** Adds medians and ratios to what was measured. */
export function summarize(measured: Measured, date: Date): Results {
  const { runs, latencies } = measured
  const phases = [...new Set(runs.map((run) => run.phase))]
  const medians = Object.fromEntries(phases.map((phase) => {
    return [phase, byContender((name) => medianOf(runs.filter((r) => r.phase === phase && r.contender === name)))]
  }))
  const latency = byContender((name) => {
    const own = latencies.filter((l) => l.contender === name)
    return own.length === 0 ? null : { p50: round(median(own.map((l) => l.p50)), 2), p99: round(median(own.map((l) => l.p99)), 2) }
  })
  const ratios = { a: ratioOf(runs, 'a'), b: ratioOf(runs, 'b'), c: ratioOf(runs, 'c'), d: ratioOf(runs, 'd') }
  return { version: 1, date: date.toISOString(), note: NOTE, ...measured, medians, latency, ratios }
}

/** The median over the pairs, each with its own ratio: what slowed the machine for a while slowed both. */
export function ratioOf(runs: readonly Run[], phase: string): number | null {
  const rate = (pair: number, name: ContenderName) => {
    return runs.find((r) => r.phase === phase && r.pair === pair && r.contender === name)?.rowsPerSecond
  }
  const pairs = [...new Set(runs.map((run) => run.pair))].flatMap((pair) => {
    const [native, rekey] = [rate(pair, 'native'), rate(pair, 'rekey')]
    return native === undefined || rekey === undefined ? [] : [rekey / native]
  })
  return pairs.length === 0 ? null : round(median(pairs), 3)
}

/** Runs of a part of the workloads or of one contender go into a file of their own, so that they replace no whole result. */
export async function writeResults(results: Results): Promise<string> {
  const { options, date } = results
  const part = options.only.length < 5 || options.contenders.length < 2 || options.profile ? '-partial' : options.quick ? '-quick' : ''
  const file = path.join(RESULTS, `${date.slice(0, 10)}-${options.major}${part}.json`)
  await mkdir(RESULTS, { recursive: true })
  await writeFile(file, `${JSON.stringify(results, null, 2)}\n`)
  return file
}

function byContender<T>(make: (name: ContenderName) => T | null): Partial<Record<ContenderName, T>> {
  const found = CONTENDERS.map((name) => [name, make(name)] as const).filter(([, value]) => value !== null)
  return Object.fromEntries(found) as Partial<Record<ContenderName, T>>
}

function medianOf(runs: readonly Run[]): Median | null {
  if (runs.length === 0) return null
  const usages = runs.flatMap((run) => (run.cpu ? [run.cpu] : []))
  const middle = (of: (usage: Usage) => number) => round(median(usages.map(of)), 2)
  return {
    rowsPerSecond: Math.round(median(runs.map((run) => run.rowsPerSecond))),
    seconds: round(median(runs.map((run) => run.seconds)), 3),
    cpu: usages.length === 0 ? null : {
      source: middle((u) => u.source), destination: middle((u) => u.destination), node: middle((u) => u.node),
      background: middle((u) => u.background), rssMiB: middle((u) => u.rssMiB),
    },
  }
}
