import { openSession, type SqlSession } from '../connectors/postgres/session.ts'
import { postgresDestination, type PostgresDestination } from '../connectors/postgres-destination/destination.ts'
import { beginRun, chunkTotals } from '../connectors/postgres-destination/chunks.ts'
import { parkedRows } from '../connectors/postgres-destination/parked.ts'
import { directLog } from '../connectors/direct/log.ts'
import { comparePublication, ensurePublication, readPublication } from '../connectors/postgres-source/publication.ts'
import { createSlot, dropSlot, freeSlot, readSlot, type CreatedSlot } from '../connectors/postgres-source/slot.ts'
import { openSource } from '../connectors/postgres-source/source.ts'
import { readCatalog } from './catalog.ts'
import type { Config } from './config/config.ts'
import { readMapping } from './config/mapping-files.ts'
import { capture } from './capture.ts'
import type { Catalog } from './core/catalog.ts'
import { compileMapping } from './core/compile.ts'
import { RekeyError } from './core/errors.ts'
import type { Lsn } from './core/lsn.ts'
import type { Mapping } from './core/mapping.ts'
import type { Checkpoint, Totals } from './core/plan.ts'
import { planPasses } from './core/passes.ts'
import type { Problem } from './core/problem.ts'
import type { Minters } from './core/program.ts'
import { nameOf, type TableName } from './core/relation.ts'
import { judgeSlot } from './core/slot-health.ts'
import { addTotals } from './core/totals.ts'
import { deliver } from './deliver.ts'
import { failpoints, type Point } from './failpoint.ts'
import { RestartStream } from './delivery.ts'
import { mintersFor } from './mint.ts'
import { createPlanner } from './planner.ts'
import type { Chunk, CopyChunk } from './ports.ts'
import { type Meter, startMeter, type RunEvents } from './progress.ts'
import { snapshot } from './snapshot.ts'
import { relationsOf } from './core/relations.ts'
import { every, sleep } from './clock.ts'

export type { Note, Progress, RunEvents } from './progress.ts'

/** The composition root: the only file that names a port and what stands behind it. */

/** Two open databases, their catalogs and the mapping against them. */
export interface Opened {
  readonly config: Config
  readonly source: SqlSession
  readonly destination: SqlSession
  readonly catalogs: { readonly source: Catalog; readonly destination: Catalog }
  readonly mapping: Mapping
  readonly problems: readonly (Problem & { readonly place: string })[]
  readonly minters: Minters
}

/** Names of what we make at the source. */
export function namesOf(config: Config): { readonly slot: string; readonly publication: string } {
  return { slot: `rekey_${config.pipeline}`, publication: `rekey_${config.pipeline}` }
}

/** Opens both databases for the length of `work`. Rejects with SAME_DATABASE when they are one. */
export async function withDatabases<T>(config: Config, work: (opened: Opened) => Promise<T>): Promise<T> {
  const source = await openSession(config.source.url, 'source')
  try {
    const destination = await openSession(config.destination.url, 'destination')
    try {
      const catalogs = { source: await readCatalog(source.objects), destination: await readCatalog(destination.objects) }
      const same = (c: Catalog): string => `${c.systemId}/${c.database}`
      if (same(catalogs.source) === same(catalogs.destination)) throw new RekeyError('SAME_DATABASE', 'source and destination are the same database')
      const files = await readMapping(config.mapping)
      const { mapping, problems } = compileMapping(files.source, catalogs.source, catalogs.destination)
      const minters = mintersFor(mapping, config, catalogs.source)
      return await work({ config, source, destination, catalogs, mapping, minters, problems: problems.map((p) => ({ ...p, place: files.place(p.where) })) })
    } finally {
      await destination.close()
    }
  } finally {
    await source.close()
  }
}

/** Tables whose changes are captured: those that are carried. */
export function capturedTables(mapping: Mapping): TableName[] {
  return [...mapping.tables.values()].filter((rule) => rule.verdict === 'move' || rule.verdict === 'merge').map((rule) => rule.source)
}

export interface RunOptions {
  readonly takeover: boolean
  /** For tests: a named place was reached. */
  readonly point?: Point
}

/**
 * The whole way: takes the pipeline, copies what is not copied, then streams until the signal aborts; what is under way is then finished.
 * Resolves with the last checkpoint. Rejects with RekeyError.
 */
