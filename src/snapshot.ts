import { applyCarefully, itemsOf } from './careful.ts'
import type { Transaction } from './core/change.ts'
import { RekeyError, verdictOf } from './core/errors.ts'
import type { Lsn } from './core/lsn.ts'
import type { Mapping } from './core/mapping.ts'
import { type Blocked, block } from './core/parking.ts'
import type { Checkpoint, Decision, Parked, Totals, WritePlan } from './core/plan.ts'
import { nameOf, type Relation } from './core/relation.ts'
import type { Row } from './core/row.ts'
import { count, reopen } from './core/totals.ts'
import { type ProofBook, proofWrites, releaseWrites } from './core/write.ts'
import { type Planned, type Planner, totalled } from './planner.ts'
import type { CopyChunk, Destination, Source } from './ports.ts'

export interface SnapshotOptions {
  readonly source: Source
  readonly mapping: Mapping
  readonly relations: ReadonlyMap<string, Relation>
  readonly chunks: readonly CopyChunk[]
  /** Tables whose rows must be complete before this one's first pass begins, by source table. */
  readonly parents: ReadonlyMap<string, readonly string[]>
  /** One destination connection a worker. */
  readonly writers: readonly Destination[]
  readonly planners: { readonly 1: Planner; readonly 2: Planner }
  readonly checkpoint: Checkpoint
  /** True when chunks may be read under a newer snapshot than the slot's: rows may be there already, parents may come with the stream. */
  readonly converging: boolean
  /** Tables without a key that are copied as of a later moment than the slot's. */
  readonly since: ReadonlyMap<string, Lsn>
  readonly blocked: Blocked
  readonly onChunk: (done: { readonly table: string; readonly pass: 1 | 2; readonly rows: number; readonly finished: boolean }) => void
  readonly point: (name: string) => Promise<void>
}

/**
 * Copies what is open, parents before children, several chunks at once; each chunk is one destination transaction with its own mark, so
 * after a crash at most the chunks under way are done again. Resolves when all chunks are done.
 */
