import type { Config } from './config/config.ts'
import { sleep } from './clock.ts'
import { silenced } from './core/check/mapping.ts'
import { CHANGED, RekeyError } from './core/errors.ts'
import type { Checkpoint } from './core/plan.ts'
import { moreCare, NO_CARE, RestartStream } from './deliver/delivery.ts'
import { failpoints, type Point } from './failpoint.ts'
import { allOf } from './meter.ts'
import { type Bridge, destinationOf } from './pipeline/bridge.ts'
import { capturedUpTo, type CaptureRole, runCapture } from './pipeline/capture.ts'
import { copy } from './pipeline/copy.ts'
import { openLedgerCopy } from './pipeline/id-map.ts'
import { kafkaOf } from './pipeline/kafka-log.ts'
import { sharedDelivery } from './pipeline/lanes.ts'
import { type Opened, withDatabases } from './pipeline/open.ts'
import { observe, type Observed } from './pipeline/observe.ts'
import { prepare, refuseChanges } from './pipeline/prepare.ts'
import { again, isRunning, passes } from './pipeline/retry.ts'
import { watchSource } from './pipeline/source-tables.ts'
import { stream } from './pipeline/stream.ts'
import { workAlone, workersOf } from './pipeline/workers.ts'
import { startCaptureMeter, startMeter, type RunEvents } from './progress.ts'

/**
 * What one process does of the whole. capture: from the slot to the topic; deliver: rows, from the topic to the destination (both with a log in
 * Kafka); mirror: objects alone, beside another process that carries the rows; all: everything that is configured.
 */
export const ROLES = ['all', 'capture', 'deliver', 'mirror'] as const
export type Role = (typeof ROLES)[number]

export interface RunOptions {
  readonly takeover: boolean
  /** What this process does of the whole: all by default. */
  readonly role?: Role
  /** A conflicts.csv with a person's decisions; plan.json, of which it is a part, stands beside it. */
  readonly conflicts?: string
  /** For tests: a named place was reached. */
  readonly point?: Point
}

/**
 * The whole way: takes the pipeline, copies what is not copied, then streams until the signal aborts; what is under way is then finished.
 * A server that goes away is waited for. Resolves with the last checkpoint. Rejects with RekeyError. With a log in Kafka, capture and
 * delivery are two that know nothing of each other: in one process, or each in its own (`role`), begun in any order.
 */
export async function run(config: Config, options: RunOptions, events: RunEvents, signal: AbortSignal): Promise<Checkpoint> {
  const { role = 'all' } = options
  if ((role === 'capture' || role === 'deliver') && config.log !== 'kafka') throw new RekeyError('USAGE', `--role ${role} needs log: kafka in rekey.yaml`)
  if (config.kafka?.format === 'debezium' && (role === 'all' || role === 'capture')) {
    throw new RekeyError('USAGE', 'kafka: { format: debezium } leaves capture to the connector: run with --role deliver')
  }
  const observed = await observe(config, { role, events }, signal)
  const of: Part = { config, options, events, observed, point: options.point ?? failpoints(process.env['REKEY_FAILPOINTS']) }
  try {
    if (role === 'mirror') return await mirrors(of, signal)
    if (role === 'capture') return await captures(of, signal)
    return config.log === 'kafka' && role === 'all' ? await both(of, signal) : await delivers(of, () => {}, signal)
  } finally {
    await observed?.close()
  }
}

/** What the roles of one process share. */
interface Part {
  readonly config: Config
  readonly options: RunOptions
  readonly events: RunEvents
  readonly observed: Observed | null
  readonly point: Point
}

/**
 * Rows, and objects unless another process has them. `prepared` is called when slot, topic and checkpoint are there and agree. Where a table of the
 * destination was changed under way nothing of that batch is kept, both catalogs are read anew, and it goes on with those, if they still fit.
 */
async function delivers(of: Part, prepared: () => void, signal: AbortSignal): Promise<Checkpoint> {
  for (let { options } = of; ;) {
    try {
      return await deliversBy({ ...of, options }, prepared, signal)
    } catch (error) {
      if (!(error instanceof RekeyError) || error.sqlstate !== CHANGED || signal.aborted) throw error
      of.events.note({ level: 'warn', event: 'restart', text: `reads the tables anew and begins again at the checkpoint: ${error.message}` })
    }
    // Taken over and decided is what was.
    const { conflicts: _, ...more } = options
    options = { ...more, takeover: false }
    await sleep(of.config.retry.first, signal)
  }
}

