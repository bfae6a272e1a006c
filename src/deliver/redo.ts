import { apart } from '../core/alone.ts'
import { applyCarefully, itemsOf } from './careful.ts'
import type { Change, Transaction } from '../core/change.ts'
import { RekeyError, verdictOf } from '../core/errors.ts'
import { blockParked, changeKey, unblock } from '../core/parking.ts'
import { addTotals, copyTotals, count, recount, TRUNCATED } from '../core/totals.ts'
import { despiteLocks, Gather, helpedByOthers, inTurn, lateIn, othersOf } from './lane.ts'
import { LeftBehind } from '../core/left-behind.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Planner } from '../planning/planner.ts'
import { refusedName } from '../planning/refused.ts'
import { accept, arrive, converging, type DeliverOptions, type Flight, nextCheckpoint, planOf, RestartStream, type State, type Unfinished } from './delivery.ts'

/** Some flight failed: all that are in the air are undone and done again. */
export async function recover(error: RekeyError, flights: Flight[], options: DeliverOptions, state: State, signal: AbortSignal): Promise<void> {
  await Promise.all(flights.map((flight) => flight.done))
  const redo = flights.splice(0).flatMap((flight) => flight.transactions)
  options.planner.decisions.reset()
  const whole = redo.every((t) => t.last && t.first === 0)
  const verdict = error instanceof RekeyError && error.code === 'ROW_COUNT' ? 'data' : verdictOf(error.sqlstate)
  if (verdict === 'stop') throw error
  options.onRetry(error.sqlstate ?? error.code)
  if (!whole || state.midway) throw new RestartStream(error.message, { until: verdict === 'data' ? redo.at(-1)!.commitLsn : 0n }, error)
  state.chain = state.committed
  if (verdict === 'data') return carefully(redo, options, state)
  await repeat(redo, options, state, signal, verdict)
}

/** So often a batch is done again before the run says that it is in trouble, and counts the time until it gives up. */
const MOST_REPEATS = 5

/** The same batch again, after a pause that grows; a lost connection is opened anew and what had been committed after all is left out. */
async function repeat(redo: readonly Transaction[], options: DeliverOptions, state: State, signal: AbortSignal, first: 'retry' | 'pause'): Promise<void> {
  let verdict: ReturnType<typeof verdictOf> = first
  for (let tries = 0; ; tries++) {
    await options.pause(Math.min(5_000, 50 * 2 ** tries), signal)
    if (signal.aborted) throw new RekeyError('REMOTE', 'stopped before a batch that failed was done again')
    try {
      if (verdict === 'pause') {
        const checkpoint = await options.destination.open()
        if (checkpoint.commitLsn < state.committed.commitLsn) throw new RestartStream('the destination has lost commits', {})
        state.committed = state.chain = checkpoint
      }
      state.partial = null
      state.blocked = await options.parked.waiting()
      const open = redo.filter((t) => t.commitLsn > state.committed.commitLsn)
      if (open.length > 0) await carefully(open, options, state)
      else options.log.ack(state.committed.endLsn)
      return
    } catch (error) {
      options.planner.decisions.reset()
      state.chain = state.committed
      if (!(error instanceof RekeyError)) throw error
      verdict = verdictOf(error.sqlstate)
      if (verdict === 'stop' || verdict === 'data' || error.code === 'FENCED' || error.code === 'RUNNING' || tries >= MOST_REPEATS) throw error
      options.onRetry(error.sqlstate ?? error.code)
    }
  }
}

/**
 * One destination transaction in which every change that can be applied is, and the others are parked. A transaction in fragments stays
 * open at the destination until its last one. Of several partitions, one that went alone is done first: what was in the air behind it may need
 * what the others do only when it is committed.
 */
export async function carefully(transactions: readonly Transaction[], options: DeliverOptions, state: State): Promise<void> {
  const once = (some: readonly Transaction[]): Promise<void> => carefullyOnce(some, options, state)
  if (!options.lane) return once(transactions)
  for (const some of apart(transactions)) await despiteLocks(some, { options, state }, once)
}

async function carefullyOnce(transactions: readonly Transaction[], options: DeliverOptions, state: State): Promise<void> {
  const { planner, destination, mapping } = options
  const began = options.now()
  const ahead = converging(transactions, state.committed)
  const seen = options.lane ? await othersOf(options.lane) : []
  const ends = options.lane ? helpedByOthers(transactions) : null
  const result = await applyCarefully(itemsOf(transactions), {
    planner, destination, mapping, converging: ahead, leave: ahead || (state.partial?.parked.some((one) => one.left) ?? false), parkedBefore: state.blocked,
    care: options.care, ...(ends ? { ends } : {}),
  })
  const late = options.lane ? lateIn(transactions, result.parked) : null
  if (late !== null) {
    await destination.undo()
    planner.decisions.reset()
    return inTurn({ transactions, late, seen }, options, state)
  }
  if (options.lane && result.parked.some((one) => one.left)) {
    await destination.undo()
    planner.decisions.reset()
    state.partial = null
    throw new Gather(transactions[0].commitLsn, 'a row that passes its filter for the first time is to be read at the source')
  }
  const partial: Unfinished = (state.partial ??= { totals: {}, parked: [], objects: [], retired: new Map() })
  for (const table of result.truncated) await retire(table, partial, options, state)
  for (const { table, outcome } of result.outcomes) count(partial.totals, table, outcome)
  partial.objects.push(...result.objects)
  for (const parked of result.parked) {
    partial.parked.push(parked)
    if (parked.left) state.left = true
    else blockParked(state.blocked, parked)
  }
  if (!transactions.at(-1)!.last) {
    arrive(transactions, state)
    return
  }
  const totals = copyTotals(state.committed.totals)
  addTotals(totals, partial.totals)
  for (const table of partial.retired.values()) recount(totals, table, TRUNCATED)
  const decisions = planner.decisions.taken()
  const passed = nextCheckpoint(transactions, { ...state.committed, totals }, options)
  // What was left is read again behind a marker that is sent now.
  const marks = !ahead && partial.parked.some((one) => one.left)
  const next = marks ? { ...passed, convergeLsn: 0n } : passed
  // The end of a transaction in fragments is checked as its parts were.
  const checks = transactions.some((t) => t.first > 0) ? planner.fragmentChecks : 'engine'
  const plan = planOf({ planned: { parts: [], checks, rows: 0, objects: partial.objects }, decisions, before: state.committed, next, last: true, parked: partial.parked })
  await destination.apply({ ...plan, unparked: [...partial.retired.keys()] }).catch((error: unknown) => {
    throw keptRows(error, transactions.at(-1)!, options) ?? error
  })
  state.partial = null
  state.chain = next
  const waiting = partial.parked.filter((one) => !one.left).length
  accept({ transactions, decisions, next, parked: waiting - partial.retired.size, parts: [], began, done: Promise.resolve(null) }, options, state)
  if (marks) await options.mark()
}

