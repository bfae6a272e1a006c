import { countLedger, measureDestination } from '../../connectors/postgres-destination/measure.ts'
import type { SqlSession } from '../../connectors/postgres/session.ts'
import { measureSource } from '../../connectors/postgres-source/measure.ts'
import { every } from '../clock.ts'
import type { Config } from '../config/config.ts'
import type { Mapping } from '../core/mapping.ts'
import { nameOf } from '../core/relation.ts'
import type { Meter } from '../meter.ts'
import type { RunFacts, RunMetrics } from '../metrics/run-metrics.ts'
import type { RunEvents } from '../progress.ts'
import { version } from '../version.ts'
import { capturedTables, namesOf, type Opened } from './open.ts'

/** The metrics and the health of a run, where somebody can ask for them. */
export interface Observed {
  readonly metrics: RunMetrics
  /** Asks both databases at once, now and then, and whenever the run begins to work, until it stops. */
  watch(opened: Opened): Partial<Meter>
  /** The same of the source alone. */
  watchSource(query: SqlSession['query']): Partial<Meter>
  close(): Promise<void>
}

/** How often the databases are asked: a scrape never asks them itself. */
const SAMPLE_MS = 2_000
/** What reads many rows is asked this often at most, and not more than a hundredth of the time. */
const COUNT_MS = 10_000

/** Listens where the configuration says, and tells where that is; null when it says nothing. Rejects with CONFIG when it cannot. */
export async function observe(config: Config, { role, events }: { role: RunFacts['role']; events: RunEvents }, signal: AbortSignal): Promise<Observed | null> {
  if (!config.metrics) return null
  // Loaded where they are used: a run without them should not wait for their libraries.
  const [{ openMetrics }, { runMetrics }, { listen }, { observability }] = await Promise.all([
    import('../metrics/registry.ts'), import('../metrics/run-metrics.ts'), import('../server/http.ts'), import('../server/observability.ts')])
  const registry = openMetrics(config.pipeline)
  const metrics = runMetrics(registry, { version: version(), role, log: config.log })
  const { url, close } = await listen(config.metrics, observability(registry, metrics))
  events.note({ level: 'info', event: 'metrics', text: `metrics and health at ${url}` })
  signal.addEventListener('abort', metrics.draining)
  return {
    metrics,
    watch: (opened) => watch(opened, metrics),
    watchSource: (query) => askedOften([sourceQuestion(query, config, metrics)]),
    close() {
      signal.removeEventListener('abort', metrics.draining)
      return close()
    },
  }
}

function watch({ config, source, destination, catalogs, mapping }: Opened, metrics: RunMetrics): Partial<Meter> {
  const rows = capturedTables(mapping).map((name) => {
    const table = catalogs.source.tables.find((one) => nameOf(one) === nameOf(name))
    return [nameOf(name), Math.max(0, table?.rowsEstimate ?? 0)] as const
  })
  metrics.estimated(new Map(rows))
  return askedOften([
    sourceQuestion(source.query, config, metrics),
    oneAtATime(async () => metrics.sampledDestination(await measureDestination(destination.query, config.pipeline))),
    seldom(async () => metrics.countedLedger(byTable(mapping, await countLedger(destination.query, config.pipeline)))),
  ])
}

function sourceQuestion(query: SqlSession['query'], config: Config, metrics: RunMetrics): Question {
  const { slot } = namesOf(config)
  return oneAtATime(async () => metrics.sampledSource(await measureSource(query, slot)))
}

/** `anew`: something has begun, so what was told before is old. */
type Question = (anew: boolean) => void

function askedOften(questions: readonly Question[]): Partial<Meter> {
  const ask = (anew: boolean): void => questions.forEach((question) => question(anew))
  const begun = (): void => ask(true)
  ask(true)
  return { prepared: begun, streaming: begun, capturing: begun, stop: every(SAMPLE_MS, () => ask(false)) }
}

/** Entries stand under the name of their entity, of their table, or of the column whose values were renamed. */
function byTable({ tables }: Mapping, entries: ReadonlyMap<string, number>): Map<string, number> {
  const counts = new Map<string, number>()
  for (const [name, n] of entries) {
    const rule = [...tables.values()].find(({ entity, source }) => entity === name || nameOf(source) === name || name.startsWith(`${nameOf(source)}.`))
    const table = rule ? nameOf(rule.source) : name
    counts.set(table, (counts.get(table) ?? 0) + n)
  }
  return counts
}

/** The same, for a question that takes long. */
function seldom(ask: () => Promise<void>): Question {
  let next = 0
  return oneAtATime(async (anew) => {
    const began = performance.now()
    if (!anew && began < next) return
    const lasted = (): number => performance.now() - began
    await ask().catch((error: unknown) => {
      // Our tables may not be there yet.
      next = performance.now() + 10 * lasted()
      throw error
    })
    next = performance.now() + Math.max(COUNT_MS, 100 * lasted())
  })
}

/** A server that has not answered is not asked again meanwhile. A question that fails shows in what it would have told. */
function oneAtATime(ask: (anew: boolean) => Promise<void>): Question {
  let asking = false
  return (anew) => {
    if (asking) return
    asking = true
    void ask(anew).catch(() => {}).finally(() => (asking = false))
  }
}