export async function run(config: Config, options: RunOptions, events: RunEvents, signal: AbortSignal): Promise<Checkpoint> {
  return withDatabases(config, async (opened) => {
    refuseProblems(opened)
    await refuseWalLevel(opened)
    const point = options.point ?? failpoints(process.env['REKEY_FAILPOINTS'])
    const main = destinationOf(opened, { takeover: options.takeover, point })
    const meter = startMeter(opened, events)
    try {
      const bridge: Bridge = { opened, main, meter, events, point, options }
      let checkpoint = await prepare(bridge)
      if (checkpoint.phase === 'snapshot') checkpoint = await copy(bridge, checkpoint, signal)
      return signal.aborted ? checkpoint : await streamOn(bridge, checkpoint, signal)
    } catch (error) {
      if (signal.aborted && (error as Error).name === 'AbortError') return await main.destination.open()
      throw error
    } finally {
      meter.stop()
      await slots.get(main)?.close().catch(() => {})
      await main.close()
    }
  })
}

interface Bridge {
  readonly opened: Opened
  readonly main: PostgresDestination
  readonly meter: Meter
  readonly events: RunEvents
  readonly point: Point
  readonly options: RunOptions
}

/** The slot of this run, while its exported snapshot is held open. */
const slots = new WeakMap<PostgresDestination, CreatedSlot>()

function destinationOf({ config, mapping, catalogs }: Opened, more: { takeover: boolean; point: Bridge['point']; join?: () => string }): PostgresDestination {
  return postgresDestination({
    url: config.destination.url, pipeline: config.pipeline, mapping, catalog: catalogs.destination, checks: config.checks, lockTimeoutMs: 10_000, ...more,
  })
}

function refuseProblems({ problems }: Opened): void {
  const errors = problems.filter((p) => p.severity === 'error')
  if (errors.length === 0) return
  throw new RekeyError('MAPPING', errors.map((p) => `${p.place} ${p.where}: ${p.message}`).join('\n'))
}

async function refuseWalLevel({ source }: Opened): Promise<void> {
  const [[level]] = await source.query('show wal_level')
  if (level !== 'logical') throw new RekeyError('WAL_LEVEL', `the source has wal_level = ${level}`)
}

/** Opens the destination and brings slot, publication and checkpoint to agree: made anew for a run that has nothing yet, else judged. */
async function prepare({ opened, main, options }: Bridge): Promise<Checkpoint> {
  const { config, catalogs, mapping } = opened
  const { slot, publication } = namesOf(config)
  const checkpoint = await main.destination.open()
  const tables = capturedTables(mapping)
  if (checkpoint.phase === 'new') return begin(opened, main, checkpoint)
  if (checkpoint.mappingDigest !== mapping.digest) {
    throw new RekeyError('CONFIG', 'the mapping was changed since this run began; a running pipeline keeps its mapping', { hint: 'Restore the mapping files, or `rekey remove` and begin anew.' })
  }
  if (options.takeover) await freeSlot(config.source.url, slot)
  const health = judgeSlot(await freed(config.source.url, slot), { ...checkpoint, database: catalogs.source.database })
  if (health.state !== 'ok') throw new RekeyError(health.code, health.message)
  const found = await readPublication(config.source.url, publication)
  const differences = found ? comparePublication(found, tables) : ['it is gone']
  if (differences.length > 0) throw new RekeyError('PUBLICATION', `publication ${publication}: ${differences.join('; ')}`)
  return checkpoint
}

/** The walsender of a reader that was killed needs a moment to notice; only then is the slot really in use. */
async function freed(url: string, slot: string): Promise<Awaited<ReturnType<typeof readSlot>>> {
  for (let tries = 0; ; tries++) {
    const state = await readSlot(url, slot)
    if (!state.slot?.activePid || tries === 20) return state
    await sleep(250)
  }
}

async function begin(opened: Opened, main: PostgresDestination, checkpoint: Checkpoint): Promise<Checkpoint> {
  const { config, mapping } = opened
  const { slot, publication } = namesOf(config)
  const tables = capturedTables(mapping)
  await ensurePublication(config.source.url, publication, tables)
  // A slot of ours without a checkpoint is left from a start that did not get this far; nothing was copied with it.
  await dropSlot(config.source.url, slot)
  const made = await createSlot(config.source.url, slot)
  slots.set(main, made)
  const epoch = checkpoint.epoch + 1
  const next: Checkpoint = {
    ...checkpoint, epoch, commitLsn: made.after, endLsn: made.consistentLsn, convergeLsn: made.consistentLsn, phase: 'snapshot',
    mappingDigest: mapping.digest, sourceSystem: made.systemId, sourceTimeline: made.timeline,
  }
  await beginRun(main.query, config.pipeline, main.writer(), next)
  return next
}

