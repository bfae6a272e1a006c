import { applyCarefully, itemsOf } from './careful.ts'
import type { Transaction } from './core/change.ts'
import { RekeyError, verdictOf } from './core/errors.ts'
import type { Lsn } from './core/lsn.ts'
import type { Mapping } from './core/mapping.ts'
import { type Blocked, block, isBehind } from './core/parking.ts'
import type { Checkpoint, Decision, Parked, Totals, WritePlan } from './core/plan.ts'
import { addTotals, copyTotals, count } from './core/totals.ts'
import { type Planned, type Planner, totalled } from './planner.ts'
import type { ChangeLog, Destination } from './ports.ts'

export interface DeliverOptions {
  readonly log: ChangeLog
  readonly destination: Destination
  readonly planner: Planner
  readonly mapping: Mapping
  readonly checkpoint: Checkpoint
  readonly batch: { readonly rows: number; readonly bytes: number; readonly inFlight: number }
  /** Rows that wait for a decision, as the destination has them at the start. */
  readonly parked: Blocked
  /** Transactions up to this commit LSN are applied change by change: one of them failed when it was applied as a whole. */
  readonly carefulUntil: Lsn
  /** Commit LSN from which on the initial copy is passed; before it, new rows may be there already. Known from a marker: see capture. */
  readonly convergeAt: (messages: readonly string[], commitLsn: Lsn) => Lsn | null
  readonly onApplied: (applied: Applied) => void
  readonly point: (name: string) => Promise<void>
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>
}

export interface Applied {
  readonly checkpoint: Checkpoint
  readonly transactions: number
  readonly rows: number
  readonly parked: number
  /** Commit time of the newest transaction, microseconds since the epoch; 0 when the batch has none. */
  readonly commitMicros: number
}

/** A source transaction failed after parts of it were sent on: the stream must begin again at the checkpoint, with care up to `careful`. */
export class RestartStream extends Error {
  readonly careful: Lsn

  constructor(message: string, careful: Lsn, cause?: unknown) {
    super(message, { cause })
    this.careful = careful
  }
}

interface Flight {
  readonly transactions: readonly Transaction[]
  readonly decisions: readonly Decision[]
  readonly next: Checkpoint
  readonly parked: number
  readonly done: Promise<RekeyError | null>
}

/**
 * Takes transactions from the log, in order, and applies batches of whole ones: as many rows as are waiting, up to the batch size, or at
 * once when the destination is idle. Up to two batches are in flight; their checkpoints are chained, so an error in one undoes both and
 * both are done again, one by one. Ends when the signal aborts, after the batches in flight; throws RekeyError, RestartStream.
 */
export async function deliver(options: DeliverOptions, signal: AbortSignal): Promise<void> {
  const { log, batch } = options
  const state: State = { committed: options.checkpoint, chain: options.checkpoint, blocked: options.parked, midway: false, partial: null }
  const flights: Flight[] = []
  const reader = log.read(signal)[Symbol.asyncIterator]()
  const pending = pendingTransactions()
  let reading: Promise<IteratorResult<readonly Transaction[]>> | null = null
  let ended = false
  while (!ended || pending.length() > 0 || flights.length > 0) {
    const full = pending.rows() >= batch.rows || pending.bytes() >= batch.bytes
    if (pending.length() > 0 && (flights.length === 0 || (full && flights.length < batch.inFlight))) {
      const transactions = pending.take(batch)
      const flight = await launch(transactions, options, state, flights)
      if (flight) flights.push(flight)
      continue
    }
    reading ??= ended || full ? null : reader.next()
    const landed = flights.length > 0 ? flights[0].done.then(() => 'landed' as const) : null
    const event = await Promise.race([reading, landed].filter((p) => p !== null))
    if (event === 'landed') await land(flights, options, state, signal)
    else if (event) {
      reading = null
      if (event.done) ended = true
      else pending.push(event.value.filter((t) => t.commitLsn > state.committed.commitLsn))
    }
  }
}

interface State {
  /** What the destination has. */
  committed: Checkpoint
  /** What it will have when all flights have landed. */
  chain: Checkpoint
  blocked: Blocked
  /** Parts of a source transaction were sent that is not complete. */
  midway: boolean
  /** What was found so far in a transaction that is applied carefully, fragment by fragment. */
  partial: { totals: Record<string, Totals>; parked: Parked[] } | null
}

interface Pending {
  push(transactions: readonly Transaction[]): void
  take(limit: { rows: number; bytes: number }): Transaction[]
  rows(): number
  bytes(): number
  length(): number
}