export async function snapshot(options: SnapshotOptions, signal: AbortSignal): Promise<void> {
  const open = new Set(options.chunks.filter((chunk) => !chunk.done))
  const waiting: (() => void)[] = []
  const turn = mutex()
  /** Chunks of the first pass that are not done, by table. */
  const firsts = new Map<string, number>()
  for (const chunk of open) if (chunk.pass === 1) firsts.set(nameOf(chunk.table), (firsts.get(nameOf(chunk.table)) ?? 0) + 1)
  const ready = (chunk: CopyChunk): boolean => {
    if (chunk.pass === 2) return firsts.size === 0
    return !(options.parents.get(nameOf(chunk.table)) ?? []).some((parent) => firsts.has(parent))
  }
  const finish = (chunk: CopyChunk): void => {
    open.delete(chunk)
    taken.delete(chunk)
    if (chunk.pass === 2) return
    const left = firsts.get(nameOf(chunk.table))! - 1
    if (left > 0) firsts.set(nameOf(chunk.table), left)
    else firsts.delete(nameOf(chunk.table))
  }
  const taken = new Set<CopyChunk>()
  const worker = async (writer: Destination): Promise<void> => {
    while (open.size > taken.size) {
      signal.throwIfAborted()
      const chunk = firstOf(open, (candidate) => !taken.has(candidate) && ready(candidate))
      if (!chunk) {
        if (taken.size === 0) throw new RekeyError('MAPPING', `tables that wait for each other cannot be copied: ${[...firsts.keys()].join(', ')}`)
        await new Promise<void>((resolve) => waiting.push(resolve))
        continue
      }
      taken.add(chunk)
      await copyChunk(chunk, { ...options, writer, turn, signal })
      finish(chunk)
      for (const wake of waiting.splice(0)) wake()
    }
    for (const wake of waiting.splice(0)) wake()
  }
  const results = await Promise.allSettled(options.writers.map((writer) => worker(writer).catch((error: unknown) => {
    open.clear()
    taken.clear()
    for (const wake of waiting.splice(0)) wake()
    throw error
  })))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

function firstOf<T>(all: Iterable<T>, test: (one: T) => boolean): T | undefined {
  for (const one of all) if (test(one)) return one
  return undefined
}

interface ChunkContext extends SnapshotOptions {
  readonly writer: Destination
  /** Plans are made one at a time, so that each takes along exactly the decisions made for it. */
  readonly turn: <T>(run: () => Promise<T>) => Promise<T>
  readonly signal: AbortSignal
}

async function copyChunk(chunk: CopyChunk, context: ChunkContext): Promise<void> {
  try {
    await copyFast(chunk, context)
  } catch (error) {
    if (!isFault(error)) throw error
    await copyCarefully(chunk, context)
  }
}

function isFault(error: unknown): boolean {
  if (error instanceof RangeError) return true
  if (!(error instanceof RekeyError)) return false
  return error.code === 'ROW_COUNT' || error.code === 'CONFLICT' || verdictOf(error.sqlstate) === 'data' || verdictOf(error.sqlstate) === 'retry'
}

/** Block by block into one destination transaction, one block being written while the next is read and planned. */
async function copyFast(chunk: CopyChunk, context: ChunkContext): Promise<void> {
  const { writer, checkpoint, onChunk } = context
  const planner = context.planners[chunk.pass]
  const table = nameOf(chunk.table)
  const made: Decision[] = []
  let totals: Record<string, Totals> = {}
  let rows = 0
  const book: ProofBook = new Map()
  let flight: Promise<Error | null> = Promise.resolve(null)
  const send = async (plan: WritePlan): Promise<void> => {
    const before = await flight
    if (before) throw before
    flight = writer.apply(plan).then(() => {
      for (const part of plan.parts) releaseWrites(part.writes)
      return null
    }, (error: Error) => error)
  }
  for await (const block of blocks(chunk, context)) {
    context.signal.throwIfAborted()
    const { planned, decisions } = await context.turn(() => planBlock(planner, { block, book, mayExist: chunk.pass === 2 || context.converging }))
    if (planned.conflicts.length > 0) {
      await flight
      await writer.undo()
      throw new RekeyError('CONFLICT', 'rows of a chunk need a decision')
    }
    made.push(...decisions)
    if (chunk.pass === 1) totals = totalled(totals, planned)
    rows += block.changes.length
    await send(planOf(planned, decisions, { checkpoint, totals: {}, chunk: null }))
    onChunk({ table, pass: chunk.pass, rows: block.changes.length, finished: false })
    await context.point('snap.chunk_read')
  }
  const proofs = { parts: [{ writes: proofWrites(book), truncate: [] }], checks: book.size > 0 ? 'set' as const : 'engine' as const, rows: 0 }
  await send(planOf(proofs, [], { checkpoint, totals, chunk: { table, pass: chunk.pass, index: chunk.index, rows, since: context.since.get(table) ?? null } }))
  const error = await flight
  if (error) throw error
  planner.decisions.committed(made)
  onChunk({ table, pass: chunk.pass, rows: 0, finished: true })
  await context.point('snap.chunk_written')
}

const NOTHING: Pick<Planned, 'parts' | 'checks' | 'rows'> = { parts: [], checks: 'engine', rows: 0 }

interface Block {
  readonly block: Transaction
  readonly book: ProofBook
  readonly mayExist: boolean
}

async function planBlock(planner: Planner, { block, book, mayExist }: Block): Promise<{ planned: Planned; decisions: Decision[] }> {
  const planned = await planner.plan([block], mayExist, book)
  return { planned, decisions: planner.decisions.taken() }
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

function planOf(planned: Pick<Planned, 'parts' | 'checks' | 'rows'>, decisions: readonly Decision[], frame: PlanFrame): WritePlan {
  const { checkpoint, totals, chunk, parked = [] } = frame
  return {
    parts: planned.parts, checks: planned.checks, rows: planned.rows, decisions, parked, unparked: [], totals, chunk, last: chunk !== null,
    before: checkpoint.commitLsn, after: { ...checkpoint },
  }
}

/** The chunk again, with each row that cannot be written found and parked, or left to the stream where the stream will bring it. */
async function copyCarefully(chunk: CopyChunk, context: ChunkContext): Promise<void> {
  const { writer, checkpoint, onChunk, blocked } = context
  const planner = context.planners[chunk.pass]
  const table = nameOf(chunk.table)
  await writer.undo()
  await context.turn(async () => {
    planner.decisions.reset()
    const totals: Record<string, Totals> = {}
    const parked: Parked[] = []
    let rows = 0
    for await (const block of blocks(chunk, context)) {
      const result = await applyCarefully(itemsOf([block]), { planner, destination: writer, mapping: context.mapping, converging: true, leave: context.converging, parkedBefore: blocked })
      parked.push(...result.parked)
      rows += block.changes.length
      if (chunk.pass === 1) for (const { outcome } of result.outcomes) count(totals, table, outcome)
      else for (const p of result.parked) reopen(totals, p.table)
    }
    const decisions = planner.decisions.taken()
    await writer.apply(planOf(NOTHING, decisions, { checkpoint, totals, parked, chunk: { table, pass: chunk.pass, index: chunk.index, rows, since: context.since.get(table) ?? null } }))
    for (const p of parked) if (!p.left) block(blocked, p.table, p.key)
    planner.decisions.committed(decisions)
    onChunk({ table, pass: chunk.pass, rows, finished: true })
  })
}

function mutex(): <T>(run: () => Promise<T>) => Promise<T> {
  let tail: Promise<unknown> = Promise.resolve()
  return (run) => {
    const next = tail.then(run, run)
    tail = next.catch(() => {})
    return next
  }
}