/** The initial copy: what is open of it. Under the snapshot that came with the slot while that lives, else under a newer one. */
async function copy(bridge: Bridge, checkpoint: Checkpoint, signal: AbortSignal): Promise<Checkpoint> {
  const { opened, main, meter, point } = bridge
  const { config, mapping, catalogs } = opened
  const passes = planPasses(mapping, catalogs.destination)
  const relations = relationsOf(catalogs.source, mapping)
  const made = slots.get(main)
  const { workers, rowsPerChunk } = config.snapshot
  const open = openSource({
    url: config.source.url, ...namesOf(config), epoch: checkpoint.epoch, copyConnections: workers + 1, ...(made ? { snapshotName: made.snapshot } : {}),
  })
  const extra = Array.from({ length: workers - 1 }, () => destinationOf(opened, { takeover: false, point, join: () => main.writer() }))
  try {
    const exported = await open.exported()
    if (!exported) checkpoint = { ...checkpoint, convergeLsn: 0n }
    for (const one of extra) await one.destination.open()
    const chunks = await main.destination.chunks(() => makeChunks(open.source.chunks, { mapping, passes, rowsPerChunk }))
    meter.copying(chunks)
    const planner = (m: Mapping) => createPlanner({
      mapping: m, minters: opened.minters, catalog: catalogs.destination, idMap: main.idMap, destination: main.destination, source: open.source, relations, checks: config.checks,
    })
    await snapshot({
      source: open.source, mapping, relations, chunks, checkpoint, point, converging: !exported, blocked: await parkedRows(main.query, config.pipeline).waiting(),
      parents: parentsOf(mapping, catalogs.destination), writers: [main.destination, ...extra.map((one) => one.destination)],
      planners: { 1: planner(passes.first), 2: planner(mapping) }, onChunk: meter.copied,
    }, signal)
    const totals: Record<string, Totals> = {}
    for (const text of await chunkTotals(main.query, config.pipeline)) addTotals(totals, JSON.parse(text) as Record<string, Totals>)
    const next: Checkpoint = { ...checkpoint, phase: 'stream', totals }
    await main.destination.apply({
      parts: [], decisions: [], parked: [], unparked: [], before: checkpoint.commitLsn, after: next, totals, chunk: null, last: true, checks: 'engine', rows: 0,
    })
    return next
  } finally {
    await open.close()
    await Promise.all(extra.map((one) => one.close()))
  }
}

async function makeChunks(
  chunksOf: (table: TableName, rows: number) => Promise<readonly Chunk[]>,
  { mapping, passes, rowsPerChunk }: { mapping: Mapping; passes: ReturnType<typeof planPasses>; rowsPerChunk: number },
): Promise<CopyChunk[]> {
  const chunks: CopyChunk[] = []
  for (const table of capturedTables(mapping)) {
    const undivided = passes.undivided.has(nameOf(table))
    const made = undivided ? [{ table, index: 0, after: null, upTo: null }] : await chunksOf(table, rowsPerChunk)
    chunks.push(...made.map((chunk) => ({ ...chunk, pass: 1 as const, done: false })))
    if (passes.second.has(nameOf(table))) chunks.push(...made.map((chunk) => ({ ...chunk, pass: 2 as const, done: false })))
  }
  return chunks
}

/** Source tables that a source table's rows point at, by the destination's foreign keys and the mapping's references. */
function parentsOf(mapping: Mapping, destination: Catalog): Map<string, string[]> {
  const byTarget = new Map([...mapping.tables].map(([name, rule]) => [nameOf(rule.target), name]))
  return new Map([...mapping.tables].map(([name, rule]) => {
    const target = destination.tables.find((t) => nameOf(t) === nameOf(rule.target))
    const parents = (target?.foreignKeys ?? []).map((fk) => byTarget.get(nameOf(fk.target))).filter((p): p is string => p !== undefined && p !== name)
    return [name, [...new Set(parents)]]
  }))
}