function pendingTransactions(): Pending {
  let queue: Transaction[] = []
  let rows = 0
  let bytes = 0
  return {
    push(transactions) {
      for (const t of transactions) {
        queue.push(t)
        rows += t.changes.length
        bytes += t.bytes
      }
    },
    /** A fragment that is not the last ends its batch: what follows it belongs to the same destination transaction. */
    take(limit) {
      let n = 0
      for (let r = 0, b = 0; n < queue.length && r < limit.rows && b < limit.bytes;) {
        const t = queue[n++]
        r += t.changes.length
        b += t.bytes
        rows -= t.changes.length
        bytes -= t.bytes
        if (!t.last) break
      }
      const taken = queue.slice(0, n)
      queue = queue.slice(n)
      return taken
    },
    rows: () => rows,
    bytes: () => bytes,
    length: () => queue.length,
  }
}

/** Plans a batch and sends it; null when it was done here and now, carefully. */
async function launch(transactions: readonly Transaction[], options: DeliverOptions, state: State, flights: Flight[]): Promise<Flight | null> {
  const careful = state.partial !== null || transactions[0].commitLsn <= options.carefulUntil || waitsBehind(transactions, options, state.blocked)
  const planned = careful ? null : await tryPlan(transactions, options, state)
  if (planned === null || planned.conflicts.length > 0) {
    if (state.midway) throw new RestartStream('a transaction in fragments needs care', transactions[0].commitLsn)
    await settle(flights, options, state)
    options.planner.decisions.reset()
    await carefully(transactions, options, state)
    return null
  }
  const decisions = options.planner.decisions.taken()
  const next = nextCheckpoint(transactions, { ...state.chain, totals: totalled(state.chain.totals, planned) }, options)
  const plan = planOf({ planned, decisions, before: state.chain, next, last: transactions.at(-1)!.last })
  state.chain = plan.last ? next : { ...state.chain, totals: next.totals }
  state.midway = !plan.last
  const done = options.destination.apply(plan).then(() => null, (error: RekeyError) => error)
  return { transactions, decisions, next: state.chain, parked: 0, done }
}

/** Null when a value has not the form that the mapping says: the row is then looked for, and parked. */
async function tryPlan(transactions: readonly Transaction[], options: DeliverOptions, state: State): Promise<Planned | null> {
  try {
    return await options.planner.plan(transactions, converging(transactions, state.chain))
  } catch (error) {
    if (error instanceof RangeError || (error as Error).name === 'Unmatched') return null
    throw error
  }
}

function waitsBehind(transactions: readonly Transaction[], options: DeliverOptions, blocked: Blocked): boolean {
  if (blocked.size === 0) return false
  return transactions.some((t) => t.changes.some((change) => isBehind(change, options.planner.programOf(change.relation), options.mapping, blocked)))
}

function converging(transactions: readonly Transaction[], checkpoint: Checkpoint): boolean {
  return checkpoint.convergeLsn === 0n || transactions[0].commitLsn <= checkpoint.convergeLsn
}

function nextCheckpoint(transactions: readonly Transaction[], from: Checkpoint, options: DeliverOptions): Checkpoint {
  const final = transactions.findLast((t) => t.last)
  if (!final) return from
  let { convergeLsn } = from
  if (convergeLsn === 0n) for (const t of transactions) convergeLsn = options.convergeAt(t.messages, t.commitLsn) ?? convergeLsn
  return { ...from, epoch: final.epoch, commitLsn: final.commitLsn, endLsn: final.endLsn, convergeLsn, phase: 'stream' }
}

interface PlanInput {
  readonly planned: Pick<Planned, 'parts' | 'checks' | 'rows'>
  readonly decisions: readonly Decision[]
  readonly before: Checkpoint
  readonly next: Checkpoint
  readonly last: boolean
  readonly parked?: WritePlan['parked']
}

function planOf({ planned, decisions, before, next, last, parked = [] }: PlanInput): WritePlan {
  const { epoch, commitLsn, endLsn, convergeLsn, phase } = next
  return {
    parts: planned.parts, decisions, parked, unparked: [], before: before.commitLsn, after: { epoch, commitLsn, endLsn, convergeLsn, phase },
    totals: next.totals, chunk: null, last, checks: planned.checks, rows: planned.rows,
  }
}

