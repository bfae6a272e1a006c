import { chunkTotals } from '../../connectors/postgres-destination/chunks.ts'
import { dropIndexes, droppedIndexes, indexName, makeIndex } from '../../connectors/postgres-destination/indexes.ts'
import { areVerified } from '../../connectors/postgres-destination/object-jobs.ts'
import { noteInterrupted } from '../../connectors/postgres-destination/ours.ts'
import { parkedRows } from '../../connectors/postgres-destination/parked.ts'
import { createSlot, type CreatedSlot } from '../../connectors/postgres-source/slot.ts'
import { openSource } from '../../connectors/postgres-source/source.ts'
import { tableOf, type Catalog } from '../core/catalog.ts'
import { RekeyError } from '../core/errors.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Mapping } from '../core/mapping.ts'
import { firstParents, planPasses } from '../core/passes.ts'
import { waitsForMakers } from '../core/adopting.ts'
import type { Checkpoint, Totals } from '../core/plan.ts'
import { nameOf, type TableName } from '../core/relation.ts'
import { relationsOf } from '../core/relations.ts'
import { Rewritten } from '../core/rewritten.ts'
import { addTotals } from '../core/totals.ts'
import { createPlanner } from '../planning/planner.ts'
import type { Chunk, CopyChunk } from '../ports.ts'
import type { SnapshotOptions } from '../snapshot/options.ts'
import { snapshot } from '../snapshot/snapshot.ts'
import { type Bridge, decisionsIn, destinationOf } from './bridge.ts'
import { throughCopy } from './id-map.ts'
import { capturedTables, namesOf } from './open.ts'

/** The initial copy: what is open of it. Under the snapshot that came with the slot while that lives, else under a newer one. */
export async function copy(bridge: Bridge, checkpoint: Checkpoint, signal: AbortSignal): Promise<Checkpoint> {
  const { opened, main, meter, point } = bridge
  const { config, mapping, catalogs } = opened
  const passes = planPasses(mapping, catalogs.destination)
  const relations = relationsOf(catalogs.source, mapping)
  const { rowsPerChunk } = config.snapshot
  // Random ids are only in the ledger, and a chunk takes along the decisions that were made for it alone.
  const workers = [...mapping.entities.values()].some((entity) => entity.strategy.kind === 'random') ? 1 : config.snapshot.workers
  const resumed = bridge.slot === null
  const later = resumed ? await laterSlot(bridge) : null
  const made = bridge.slot ?? later?.slot
  const open = openSource({
    url: config.source.url, ...namesOf(config), epoch: checkpoint.epoch, copyConnections: workers + 1, ...(made ? { snapshotName: made.snapshot } : {}),
  })
  const extra = Array.from({ length: workers - 1 }, () => destinationOf(opened, { takeover: false, point, join: () => main.writer() }))
  try {
    const exported = await open.exported()
    if (made && !exported) {
      bridge.slot = null
      throw new RekeyError('REMOTE', 'the snapshot of the copy was lost with its connection')
    }
    if (resumed) {
      await main.query(noteInterrupted(config.pipeline), [])
      checkpoint = { ...checkpoint, convergeLsn: 0n }
    }
    for (const one of extra) await one.destination.open()
    const chunks = await main.destination.chunks(() => makeChunks(open.source.chunks, { mapping, passes, rowsPerChunk }))
    meter.copying(chunks)
    if (config.snapshot.indexes === 'rebuild' && chunks.every((chunk) => !chunk.done)) await dropIndexes(main.query, config.pipeline, largeTables(opened))
    const planner: SnapshotOptions['planner'] = (pass, { match, idMap }) => createPlanner({
      mapping: pass === 1 ? passes.first : mapping, minters: opened.minters, catalog: catalogs.destination, idMap, destination: { match },
      source: open.source, readMakers: open.readCopied, relations, checks: config.checks, cachedDecisions: decisionsIn(config.memory.ledger),
      verified: (objects) => areVerified(main.query, config.pipeline, objects),
    })
    const parked = parkedRows(main.query, config.pipeline)
    await snapshot({
      source: open.source, mapping, relations, chunks, checkpoint, point, converging: resumed, since: later?.since ?? new Map(), planner,
      blocked: await parked.waiting(), left: await parked.left(),
      parents: parentsOf(passes.first, catalogs.destination), onChunk: meter.copied,
      writers: [main, ...extra].map((writer) => ({ ...throughCopy(bridge, writer, false), match: writer.destination.match })),
    }, signal)
    await makeIndexes(bridge)
    const totals: Record<string, Totals> = {}
    for (const text of await chunkTotals(main.query, config.pipeline)) addTotals(totals, JSON.parse(text) as Record<string, Totals>)
    const next: Checkpoint = { ...checkpoint, phase: 'stream', totals }
    await main.destination.apply({
      parts: [], decisions: [], parked: [], unparked: [], objects: [], before: checkpoint.commitLsn, after: next, totals, chunk: null, last: true, checks: 'engine', rows: 0,
    })
    await dropSnapshot(bridge)
    return next
  } catch (error) {
    if (error instanceof Rewritten) await dropSnapshot(bridge)
    throw error
  } finally {
    await open.close()
    await later?.drop()
    await Promise.all(extra.map((one) => one.close()))
  }
}

