import type { Change, Transaction } from './core/change.ts'
import { RekeyError, verdictOf } from './core/errors.ts'
import type { Mapping } from './core/mapping.ts'
import { type Blocked, block, changeKey, isBehind, storeChange } from './core/parking.ts'
import type { Parked } from './core/plan.ts'
import { nameOf } from './core/relation.ts'
import type { Outcome } from './core/totals.ts'
import type { Planner } from './planner.ts'
import type { Destination } from './ports.ts'

/** One change on its own, with its place in the source's history. */
export interface Item {
  readonly transaction: Transaction
  readonly change: Change
  readonly ordinal: number
}

export interface Careful {
  /** The changes that could not be applied, in source order, as `parked` has them. */
  readonly failed: readonly Item[]
  readonly parked: readonly Parked[]
  readonly outcomes: readonly { readonly table: string; readonly outcome: Outcome }[]
}

interface Failed {
  readonly item: Item
  readonly sqlstate: string
  readonly reason: string
  readonly behind: boolean
}

interface Context {
  readonly planner: Planner
  readonly destination: Destination
  readonly mapping: Mapping
  readonly converging: boolean
  /** Rows parked before, and those that fail now. */
  readonly blocked: Blocked
  readonly outcomes: { table: string; outcome: Outcome }[]
  readonly failed: Failed[]
}

export function itemsOf(transactions: readonly Transaction[]): Item[] {
  return transactions.flatMap((transaction) => transaction.changes.map((change, i) => ({ transaction, change, ordinal: transaction.first + i })))
}

/**
 * Applies changes inside the destination's open transaction and finds those that cannot be: halves of what fails are tried under a
 * savepoint each, down to the single change. A row may fail only because its parent comes later in the same source transaction (a
 * deferred constraint, a cycle), so what failed is tried again together until nothing more goes through; the rest is parked, with all that
 * depends on it behind. Nothing is committed here. Throws what is not a row's own fault.
 */
export async function applyCarefully(
  items: readonly Item[], deps: Omit<Context, 'blocked' | 'outcomes' | 'failed'> & { readonly parkedBefore: Blocked },
): Promise<Careful> {
  const blocked: Blocked = new Map([...deps.parkedBefore].map(([table, keys]) => [table, new Set(keys)]))
  const context: Context = { ...deps, blocked, outcomes: [], failed: [] }
  await attempt(items, context)
  for (let before = Infinity; context.failed.length > 0 && context.failed.length < before;) {
    before = context.failed.length
    const again = context.failed.splice(0).sort(bySource).map(({ item }) => item)
    context.blocked.clear()
    for (const [table, keys] of deps.parkedBefore) context.blocked.set(table, new Set(keys))
    await attempt(again, context)
  }
  context.failed.sort(bySource)
  return { failed: context.failed.map(({ item }) => item), parked: context.failed.map((failed) => parkedOf(failed, deps.planner)), outcomes: [...context.outcomes, ...context.failed.map(outcomeOf)] }
}

function bySource(a: Failed, b: Failed): number {
  if (a.item.transaction.commitLsn !== b.item.transaction.commitLsn) return a.item.transaction.commitLsn < b.item.transaction.commitLsn ? -1 : 1
  return a.item.ordinal - b.item.ordinal
}

async function attempt(items: readonly Item[], context: Context): Promise<void> {
  const open = items.filter((item) => !setAside(item, context))
  if (open.length === 0) return
  try {
    const transactions = open.map(({ transaction, change }) => ({ ...transaction, changes: [change] }))
    const planned = await context.planner.plan(transactions, context.converging)
    if (planned.conflicts.length > 0) {
      for (const { program, key } of planned.conflicts) block(context.blocked, nameOf(program.rule.source), key)
      const reasons = new Map(planned.conflicts.map(({ program, key, reason }) => [`${nameOf(program.rule.source)}\n${key}`, reason]))
      return await attemptWithout(open, reasons, context)
    }
    if (planned.parts.length > 0) await context.destination.attempt(planned.parts, planned.checks, transactions.some((t) => !t.last || t.first > 0))
    context.outcomes.push(...planned.outcomes)
  } catch (error) {
    const fault = faultOf(error)
    if (open.length === 1) {
      fail(open[0], { ...fault, behind: false }, context)
      return
    }
    const half = open.length >> 1
    await attempt(open.slice(0, half), context)
    await attempt(open.slice(half), context)
  }
}

/** The first change of a conflicting row carries the reason; what follows it, and what refers to it, waits behind. */
async function attemptWithout(items: readonly Item[], reasons: ReadonlyMap<string, string>, context: Context): Promise<void> {
  const rest: Item[] = []
  const named = new Set<string>()
  for (const item of items) {
    const program = context.planner.programOf(item.change.relation)
    const name = `${nameOf(item.change.relation)}\n${changeKey(item.change, program) ?? ''}`
    const reason = reasons.get(name)
    if (reason === undefined || named.has(name)) rest.push(item)
    else {
      named.add(name)
      context.failed.push({ item, sqlstate: 'RK003', reason, behind: false })
    }
  }
  await attempt(rest, context)
}

/** Rows' own faults only: SQLSTATE classes 22 and 23, values that a mapping cannot read. Anything else is thrown on. */
function faultOf(error: unknown): { sqlstate: string; reason: string } {
  if (error instanceof RekeyError) {
    if (error.code === 'ROW_COUNT') return { sqlstate: 'RK002', reason: error.message }
    if (error.sqlstate && verdictOf(error.sqlstate) === 'data') return { sqlstate: error.sqlstate, reason: error.message }
    throw error
  }
  if (error instanceof RangeError || (error as Error).name === 'Unmatched') return { sqlstate: '22P02', reason: 'a value does not have the form that the mapping says' }
  throw error
}

function setAside(item: Item, context: Context): boolean {
  const program = context.planner.programOf(item.change.relation)
  if (!isBehind(item.change, program, context.mapping, context.blocked)) return false
  fail(item, { sqlstate: 'RK003', reason: 'waits behind a parked row', behind: true }, context)
  return true
}

function fail(item: Item, why: Omit<Failed, 'item'>, context: Context): void {
  const program = context.planner.programOf(item.change.relation)
  const key = changeKey(item.change, program)
  if (key !== null) block(context.blocked, nameOf(item.change.relation), key)
  context.failed.push({ item, ...why })
}

function parkedOf({ item, sqlstate, reason, behind }: Failed, planner: Planner): Parked {
  const { change, transaction, ordinal } = item
  return {
    table: nameOf(change.relation), key: changeKey(change, planner.programOf(change.relation)) ?? '', op: change.op,
    sqlstate, reason, behind, change: storeChange(change), commitLsn: transaction.commitLsn, ordinal,
  }
}

function outcomeOf({ item }: Failed): { table: string; outcome: Outcome } {
  return { table: nameOf(item.change.relation), outcome: 'parked' }
}
