import { chunkTotals } from '../../connectors/postgres-destination/chunks.ts'
import { parkedRows } from '../../connectors/postgres-destination/parked.ts'
import { createSlot, type CreatedSlot } from '../../connectors/postgres-source/slot.ts'
import { openSource } from '../../connectors/postgres-source/source.ts'
import type { Catalog } from '../core/catalog.ts'
import { RekeyError } from '../core/errors.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Mapping } from '../core/mapping.ts'
import { planPasses } from '../core/passes.ts'
import type { Checkpoint, Totals } from '../core/plan.ts'
import { nameOf, type TableName } from '../core/relation.ts'
import { relationsOf } from '../core/relations.ts'
import { addTotals } from '../core/totals.ts'
import { createPlanner } from '../planner.ts'
import type { Chunk, CopyChunk } from '../ports.ts'
import { snapshot } from '../snapshot.ts'
import { type Bridge, decisionsIn, destinationOf } from './bridge.ts'
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
    if (resumed) checkpoint = { ...checkpoint, convergeLsn: 0n }
    for (const one of extra) await one.destination.open()
    const chunks = await main.destination.chunks(() => makeChunks(open.source.chunks, { mapping, passes, rowsPerChunk }))
    meter.copying(chunks)
    const planner = (m: Mapping) => createPlanner({
      mapping: m, minters: opened.minters, catalog: catalogs.destination, idMap: main.idMap, destination: main.destination, source: open.source, relations, checks: config.checks,
      cachedDecisions: decisionsIn(config.memory.ledger),
    })
    await snapshot({
      source: open.source, mapping, relations, chunks, checkpoint, point, converging: resumed, since: later?.since ?? new Map(), blocked: await parkedRows(main.query, config.pipeline).waiting(),
      parents: parentsOf(passes.first, catalogs.destination), writers: [main.destination, ...extra.map((one) => one.destination)],
      planners: { 1: planner(passes.first), 2: planner(mapping) }, onChunk: meter.copied,
    }, signal)
    const totals: Record<string, Totals> = {}
    for (const text of await chunkTotals(main.query, config.pipeline)) addTotals(totals, JSON.parse(text) as Record<string, Totals>)
    const next: Checkpoint = { ...checkpoint, phase: 'stream', totals }
    await main.destination.apply({
      parts: [], decisions: [], parked: [], unparked: [], before: checkpoint.commitLsn, after: next, totals, chunk: null, last: true, checks: 'engine', rows: 0,
    })
    // Its snapshot holds back vacuum at the source.
    await bridge.slot?.close().catch(() => {})
    bridge.slot = null
    return next
  } finally {
    await open.close()
    await later?.drop()
    await Promise.all(extra.map((one) => one.close()))
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

/** Source tables that a source table's rows point at in the first pass, by the destination's foreign keys; a column that it leaves null points nowhere. */
function parentsOf(mapping: Mapping, destination: Catalog): Map<string, string[]> {
  const byTarget = new Map([...mapping.tables].map(([name, rule]) => [nameOf(rule.target), name]))
  return new Map([...mapping.tables].map(([name, rule]) => {
    const target = destination.tables.find((t) => nameOf(t) === nameOf(rule.target))
    const nulled = new Set(rule.columns.filter((c) => c.source === null && c.map.kind === 'constant' && c.map.value === null).map((c) => c.target))
    const pointing = (target?.foreignKeys ?? []).filter((fk) => !fk.columns.some((column) => nulled.has(column)))
    const parents = pointing.map((fk) => byTarget.get(nameOf(fk.target))).filter((p): p is string => p !== undefined && p !== name)
    return [name, [...new Set(parents)]]
  }))
}
