import type { Item } from './attempt.ts'
import { applyCarefully } from './careful.ts'
import type { Change, Transaction } from '../core/change.ts'
import { keyOf } from '../core/coalesce.ts'
import { notCarried } from '../core/gather.ts'
import { isCounted } from '../core/mapping.ts'
import type { ParkedRow } from '../core/parking.ts'
import { nameOf, type Relation } from '../core/relation.ts'
import { rowOf, textField, type Row } from '../core/row.ts'
import { copyTotals, count, recount } from '../core/totals.ts'
import { type DeliverOptions, planOf, type State } from './delivery.ts'

/** After so many times a row that still cannot be written has a reason of its own: it is parked. */
const ROUNDS = 12

/** True when the stream has passed everything that was read ahead of it, and rows were left on the way. */
export function mayConverge({ left, committed, midway, partial }: State): boolean {
  return left && !midway && !partial && committed.convergeLsn !== 0n && committed.commitLsn >= committed.convergeLsn
}

/**
 * A copy that went on after a restart has rows of a later moment than the stream, and until the stream is there a change may fail for a row
 * that is not there yet, or no more. Such rows were left; now each is read as it is at the source and written so, or deleted. What is
 * read may again be ahead of the stream, so a new marker follows, and what fails until then is left again.
 */
export async function converge(options: DeliverOptions, state: State): Promise<void> {
  const { planner, destination, mapping } = options
  const began = options.now()
  const rows = await options.parked.left()
  state.left = rows.length > 0
  if (!state.left) {
    state.rounds = 0
    await options.parked.again([...options.mapping.tables.values()].filter(isCounted).map(({ source }) => nameOf(source)))
    // At once.
    state.lookedAt = -Infinity
    return options.passedCopy?.()
  }
  const last = ++state.rounds >= ROUNDS
  await options.visible(state.recent)
  const items = await readAgain(rows, options, state)
  const result = await applyCarefully(items, { planner, destination, mapping, converging: true, leave: !last, parkedBefore: state.blocked, care: options.care })
  const totals = copyTotals(state.committed.totals)
  for (const { table } of rows) recount(totals, table, { skipped: 'read again' })
  for (const { table } of result.parked) count(totals, table, 'parked')
  const decisions = planner.decisions.taken()
  const next = { ...state.committed, convergeLsn: 0n, totals }
  const nothing = { parts: [], checks: 'engine' as const, rows: 0, objects: result.objects }
  const plan = planOf({ planned: nothing, decisions, before: state.committed, next, last: true, parked: result.parked })
  await destination.apply({ ...plan, unparked: rows.map((row) => row.id) })
  planner.decisions.committed(decisions)
  state.committed = state.chain = next
  state.blocked = await options.parked.waiting()
  const parked = result.parked.filter((one) => !one.left).length
  const seconds = (options.now() - began) / 1e3
  options.onApplied({ checkpoint: next, transactions: 0, rows: items.length, bytes: 0, seconds, passed: null, parked, commitMicros: 0 })
  if (!result.parked.some((one) => one.left)) state.rounds = 0
  await options.mark()
}

/** Each row that was left as one change: how it is now, or its delete. Rows without a key cannot be read again: their changes stand. */
async function readAgain(left: readonly ParkedRow[], options: DeliverOptions, state: State): Promise<Item[]> {
  const keyed = new Map<Relation, Map<string, readonly string[]>>()
  const changes: Change[] = []
  for (const row of left) {
    const change = options.planner.load(row)
    const relation = options.relations.get(row.table)!
    // It may be from before the table got its present shape.
    const { rule, key } = options.planner.programOf(change.relation)
    if (!rule.keyed) {
      changes.push(change)
      continue
    }
    const keys = keyed.get(relation) ?? new Map<string, readonly string[]>()
    keyed.set(relation, keys)
    for (const row of [change.old, change.row]) if (row) keys.set(keyOf(row, key), key.map((i) => textField(row, i)!))
  }
  for (const [relation, keys] of keyed) changes.push(...(await presentState(relation, keys, options)))
  const { commitLsn, endLsn, epoch } = state.committed
  return changes.map((change, ordinal) => {
    const transaction: Transaction = { epoch, xid: 0, commitLsn, endLsn, commitMicros: 0, changes: [change], first: 0, last: true, bytes: 0, messages: [] }
    return { transaction, change, ordinal }
  })
}

async function presentState(
  relation: Relation, keys: ReadonlyMap<string, readonly string[]>, { planner, readSource }: DeliverOptions,
): Promise<Change[]> {
  const program = planner.programOf(relation)
  const by = program.key.map((i) => relation.columns[i].name)
  const found = await readSource(relation, relation.columns.map((c) => c.name), by, [...keys.values()])
  const changes = new Map<string, Change>()
  for (const row of found) {
    const change: Change = { op: 'insert', relation, row, old: null, oldIsFull: false }
    if (notCarried(change, program) === null) changes.set(keyOf(row, program.key), change)
  }
  const carrier = (values: readonly string[]): Row => rowOf(relation.columns.map((_, i) => (program.key.includes(i) ? values[program.key.indexOf(i)] : null)))
  return [...keys].map(([key, values]) => changes.get(key) ?? { op: 'delete', relation, row: null, old: carrier(values), oldIsFull: false })
}