/** The oldest flight has come down: acknowledge it, or undo and repeat all that are in the air. */
async function land(flights: Flight[], options: DeliverOptions, state: State, signal: AbortSignal): Promise<void> {
  const flight = flights[0]
  const error = await flight.done
  if (error) return recover(error, flights, options, state, signal)
  flights.shift()
  accept(flight, options, state)
}

function accept(flight: Flight, options: DeliverOptions, state: State): void {
  options.planner.decisions.committed(flight.decisions)
  if (!flight.transactions.at(-1)!.last) return
  state.committed = flight.next
  options.log.ack(flight.next.endLsn)
  options.onApplied({
    checkpoint: flight.next, transactions: flight.transactions.filter((t) => t.last).length, parked: flight.parked,
    rows: flight.transactions.reduce((n, t) => n + t.changes.length, 0), commitMicros: flight.transactions.at(-1)!.commitMicros,
  })
}

/** Waits for everything in flight to be committed. */
async function settle(flights: Flight[], options: DeliverOptions, state: State): Promise<void> {
  while (flights.length > 0) await land(flights, options, state, new AbortController().signal)
}

async function recover(error: RekeyError, flights: Flight[], options: DeliverOptions, state: State, signal: AbortSignal): Promise<void> {
  await Promise.all(flights.map((flight) => flight.done))
  const redo = flights.splice(0).flatMap((flight) => flight.transactions)
  options.planner.decisions.reset()
  const whole = redo.every((t) => t.last && t.first === 0)
  const verdict = error instanceof RekeyError && error.code === 'ROW_COUNT' ? 'data' : verdictOf(error.sqlstate)
  if (verdict === 'stop') throw error
  if (!whole || state.midway) throw new RestartStream(error.message, verdict === 'data' ? redo.at(-1)!.commitLsn : 0n, error)
  state.chain = state.committed
  if (verdict === 'data') return carefully(redo, options, state)
  await repeat(redo, options, state, signal, verdict)
}

/** The same batch again, after a pause that grows; a lost connection is opened anew and what had been committed after all is left out. */
async function repeat(redo: readonly Transaction[], options: DeliverOptions, state: State, signal: AbortSignal, first: 'retry' | 'pause'): Promise<void> {
  let verdict: ReturnType<typeof verdictOf> = first
  for (let tries = 0; ; tries++) {
    await options.pause(Math.min(5_000, 50 * 2 ** tries), signal)
    if (signal.aborted) return
    try {
      if (verdict === 'pause') {
        const checkpoint = await options.destination.open()
        if (checkpoint.commitLsn < state.committed.commitLsn) throw new RestartStream('the destination has lost commits', 0n)
        state.committed = state.chain = checkpoint
      }
      const open = redo.filter((t) => t.commitLsn > state.committed.commitLsn)
      if (open.length > 0) await carefully(open, options, state)
      else options.log.ack(state.committed.endLsn)
      return
    } catch (error) {
      options.planner.decisions.reset()
      state.chain = state.committed
      if (!(error instanceof RekeyError)) throw error
      verdict = verdictOf(error.sqlstate)
      if (verdict === 'stop' || verdict === 'data' || error.code === 'FENCED' || error.code === 'RUNNING') throw error
    }
  }
}

/**
 * One destination transaction in which every change that can be applied is, and the others are parked. A transaction in fragments stays
 * open at the destination until its last one.
 */
async function carefully(transactions: readonly Transaction[], options: DeliverOptions, state: State): Promise<void> {
  const { planner, destination, mapping } = options
  const result = await applyCarefully(itemsOf(transactions), {
    planner, destination, mapping, converging: converging(transactions, state.committed), parkedBefore: state.blocked,
  })
  const partial = (state.partial ??= { totals: {}, parked: [] })
  for (const { table, outcome } of result.outcomes) count(partial.totals, table, outcome)
  for (const parked of result.parked) {
    partial.parked.push(parked)
    block(state.blocked, parked.table, parked.key)
  }
  if (!transactions.at(-1)!.last) return
  const totals = copyTotals(state.committed.totals)
  addTotals(totals, partial.totals)
  const decisions = planner.decisions.taken()
  const next = nextCheckpoint(transactions, { ...state.committed, totals }, options)
  const nothing = { parts: [], checks: 'engine' as const, rows: 0 }
  await destination.apply(planOf({ planned: nothing, decisions, before: state.committed, next, last: true, parked: partial.parked }))
  state.partial = null
  state.chain = next
  accept({ transactions, decisions, next, parked: partial.parked.length, done: Promise.resolve(null) }, options, state)
}
