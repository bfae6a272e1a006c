import { chunkTotals } from '../../connectors/postgres-destination/chunks.ts'
import { parkedRows } from '../../connectors/postgres-destination/parked.ts'
import { openSource } from '../../connectors/postgres-source/source.ts'
import type { Catalog } from '../core/catalog.ts'
import type { Mapping } from '../core/mapping.ts'
import { planPasses } from '../core/passes.ts'
import type { Checkpoint, Totals } from '../core/plan.ts'
import { nameOf, type TableName } from '../core/relation.ts'
import { relationsOf } from '../core/relations.ts'
import { addTotals } from '../core/totals.ts'
import { createPlanner } from '../planner.ts'
import type { Chunk, CopyChunk } from '../ports.ts'
import { snapshot } from '../snapshot.ts'
import { type Bridge, destinationOf } from './bridge.ts'
import { capturedTables, namesOf } from './open.ts'

/** The initial copy: what is open of it. Under the snapshot that came with the slot while that lives, else under a newer one. */
export async function copy(bridge: Bridge, checkpoint: Checkpoint, signal: AbortSignal): Promise<Checkpoint> {
  const { opened, main, meter, point } = bridge
  const { config, mapping, catalogs } = opened
  const passes = planPasses(mapping, catalogs.destination)
  const relations = relationsOf(catalogs.source, mapping)
  const made = bridge.slot
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
    // Its snapshot holds back vacuum at the source.
    await bridge.slot?.close().catch(() => {})
    bridge.slot = null
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