/** Of the slot's own session; while it is open, the snapshot holds back vacuum at the source. Whatever is copied later is under another one. */
export async function dropSnapshot(bridge: Bridge): Promise<void> {
  await bridge.slot?.close().catch(() => {})
  bridge.slot = null
}

/** Below this, an index costs less to keep than to miss. Sizes are known where rows are only estimated. */
const LARGE_BYTES = 32 << 20

/** Tables of the destination to which the copy brings much more than they hold. */
function largeTables({ mapping, catalogs }: Bridge['opened']): TableName[] {
  return [...mapping.tables.values()].flatMap((rule) => {
    const [from, to] = [tableOf(catalogs.source, rule.source), tableOf(catalogs.destination, rule.target)]
    return from && to && from.bytes >= Math.max(LARGE_BYTES, to.bytes) ? [rule.target] : []
  })
}

/** Whatever an earlier run of the pipeline dropped, too. The stream needs them: it looks children up by their parents. */
async function makeIndexes({ main, events, opened }: Bridge): Promise<void> {
  const { pipeline } = opened.config
  for (const index of await droppedIndexes(main.query, pipeline)) {
    events.note({ level: 'info', event: 'index', text: `makes the index ${indexName(index)} again` })
    await makeIndex(main.query, pipeline, index)
  }
}

/**
 * Equal rows of a table without a key cannot be told apart, so the stream cannot converge over a copy of a later moment. When such a table
 * is still to be copied after a restart, the rest is copied under the snapshot of a second slot, and the stream leaves out what that
 * snapshot holds of it.
 */
async function laterSlot({ opened, main }: Bridge): Promise<{ slot: CreatedSlot; since: Map<string, Lsn>; drop(): Promise<void> } | null> {
  const { config, mapping } = opened
  const name = `${namesOf(config).slot}_copy`
  const known = await main.destination.chunks(async () => [])
  const open = known.length === 0 ? capturedTables(mapping) : known.filter((chunk) => !chunk.done).map((chunk) => chunk.table)
  const tables = open.map(nameOf).filter((table) => !mapping.tables.get(table)!.keyed)
  if (tables.length === 0) return null
  const slot = await createSlot(config.source.url, name, { temporary: true })
  return {
    slot, since: new Map(tables.map((table) => [table, slot.consistentLsn])),
    drop: () => slot.close().catch(() => {}),
  }
}

async function makeChunks(
  chunksOf: (table: TableName, rows: number) => Promise<readonly Chunk[]>,
  { mapping, passes, rowsPerChunk }: { mapping: Mapping; passes: ReturnType<typeof planPasses>; rowsPerChunk: number },
): Promise<CopyChunk[]> {
  const chunks: CopyChunk[] = []
  for (const table of capturedTables(mapping)) {
    // A table without a key is of one moment as a whole: see laterSlot.
    const undivided = passes.undivided.has(nameOf(table)) || !mapping.tables.get(nameOf(table))!.keyed
    const made = undivided ? [{ table, index: 0, after: null, upTo: null }] : await chunksOf(table, rowsPerChunk)
    chunks.push(...made.map((chunk) => ({ ...chunk, pass: 1 as const, done: false })))
    if (passes.second.has(nameOf(table))) chunks.push(...made.map((chunk) => ({ ...chunk, pass: 2 as const, done: false })))
  }
  return chunks
}

/** Source tables whose rows must be there before a table's first pass. */
function parentsOf(first: Mapping, destination: Catalog): Map<string, string[]> {
  const makers = waitsForMakers(first, destination)
  return new Map([...firstParents(first, destination)].map(([name, parents]) => [name, [...new Set([...parents, ...makers.get(name)!])]]))
}