/** By the catalogs as they are now. */
function deliversBy({ config, options, events, observed, point }: Part, prepared: () => void, signal: AbortSignal): Promise<Checkpoint> {
  return withDatabases(config, async (opened) => {
    await refuseProblems(opened)
    await refuseWalLevel(opened)
    const main = destinationOf(opened, { takeover: options.takeover, point })
    const told = allOf([startMeter(opened, events), ...(events.meter ? [events.meter] : []), ...(observed ? [observed.metrics, observed.watch(opened)] : [])])
    const workers = workersOf(opened, { events, point, meter: told }, signal)
    const watch = watchSource(opened, { note: events.note, failed: (error) => told.failed('decode', error) }, signal)
    const shared = config.log === 'kafka' && kafkaOf(config).partitions > 1 ? sharedDelivery() : null
    const meter = allOf([{ prepared }, { prepared: watch.begin }, ...(shared ? [shared.meter] : []), told, ...(options.role === 'deliver' ? [] : [{ prepared: workers.begin }])])
    const bridge: Bridge = { opened, main, meter, events, point, options, copy: null, slot: null }
    try {
      const ended = AbortSignal.any([signal, workers.failed, watch.failed])
      const checkpoint = await (shared ? shared.run(bridge, single, ended) : goOn(bridge, ended))
      await workers.end()
      await watch.end()
      return checkpoint
    } finally {
      await workers.end().catch(() => {})
      await watch.end().catch(() => {})
      meter.stop()
      await bridge.slot?.close().catch(() => {})
      await main.close()
      await bridge.copy?.close()
    }
  })
}

function mirrors({ config, events, observed, point }: Part, signal: AbortSignal): Promise<Checkpoint> {
  return withDatabases(config, async (opened) => {
    await refuseProblems(opened)
    const meter = allOf([startMeter(opened, events, 'mirror'), ...(observed ? [observed.metrics, observed.watch(opened)] : [])])
    try {
      return await workAlone(opened, { events, point, meter }, signal)
    } finally {
      meter.stop()
    }
  })
}

async function captures({ config, options, events, observed, point }: Part, signal: AbortSignal): Promise<Checkpoint> {
  const progress = startCaptureMeter(events)
  const meter = allOf([progress, ...(observed ? [observed.metrics] : [])])
  try {
    const watch: CaptureRole['watch'] = ({ query }) => observed?.watchSource(query) ?? {}
    await runCapture({ config, meter, watch, note: events.note, point, takeover: options.takeover }, signal)
    return capturedUpTo(progress.commitLsn())
  } finally {
    meter.stop()
  }
}

/** Both in one process; when one of them ends, so does the other. */
async function both(of: Part, signal: AbortSignal): Promise<Checkpoint> {
  const { config, options, events, observed, point } = of
  const stop = new AbortController()
  const ended = AbortSignal.any([signal, stop.signal])
  let capturing: Promise<void> | null = null
  // Delivery tells of the rest, of the source, too.
  const meter = allOf(observed ? [{ capturing: observed.metrics.capturing, read: observed.metrics.read, failed: observed.metrics.failed }] : [])
  const begin = (): void => {
    capturing ??= runCapture({ config, meter, watch: () => ({}), note: events.note, point, takeover: options.takeover }, ended)
    capturing.catch(() => stop.abort())
  }
  try {
    return await delivers(of, begin, ended)
  } finally {
    stop.abort()
    // What capture fails with is why delivery was stopped.
    await (capturing as Promise<void> | null)
  }
}

async function refuseProblems(opened: Opened): Promise<void> {
  const { problems, config, mapping } = opened
  const errors = problems.filter((p) => p.severity === 'error').map((p) => `${p.place} ${p.where}: ${p.message}`)
  if (errors.length > 0) await refuseChanges(opened, errors)
  const silent = silenced(mapping, config.checks)
  if (silent.length > 0) errors.push(`triggers: off (${silent.join(', ')}) needs checks: set in rekey.yaml`)
  if (errors.length > 0) throw new RekeyError('MAPPING', errors.join('\n'))
}

async function refuseWalLevel({ source }: Opened): Promise<void> {
  const [[level]] = await source.query('show wal_level')
  if (level !== 'logical') throw new RekeyError('WAL_LEVEL', `the source has wal_level = ${level}`)
}

/** As goOn(), but whoever finds another process in its place leaves it to that one. */
const single = (bridge: Bridge, signal: AbortSignal): Promise<Checkpoint> => goOn(bridge, signal, (error) => passes(error) && !isRunning(error))

/** From the checkpoint on, again and again: when a server went away, and when a large transaction has to be done with care. */
async function goOn(bridge: Bridge, signal: AbortSignal, mayPass = passes): Promise<Checkpoint> {
  let checkpoint: Checkpoint | null = null
  let care = NO_CARE
  await again({
    retry: bridge.opened.config.retry, signal,
    mayPass(error) {
      if (error instanceof RestartStream) care = moreCare(care, error)
      return checkpoint !== null && (signal.aborted || error instanceof RestartStream || mayPass(error))
    },
    waits(error) {
      bridge.meter.waiting(error)
      bridge.events.note({ level: 'warn', event: 'restart', text: `begins again at the checkpoint: ${error.message}` })
    },
  }, async () => {
    checkpoint = await prepare(bridge, checkpoint !== null)
    bridge.meter.prepared(checkpoint)
    bridge.copy ??= await openLedgerCopy(bridge)
    if (checkpoint.phase === 'snapshot') checkpoint = await copied(bridge, checkpoint, signal)
    if (!signal.aborted) checkpoint = await stream(bridge, checkpoint, { care, signal })
  })
  return checkpoint!
}

async function copied(bridge: Bridge, checkpoint: Checkpoint, signal: AbortSignal): Promise<Checkpoint> {
  try {
    return await copy(bridge, checkpoint, signal)
  } catch (error) {
    if (!signal.aborted) bridge.meter.failed('snapshot', error)
    throw error
  }
}