/** Capture and delivery side by side, begun again at the checkpoint when a server went away or a large transaction has to be done with care. */
async function streamOn(bridge: Bridge, from: Checkpoint, signal: AbortSignal): Promise<Checkpoint> {
  const { events } = bridge
  let checkpoint = from
  let careful: Lsn = 0n
  let failures = 0
  let since = performance.now()
  for (;;) {
    try {
      checkpoint = await streamOnce(bridge, checkpoint, careful, signal)
      return checkpoint
    } catch (error) {
      if (signal.aborted) return checkpoint
      if (performance.now() - since > 60_000) failures = 0
      since = performance.now()
      if (error instanceof RestartStream) careful = error.careful > careful ? error.careful : careful
      else if (!(error instanceof RekeyError) || error.exit !== 6 || error.code === 'INTERNAL' || ++failures > 100) throw error
      events.note({ level: 'warn', event: 'restart', text: `begins again at the checkpoint: ${(error as Error).message}` })
      await sleep(Math.min(bridge.opened.config.retry.most, bridge.opened.config.retry.first * 2 ** failures))
      checkpoint = await reopen(bridge, checkpoint, signal)
    }
  }
}

async function reopen(bridge: Bridge, last: Checkpoint, signal: AbortSignal): Promise<Checkpoint> {
  const { retry } = bridge.opened.config
  const began = performance.now()
  for (let wait = retry.first; ; wait = Math.min(retry.most, wait * 2)) {
    try {
      return await prepare(bridge)
    } catch (error) {
      if (signal.aborted) return last
      if (!(error instanceof RekeyError) || (error.exit !== 6 && error.code !== 'SLOT_IN_USE') || performance.now() - began > retry.giveUp) throw error
      bridge.events.note({ level: 'warn', event: 'waiting', text: `waits for the databases: ${error.message}` })
      await sleep(wait)
    }
  }
}

async function streamOnce(bridge: Bridge, checkpoint: Checkpoint, carefulUntil: Lsn, signal: AbortSignal): Promise<Checkpoint> {
  const { opened, main, meter, point } = bridge
  const { config, mapping, catalogs } = opened
  const log = directLog({ maxBytes: config.memory.queue })
  const open = openSource({ url: config.source.url, ...namesOf(config), epoch: checkpoint.epoch, queueBytes: config.memory.transaction })
  const marker = `converged ${checkpoint.epoch}`
  let latest = checkpoint
  const stop = new AbortController()
  const ended = AbortSignal.any([signal, stop.signal])
  const beat = heartbeat(opened, checkpoint.convergeLsn === 0n ? marker : null)
  try {
    const relations = relationsOf(catalogs.source, mapping)
    const planner = createPlanner({
      mapping, minters: opened.minters, catalog: catalogs.destination, idMap: main.idMap, destination: main.destination, source: open.source,
      relations, checks: config.checks,
    })
    meter.streaming(checkpoint)
    const parked = parkedRows(main.query, config.pipeline)
    const tasks = [
      capture({ source: open.source, log, after: checkpoint.commitLsn, retainMs: config.retain, onRead: meter.read, point, now: () => performance.now(), every }, ended),
      deliver({
        log, destination: main.destination, planner, mapping, checkpoint, batch: config.batch, parked, relations, carefulUntil, point, now: () => performance.now(),
        convergeAt: (messages, lsn) => (messages.includes(marker) ? lsn : null),
        onApplied: (applied) => {
          latest = applied.checkpoint
          meter.applied(applied)
        },
        pause: sleep,
      }, ended),
      beat.done,
    ]
    const settled = await Promise.allSettled(tasks.map((task) => task.catch((error: unknown) => {
      stop.abort()
      throw error
    })))
    const errors = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason as Error] : []))
    const first = errors.find((error) => error instanceof RekeyError && error.exit !== 6) ?? errors.find((error) => error instanceof RestartStream) ?? errors[0]
    if (first) throw first
    return latest
  } finally {
    beat.stop()
    await open.close()
  }

  function heartbeat(at: Opened, once: string | null): { done: Promise<void>; stop(): void } {
    return startHeartbeat(at, { marker: once, signal: ended })
  }
}

/** Logical messages that move a quiet slot on, and, once, the marker behind everything that the initial copy can have seen. */
function startHeartbeat({ config, source }: Opened, { marker, signal }: { marker: string | null; signal: AbortSignal }): { done: Promise<void>; stop(): void } {
  const beat = (text: string): Promise<unknown> => source.query('select pg_logical_emit_message(false, $1, $2)', ['rekey', text])
  const stopped = new AbortController()
  const either = AbortSignal.any([signal, stopped.signal])
  const done = (async () => {
    if (marker) await beat(marker)
    while (!either.aborted) {
      await sleep(config.heartbeat, either)
      if (!either.aborted) await beat('heartbeat')
    }
  })()
  return { done, stop: () => stopped.abort() }
}
