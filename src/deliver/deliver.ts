import { isFragment } from '../planning/choose-checks.ts'
import type { Transaction } from '../core/change.ts'
import type { Part } from '../core/plan.ts'
import { proofWrites } from '../core/write.ts'
import { converge, mayConverge } from './converge.ts'
import { RekeyError } from '../core/errors.ts'
import { type Blocked, isBehind } from '../core/parking.ts'
import { pendingTransactions } from '../core/pending.ts'
import { nameOf } from '../core/relation.ts'
import { totalled, type Planned } from '../planning/planner.ts'
import { accept, beginState, converging, type DeliverOptions, type Flight, nextCheckpoint, planOf, RestartStream, type State } from './delivery.ts'
import { awaitOthers } from './lane.ts'
import { carefully, recover, retryParked } from './redo.ts'

/** How often parked rows are looked at for some to be tried again. */
const LOOK_MS = 2_000

/**
 * Takes transactions from the log, in order, and applies batches of whole ones: as many rows as are waiting, up to the batch size, or at
 * once when the destination is idle. Up to two batches are in flight; their checkpoints are chained, so an error in one undoes both and
 * both are done again, one by one. Ends when the signal aborts, after the batches in flight; throws RekeyError, RestartStream.
 */
export async function deliver(options: DeliverOptions, signal: AbortSignal): Promise<void> {
  const state = await beginState(options)
  const reader = options.log.read(signal)[Symbol.asyncIterator]()
  try {
    await deliverFrom(reader, options, { state, signal })
  } finally {
    // Not awaited: what it waits for may never come.
    reader.return?.().catch(() => {})
  }
}

type Reader = AsyncIterator<readonly Transaction[]>

async function deliverFrom(reader: Reader, options: DeliverOptions, { state, signal }: { state: State; signal: AbortSignal }): Promise<void> {
  const { batch } = options
  const flights: Flight[] = []
  const pending = pendingTransactions()
  let reading: Promise<IteratorResult<readonly Transaction[]>> | null = null
  let ended = false
  while (!ended || pending.length() > 0 || flights.length > 0) {
    if (flights.length === 0 && !state.midway && !state.partial && options.now() - state.lookedAt >= LOOK_MS) {
      state.lookedAt = options.now()
      await retryParked(options, state)
    }
    if (flights.length === 0 && mayConverge(state)) {
      await converge(options, state)
      continue
    }
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
      else {
        const news = event.value.filter((t) => t.commitLsn > state.committed.commitLsn)
        if (news.length < event.value.length) options.onRepeated(event.value.length - news.length)
        pending.push(news)
      }
    }
  }
}

/** Plans a batch and sends it; null when it was done here and now, carefully. */
async function launch(transactions: readonly Transaction[], options: DeliverOptions, state: State, flights: Flight[]): Promise<Flight | null> {
  if (options.lane) await awaitOthers(transactions[0], { options, state, settle: () => settle(flights, options, state) })
  const began = options.now()
  const careful = state.partial !== null || transactions[0].commitLsn <= options.care.until
    || waitsBehind(transactions, options, state.blocked) || (await truncatesParked(transactions, options)) || (await options.planner.held(transactions)).size > 0 || options.planner.adopts(transactions, converging(transactions, state.chain))
  const later = provesLater(transactions)
  const planned = careful ? null : await tryPlan(transactions, later, options, state)
  if (planned === null || planned.conflicts.length > 0) {
    if (state.midway) throw new RestartStream('a transaction in fragments needs care', { until: transactions[0].commitLsn })
    await settle(flights, options, state)
    // What the try has noted belongs to rows that were not written; what was decided in earlier fragments belongs to rows that were.
    if (state.partial === null) options.planner.decisions.reset()
    state.book = new Map()
    await carefully(transactions, options, state)
    return null
  }
  const decisions = options.planner.decisions.taken()
  const next = nextCheckpoint(transactions, { ...state.chain, totals: totalled(state.chain.totals, planned) }, options)
  const { last } = transactions.at(-1)!
  const parts = later ? [...planned.parts, ...proven(state, last ? 0 : MOST_PARENTS)] : [...proven(state, 0), ...planned.parts]
  const plan = planOf({ planned: { ...planned, parts }, decisions, before: state.chain, next, last, continues: state.midway })
  state.chain = plan.last ? next : { ...state.chain, totals: next.totals }
  state.midway = !plan.last
  const done = options.destination.apply(plan).then(() => null, (error: RekeyError) => error)
  return { transactions, decisions, next: state.chain, parked: 0, parts: plan.parts, began, done }
}

/**
 * A fragment that only adds: its parents are proven once for the whole transaction, at its end or before a fragment that takes rows away.
 * Of many rows few parents are distinct.
 */
function provesLater(transactions: readonly Transaction[]): boolean {
  return isFragment(transactions) && transactions.every((t) => t.changes.every(({ op, old }) => op === 'insert' || (op === 'update' && old === null)))
}

/** Parents that are kept in mind at most. */
const MOST_PARENTS = 100_000

/** The proof of what is in the book, when it holds more than so many parents; the book is then empty. */
function proven(state: State, above: number): Part[] {
  let parents = 0
  for (const { proofs } of state.book.values()) for (const { seen } of proofs) parents += seen.numbers.size + seen.texts.size
  if (parents <= above) return []
  const writes = proofWrites(state.book)
  state.book = new Map()
  return [{ writes, truncate: [] }]
}

/** Null when a value has not the form that the mapping says: the row is then looked for, and parked. */
async function tryPlan(transactions: readonly Transaction[], later: boolean, options: DeliverOptions, state: State): Promise<Planned | null> {
  try {
    return await options.planner.plan(transactions, converging(transactions, state.chain), later ? state.book : undefined)
  } catch (error) {
    if (error instanceof RangeError || (error as Error).name === 'Unmatched') return null
    // A look-up went into a transaction that an earlier fragment has broken: what broke it is found with care.
    if (error instanceof RekeyError && error.sqlstate === '25P02') return null
    throw error
  }
}

function waitsBehind(transactions: readonly Transaction[], options: DeliverOptions, blocked: Blocked): boolean {
  if (blocked.size === 0) return false
  return transactions.some((t) => t.changes.some((change) => isBehind(change, options.planner.programOf(change.relation), options.mapping, blocked)))
}

/** A truncate takes along what is parked of its table. */
async function truncatesParked(transactions: readonly Transaction[], { planner, parked }: DeliverOptions): Promise<boolean> {
  for (const { changes } of transactions) {
    for (const { op, relation } of changes) {
      if (op === 'truncate' && planner.programOf(relation).rule.truncate === 'owned' && (await parked.of(nameOf(relation))).length > 0) return true
    }
  }
  return false
}

/** The oldest flight has come down: acknowledge it, or undo and repeat all that are in the air. */
async function land(flights: Flight[], options: DeliverOptions, state: State, signal: AbortSignal): Promise<void> {
  const flight = flights[0]
  const error = await flight.done
  if (error) return recover(error, flights, options, state, signal)
  flights.shift()
  accept(flight, options, state)
}

/** Waits for everything in flight to be committed. */
async function settle(flights: Flight[], options: DeliverOptions, state: State): Promise<void> {
  while (flights.length > 0) await land(flights, options, state, new AbortController().signal)
}

