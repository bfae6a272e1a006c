import { applyCarefully, itemsOf } from '../deliver/careful.ts'
import type { Transaction } from '../core/change.ts'
import { RekeyError, verdictOf } from '../core/errors.ts'
import { type Blocked, block, isBehind } from '../core/parking.ts'
import type { Checkpoint, Decision, Parked, Totals, WritePlan } from '../core/plan.ts'
import { ledgerName } from '../core/program.ts'
import { nameOf, type Relation } from '../core/relation.ts'
import type { Row } from '../core/row.ts'
import { count, reopen } from '../core/totals.ts'
import { type ProofBook, proofWrites, releaseWrites } from '../core/write.ts'
import { type Planned, type Planner, totalled } from '../planning/planner.ts'
import type { CopyChunk } from '../ports.ts'
import type { SnapshotOptions, Writer } from './options.ts'

/** The planners that all workers share, so that what one has looked up or decided, the others know. */
export interface Shared {
  /** Plans are made one at a time, so that each takes along exactly the decisions made for it. Nothing is written meanwhile. */
  turn<T>(pass: 1 | 2, writer: Writer, run: (planner: Planner) => Promise<T>): Promise<T>
  readonly planners: Readonly<Record<1 | 2, Planner>>
  /** Chunks that are done again, one at a time. */
  alone<T>(run: () => Promise<T>): Promise<T>
}

export interface ChunkContext extends SnapshotOptions {
  readonly writer: Writer
  readonly shared: Shared
  readonly waits: Blocked
  readonly signal: AbortSignal
  /** Resolves when the rows that this chunk's rows point at are there; rejects when they will not come. */
  parentsDone(): Promise<void>
}

/** Blocks under way at once: while the server works on one, the next lies in its socket already. */
const IN_FLIGHT = 2

/** How often a chunk is tried with care: another chunk may have made the same decision, or hold a row locked. */
const TRIES = 20

/** Block by block as fast as it goes; where a row stands in the way, again with care. */
export async function copyChunk(chunk: CopyChunk, context: ChunkContext): Promise<void> {
  const { shared, writer } = context
  const made: Decision[] = []
  const { objects } = context.mapping.tables.get(nameOf(chunk.table))!
  try {
    // Rows that wait for their objects are parked until those are there.
    if (!objects.some((rule) => rule.when === 'before')) return await copyFast(chunk, made, context)
  } catch (error) {
    if (!isFault(error)) throw error
  }
  await context.parentsDone()
  // They were never written, so nobody may build on them.
  await shared.turn(chunk.pass, writer, async ({ decisions }) => decisions.forget(made))
  const once = async (): Promise<void> => {
    await writer.destination.undo()
    await copyCarefully(chunk, context)
  }
  for (let tries = 1; ; tries++) {
    try {
      // Those that got into each other's way go one by one.
      return await (tries === 1 ? once() : shared.alone(once))
    } catch (error) {
      if (tries === TRIES || !isFault(error)) throw error
    }
  }
}

function isFault(error: unknown): boolean {
  if (error instanceof RangeError) return true
  if (!(error instanceof RekeyError) || error.code === 'ENCODING') return false
  return error.code === 'ROW_COUNT' || error.code === 'CONFLICT' || verdictOf(error.sqlstate) === 'data' || verdictOf(error.sqlstate) === 'retry'
}