/** Others point at rows that the transaction took away, which only its end shows: it is done once more, and those rows are parked. */
function keptRows(error: unknown, { commitLsn }: Transaction, { care: { refused } }: DeliverOptions): RestartStream | null {
  if (!(error instanceof LeftBehind)) return null
  const kept = new Set(error.rows.map(({ table, key }) => refusedName(table, key)))
  return [...kept].every((name) => refused.has(name)) ? null : new RestartStream(error.message, { until: commitLsn, refused: kept }, error)
}

/** Rows of a table that were parked before it was truncated, in this transaction or earlier, go with the others. */
async function retire(table: string, partial: Unfinished, { parked }: DeliverOptions, state: State): Promise<void> {
  for (const one of partial.parked) if (one.table === table) recount(partial.totals, table, TRUNCATED)
  partial.parked = partial.parked.filter((one) => one.table !== table)
  for (const id of await parked.of(table)) partial.retired.set(id, table)
  unblock(state.blocked, table)
}

const MOST_RETRIED = 5_000

/** A row that was parked in a copy of a later moment comes again with the stream: there it is an update. `there`: rows that have come so far. */
function onceInserted(change: Change, { programOf }: Planner, there: Set<string>): Change {
  const program = programOf(change.relation)
  if (change.op === 'truncate' || !program.rule.keyed) return change
  const name = `${program.name}\n${changeKey(change, program)}`
  const again = change.op === 'insert' && there.has(name)
  if (change.op === 'delete') there.delete(name)
  else there.add(name)
  return again ? { ...change, op: 'update' } : change
}

/** Parked rows that are to be tried again, with those behind them: what goes through now is done, the rest goes on waiting. */
export async function retryParked(options: DeliverOptions, state: State): Promise<void> {
  const { planner, destination, mapping } = options
  const began = options.now()
  const { rows: due, others } = await options.parked.due(MOST_RETRIED)
  if (due.length === 0) return
  // There may be more: they are looked for at once.
  if (due.length >= MOST_RETRIED) state.lookedAt = -Infinity
  const there = new Set<string>()
  const together = new Map<Lsn, Change[]>()
  const items = due.map((row) => {
    const change = onceInserted(planner.load(row), planner, there)
    const { commitLsn, ordinal } = row
    const changes = together.get(commitLsn) ?? []
    together.set(commitLsn, changes)
    changes.push(change)
    const transaction = { epoch: 0, xid: 0, commitLsn, endLsn: commitLsn, commitMicros: 0, changes, first: 0, last: true, bytes: 0, messages: [] }
    return { transaction, change, ordinal, id: row.id, taken: row.taken }
  })
  const taken = await planner.taken(items.flatMap((item) => (item.taken ? [item.change] : [])))
  const result = await applyCarefully(items, { taken, planner, destination, mapping, converging: true, leave: false, parkedBefore: others })
  const failed = new Set(result.failed.map((item) => (item as (typeof items)[number]).id))
  const totals = copyTotals(state.committed.totals)
  for (const { table, outcome } of result.outcomes) if (outcome !== 'parked') recount(totals, table, outcome)
  const decisions = planner.decisions.taken()
  const left = result.failed.flatMap((item, i) => (result.parked[i].left ? [(item as (typeof items)[number]).id] : []))
  const next = { ...state.committed, totals, convergeLsn: left.length > 0 ? 0n : state.committed.convergeLsn }
  const done = due.filter((row) => !failed.has(row.id)).map((row) => row.id)
  const nothing = { parts: [], checks: 'engine' as const, rows: 0, objects: result.objects }
  await destination.apply({ ...planOf({ planned: nothing, decisions, before: state.committed, next, last: true }), unparked: done })
  planner.decisions.committed(decisions)
  state.committed = state.chain = next
  await options.parked.keep([...failed].filter((id) => !left.includes(id)))
  if (left.length > 0) {
    await options.parked.leave(left)
    state.left = true
    await options.mark()
  }
  state.blocked = await options.parked.waiting()
  const seconds = (options.now() - began) / 1e3
  options.onApplied({ checkpoint: next, transactions: 0, rows: done.length, bytes: 0, seconds, passed: null, parked: -done.length, commitMicros: 0 })
}