/** Block by block into one destination transaction, one block being written while the next is read and planned. */
async function copyFast(chunk: CopyChunk, made: Decision[], context: ChunkContext): Promise<void> {
  const { writer: { destination }, checkpoint, onChunk, shared } = context
  const planner = shared.planners[chunk.pass]
  const table = nameOf(chunk.table)
  const { ledger } = planner.programOf(context.relations.get(table)!).rule
  let totals: Record<string, Totals> = {}
  let rows = 0
  const book: ProofBook = new Map()
  const fromTriggers: Decision[] = []
  const flights: Promise<Error | null>[] = []
  const parents = parkedParents(chunk, context)
  const landed = async (most = 0): Promise<void> => {
    while (flights.length > most) {
      const error = await flights.shift()!
      if (error) throw error
    }
  }
  let sent = 0
  const send = async (plan: WritePlan): Promise<void> => {
    await landed(IN_FLIGHT - 1)
    flights.push(destination.apply({ ...plan, continues: sent++ > 0 }).then(() => {
      for (const part of plan.parts) releaseWrites(part.writes)
      return null
    }, (error: Error) => error))
  }
  for await (const block of blocks(chunk, context)) {
    context.signal.throwIfAborted()
    // Its look-ups wait for what this connection writes: not while others wait for their turn.
    if (ledger) await landed()
    if (waitsBehind(block, planner, context)) throw new RekeyError('CONFLICT', 'rows of a chunk wait behind parked ones')
    const mayExist = mayBeThere(chunk)
    const planning = shared.turn(chunk.pass, context.writer, () => planBlock(planner, { block, book, mayExist }))
    const { planned, decisions } = await planning.catch(async (error: unknown) => {
      await landed()
      throw error
    })
    made.push(...decisions)
    if (chunk.pass === 1) totals = totalled(totals, planned)
    rows += block.changes.length
    await send(planOf(planned, decisions, { checkpoint, totals: {}, chunk: null }))
    if (chunk.pass === 1 && planner.adopts([block], true)) {
      await landed()
      fromTriggers.push(...(await shared.turn(chunk.pass, context.writer, async () => {
        await planner.adoptMade(block)
        return planner.decisions.taken()
      })))
    }
    onChunk({ table, pass: chunk.pass, rows: block.changes.length, finished: false })
    await context.point('snap.chunk_read')
  }
  await context.parentsDone()
  if (parkedParents(chunk, context) !== parents) throw new RekeyError('CONFLICT', 'parents of a chunk were parked after it was begun')
  const proofs = { parts: [{ writes: proofWrites(book), truncate: [] }], checks: book.size > 0 ? 'set' as const : 'engine' as const, rows: 0, objects: [] }
  made.push(...fromTriggers)
  await send(planOf(proofs, fromTriggers, { checkpoint, totals, chunk: { table, pass: chunk.pass, index: chunk.index, rows, since: context.since.get(table) ?? null } }))
  await landed()
  planner.decisions.committed(made)
  onChunk({ table, pass: chunk.pass, rows: 0, finished: true })
  await context.point('snap.chunk_written')
}

/**
 * Whether a row of ours may be there already. Otherwise one under its id is somebody else's. A chunk that was cut off has left nothing, and
 * no other one holds its keys.
 */
function mayBeThere({ pass }: CopyChunk): boolean {
  return pass === 2
}

/** Rows of the block, or rows that they point at, are parked. */
function waitsBehind({ changes }: Transaction, { programOf }: Planner, { blocked, mapping }: ChunkContext): boolean {
  return blocked.size > 0 && changes.some((change) => isBehind(change, programOf(change.relation), mapping, blocked))
}

/** How many rows are parked that the rows of a chunk may point at. */
function parkedParents({ table }: CopyChunk, { parents, blocked }: ChunkContext): number {
  return (parents.get(nameOf(table)) ?? []).reduce((sum, parent) => sum + (blocked.get(parent)?.size ?? 0), 0)
}

const NOTHING: Pick<Planned, 'parts' | 'checks' | 'rows' | 'objects'> = { parts: [], checks: 'engine', rows: 0, objects: [] }

interface Block {
  readonly block: Transaction
  readonly book: ProofBook
  readonly mayExist: boolean
}

/** Leaves no decision behind when it rejects. */
async function planBlock(planner: Planner, { block, book, mayExist }: Block): Promise<{ planned: Planned; decisions: Decision[] }> {
  const mark = planner.decisions.mark()
  try {
    const planned = await planner.plan([block], mayExist, book)
    if (planned.conflicts.length > 0) throw new RekeyError('CONFLICT', 'rows of a chunk need a decision')
    return { planned, decisions: planner.decisions.taken() }
  } catch (error) {
    planner.decisions.undo(mark)
    throw error
  }
}

async function* blocks(chunk: CopyChunk, { source, relations }: ChunkContext): AsyncGenerator<Transaction> {
  const relation = relations.get(nameOf(chunk.table))!
  for await (const rows of source.copy(chunk, relation.columns.map((column) => column.name))) yield blockOf(relation, rows)
}

function blockOf(relation: Relation, rows: readonly Row[]): Transaction {
  const changes = rows.map((row) => ({ op: 'insert' as const, relation, row, old: null, oldIsFull: false }))
  return { epoch: 0, xid: 0, commitLsn: 0n, endLsn: 0n, commitMicros: 0, changes, first: 0, last: true, bytes: 0, messages: [] }
}

interface PlanFrame {
  readonly checkpoint: Checkpoint
  readonly totals: Record<string, Totals>
  readonly chunk: WritePlan['chunk']
  readonly parked?: readonly Parked[]
}

function planOf(planned: Pick<Planned, 'parts' | 'checks' | 'rows' | 'objects'>, decisions: readonly Decision[], frame: PlanFrame): WritePlan {
  const { checkpoint, totals, chunk, parked = [] } = frame
  return {
    parts: planned.parts, checks: planned.checks, rows: planned.rows, objects: planned.objects, decisions, parked, unparked: [], totals, chunk, last: chunk !== null,
    before: checkpoint.commitLsn, after: { ...checkpoint },
  }
}

/**
 * The chunk again, with each row that cannot be written found and parked, or left to the stream where the stream will bring it. It takes
 * long and may wait for locks, so it has a planner of its own: what it decides goes with it alone, and where another chunk decides the
 * same at the same time, the ledger lets one of them through and the other is done again.
 */
async function copyCarefully(chunk: CopyChunk, context: ChunkContext): Promise<void> {
  const { writer, checkpoint, onChunk, blocked, mapping, waits } = context
  const { destination } = writer
  const planner = context.planner(chunk.pass, writer)
  const table = nameOf(chunk.table)
  const totals: Record<string, Totals> = {}
  const parked: Pick<Parked, 'table' | 'key' | 'left'>[] = []
  let rows = 0
  for await (const read of blocks(chunk, context)) {
    context.signal.throwIfAborted()
    const deps = { planner, destination, mapping, converging: mayBeThere(chunk), leave: context.converging, parkedBefore: blocked }
    const result = await applyCarefully(itemsOf([read]), deps)
    const fresh = result.parked.filter((one) => chunk.pass === 1 || !waits.get(one.table)?.has(one.key))
    parked.push(...fresh.map(({ table: of, key, left }) => ({ table: of, key, left })))
    // Block by block, so that a chunk whose rows all wait is never in memory as a whole.
    await destination.apply(planOf({ ...NOTHING, objects: result.objects }, [], { checkpoint, totals: {}, chunk: null, parked: fresh }))
    rows += read.changes.length
    if (chunk.pass === 1) for (const { outcome } of result.outcomes) count(totals, table, outcome)
    else for (const one of fresh) reopen(totals, one.table, await outcomeBefore(one, planner, read.changes[0].relation))
  }
  const decisions = planner.decisions.taken()
  const done = { table, pass: chunk.pass, index: chunk.index, rows, since: context.since.get(table) ?? null }
  await destination.apply(planOf(NOTHING, decisions, { checkpoint, totals, chunk: done }))
  for (const one of parked) {
    block(waits, one.table, one.key)
    if (!one.left) block(blocked, one.table, one.key)
  }
  context.shared.planners[chunk.pass].decisions.committed(decisions)
  onChunk({ table, pass: chunk.pass, rows, finished: true })
}

/** What a row that fails in the second pass was counted as in the first. */
async function outcomeBefore({ key }: Parked, { programOf, decisions }: Planner, relation: Relation): Promise<'inserted' | 'merged'> {
  const program = programOf(relation)
  if (!program.rule.ledger) return 'inserted'
  const entity = ledgerName(program)
  await decisions.load(entity, [key])
  return decisions.get(entity, key)?.kind === 'merged' ? 'merged' : 'inserted'
}
