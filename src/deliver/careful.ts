import { attempt, attemptOrExchange, type Fault, type Item, sqlstateOf, type Trying } from './attempt.ts'
import type { Change, Transaction } from '../core/change.ts'
import { RekeyError, verdictOf } from '../core/errors.ts'
import { mayBeFirst } from '../core/gather.ts'
import { isCounted, type Mapping } from '../core/mapping.ts'
import type { RowObjects } from '../core/objects/named.ts'
import { type Blocked, blockParked, changeKey, isBehind, leftKey, storeChange, TAKEN, unblock } from '../core/parking.ts'
import type { Parked } from '../core/plan.ts'
import { nameOf } from '../core/relation.ts'
import { type Outcome, TRUNCATED } from '../core/totals.ts'
import type { Planned } from '../planning/planner.ts'
import type { Refused } from '../planning/refused.ts'

export interface Careful {
  /** The changes that could not be applied, in source order, as `parked` has them. */
  readonly failed: readonly Item[]
  readonly parked: readonly Parked[]
  readonly outcomes: readonly { readonly table: string; readonly outcome: Outcome }[]
  /** Tables whose rows of ours all went: what was parked of them before has nothing to wait for. */
  readonly truncated: readonly string[]
  /** What the rows that were applied, and those that wait for their objects, name from here on. */
  readonly objects: readonly RowObjects[]
}

interface Failed {
  readonly item: Item
  readonly sqlstate: string
  readonly reason: string
  readonly behind: boolean
  readonly taken?: boolean
}

const NONE: ReadonlySet<Change> = new Set()

/** A row that waits for its object: tried again by itself when that is verified. */
const HELD = 'RK004'

interface Context extends Trying {
  readonly mapping: Mapping
  /** What fails is left, to be read again when the stream has passed the copy: nothing of later batches waits behind it. */
  readonly leave: boolean
  /** Rows parked before, and those that fail now. */
  readonly blocked: Blocked
  /** Rows that wait for their objects, by table and key. */
  readonly held: ReadonlyMap<string, RowObjects>
  /** Nothing that comes after a source transaction with such a failure is tried: all of it is undone. */
  readonly ends?: (failure: Pick<Parked, 'sqlstate' | 'behind'>) => boolean
  /** Changes that would take a row away that others point at. */
  readonly kept: ReadonlySet<Change>
  /** Updates of rows that pass their filter for the first time and that did not come whole. */
  readonly late: ReadonlySet<Change>
  /** New rows whose id another row has. */
  readonly taken?: ReadonlySet<Change>
  readonly failed: Failed[]
}

export function itemsOf(transactions: readonly Transaction[]): Item[] {
  return transactions.flatMap((transaction) => transaction.changes.map((change, i) => ({ transaction, change, ordinal: transaction.first + i })))
}

/**
 * Applies changes inside the destination's open transaction and finds those that cannot be. Whole source transactions are tried, under a
 * savepoint each, as many at once as go through: only where one ends is the source known to hold its constraints. One that fails by itself
 * is taken apart, down to the single change; a row may fail only because its parent comes later in the same transaction (a deferred
 * constraint, a cycle), so what failed is tried again together until nothing more goes through. The rest is parked, with all that depends
 * on it behind. No row is tried again past a truncate. Nothing is committed here. Throws what is not a row's own fault.
 */
export async function applyCarefully(items: readonly Item[], deps: Deps): Promise<Careful> {
  const all: Mutable = { failed: [], parked: [], outcomes: [], truncated: [], objects: [] }
  const held = await deps.planner.held(items.map(({ transaction, change }) => ({ ...transaction, changes: [change] })))
  const kept = deps.care ? await deps.planner.refused(items, deps.care) : NONE
  const late = await deps.planner.late(items.map(({ change }) => change))
  let { parkedBefore } = deps
  for (let at = 0; at < items.length;) {
    const truncates = items[at].change.op === 'truncate'
    let end = at + 1
    while (end < items.length && (items[end].change.op === 'truncate') === truncates) end++
    const part = items.slice(at, end)
    if (truncates) {
      const { outcomes, objects } = await truncate(part, deps)
      retire(all, part, deps)
      all.outcomes.push(...outcomes)
      all.objects.push(...objects)
      parkedBefore = copyBlocked(parkedBefore)
      for (const table of all.truncated) unblock(parkedBefore, table)
    } else {
      const { failed, parked, outcomes, objects, blocked } = await applyPart(part, { ...deps, parkedBefore, held, kept, late })
      all.failed.push(...failed)
      all.parked.push(...parked)
      all.outcomes.push(...outcomes)
      all.objects.push(...objects)
      parkedBefore = deps.leave ? behindToo(parkedBefore, parked) : blocked
      if (deps.ends && parked.some(deps.ends)) break
    }
    at = end
  }
  return all
}

type Deps = Omit<Context, 'blocked' | 'outcomes' | 'objects' | 'failed' | 'exchanged' | 'held' | 'kept' | 'late'> & {
  readonly parkedBefore: Blocked
  /** Rows that must stay. */
  readonly care?: Refused
}

interface Mutable {
  failed: Item[]
  parked: Parked[]
  outcomes: Context['outcomes']
  truncated: string[]
  objects: RowObjects[]
}

/** What failed of a table before its truncate would come back on its own: it goes with the others. */
function retire(all: Mutable, items: readonly Item[], { planner }: Deps): void {
  const tables = items.filter(({ change }) => planner.programOf(change.relation).rule.truncate === 'owned').map(({ change }) => nameOf(change.relation))
  all.failed = all.failed.filter(({ change }) => !tables.includes(nameOf(change.relation)))
  all.parked = all.parked.filter(({ table }) => !tables.includes(table))
  all.outcomes = all.outcomes.map((one) => (one.outcome === 'parked' && tables.includes(one.table) ? { ...one, outcome: TRUNCATED } : one))
  all.truncated.push(...tables)
}

/** A truncate that waited would take rows along that came after it: it goes through now, or a person must act. */
async function truncate(items: readonly Item[], { planner, destination, converging }: Deps): Promise<Pick<Planned, 'outcomes' | 'objects'>> {
  const planned = await planner.plan(items.map(({ transaction, change }) => ({ ...transaction, changes: [change] })), converging)
  try {
    if (planned.parts.length > 0) await destination.attempt(planned.parts, planned.checks, items.some(({ transaction }) => !transaction.last || transaction.first > 0))
  } catch (error) {
    if (!(error instanceof RekeyError) || verdictOf(error.sqlstate) !== 'data') throw error
    throw new RekeyError('TRUNCATE', `a truncate of ${items.map(({ change }) => nameOf(change.relation)).join(', ')} cannot be followed: ${error.message}`, {
      hint: 'Rows of the destination that are not ours refer to rows that the truncate takes; remove or repoint them, then start again.',
    })
  }
  return planned
}

type PartResult = Omit<Careful, 'truncated'> & { readonly blocked: Blocked }

async function applyPart(items: readonly Item[], deps: Deps & Pick<Context, 'held' | 'kept' | 'late'>): Promise<PartResult> {
  const blocked: Blocked = copyBlocked(deps.parkedBefore)
  const context: Context = { ...deps, blocked, outcomes: [], objects: [], failed: [], exchanged: new Map() }
  await inTransactions(items, context)
  // Only behind the copy can a later transaction make an earlier one possible; else a second try would come after what followed it.
  if (deps.converging) await again(context, deps.parkedBefore)
  context.failed.sort(bySource)
  // One that must be read again is read when the stream has come further, and so is all that may have failed for want of it.
  const leave = deps.leave || context.failed.some((failed) => wantsReading(failed, deps))
  return {
    failed: context.failed.map(({ item }) => item), parked: context.failed.map((failed) => parkedOf(failed, { ...deps, leave })),
    outcomes: [...context.outcomes, ...context.failed.map(outcomeOf)], blocked,
    objects: [...context.objects, ...context.failed.flatMap((failed) => (failed.sqlstate === HELD ? context.held.get(nameIn(failed.item, context))! : []))],
  }
}

function copyBlocked(blocked: Blocked): Blocked {
  return new Map([...blocked].map(([table, keys]) => [table, new Set(keys)]))
}

/** What was left is read again, so nothing waits behind it; what comes later waits behind the others. */
function behindToo(before: Blocked, parked: readonly Parked[]): Blocked {
  const blocked = copyBlocked(before)
  for (const one of parked) if (!one.left) blockParked(blocked, one)
  return blocked
}

/** As many source transactions at once as go through: half as many after a failure, twice as many after a success. */
async function inTransactions(items: readonly Item[], context: Context): Promise<void> {
  const units: Item[][] = []
  for (const item of items) {
    const before = units.at(-1)?.[0].transaction
    // Rows that are tried again or read again come as transactions of their own, but belong together.
    if (before && (before === item.transaction || (before.commitLsn !== 0n && before.commitLsn === item.transaction.commitLsn))) units.at(-1)!.push(item)
    else units.push([item])
  }
  let size = Math.max(1, units.length >> 1)
  for (let at = 0; at < units.length;) {
    const count = Math.min(size, units.length - at)
    for (let i = at; i < at + count; i++) units[i] = notBehind(units[i], context)
    if (count === 1) {
      await inTransaction(units[at], context)
      if (context.ends && context.failed.some(context.ends)) return
    } else if (await attempt(units.slice(at, at + count).flat(), context)) {
      size = count >> 1
      continue
    }
    at += count
    size = 2 * count
  }
}

/** One source transaction, whole or in parts; what its own later rows make possible is done before anything of another one is. */
async function inTransaction(items: readonly Item[], context: Context): Promise<void> {
  const before = copyBlocked(context.blocked)
  const earlier = context.failed.splice(0)
  await inHalves(items, context)
  await again(context, before)
  context.failed.unshift(...earlier)
}

/** What failed is tried again, in the source's order, until nothing more goes through. */
async function again(context: Context, blockedBefore: Blocked): Promise<void> {
  for (let before = Infinity; context.failed.length > 0 && context.failed.length < before;) {
    before = context.failed.length
    const failed = context.failed.splice(0).sort(bySource)
    context.blocked.clear()
    for (const [table, keys] of copyBlocked(blockedBefore)) context.blocked.set(table, keys)
    // Those that may only exchange values go together, whatever else failed between them.
    const [exchanging, others] = [true, false].map((one) => failed.filter(({ sqlstate }) => (sqlstate === '23505') === one).map(({ item }) => item))
    for (const items of [exchanging, others]) if (items.length > 0) await inHalves(items, context)
    if (context.failed.length < before || exchanging.length === 0 || others.length === 0) continue
    // A value that a row had first may be another's by now, while its later changes, which wait behind, give it up.
    context.failed.splice(0)
    context.blocked.clear()
    for (const [table, keys] of copyBlocked(blockedBefore)) context.blocked.set(table, keys)
    await inHalves(failed.map(({ item }) => item), context)
  }
}

function bySource(a: Failed, b: Failed): number {
  if (a.item.transaction.commitLsn !== b.item.transaction.commitLsn) return a.item.transaction.commitLsn < b.item.transaction.commitLsn ? -1 : 1
  return a.item.ordinal - b.item.ordinal
}

async function inHalves(items: readonly Item[], context: Context): Promise<void> {
  const open = notBehind(items, context)
  const fault = await attemptOrExchange(open, context)
  if (!fault) return
  if (open.length === 1) return fail(open[0], fault, context)
  const rest = withoutConflicts(open, fault.conflicts, context)
  if (rest.length < open.length) return inHalves(rest, context)
  const half = open.length >> 1
  await inHalves(open.slice(0, half), context)
  await inHalves(open.slice(half), context)
}

/** The first change of a conflicting row carries the reason; what follows it, and what refers to it, waits behind. */
function withoutConflicts(items: readonly Item[], conflicts: Fault['conflicts'], context: Context): Item[] {
  const named = new Set<string>()
  return items.filter((item) => {
    const name = nameIn(item, context)
    const conflict = conflicts.get(name)
    if (conflict === undefined || named.has(name)) return true
    named.add(name)
    fail(item, { sqlstate: sqlstateOf(conflict), reason: conflict.reason, behind: conflict.behind }, context)
    return false
  })
}

/** Without what waits behind a failed row. */
function notBehind(items: readonly Item[], context: Context): Item[] {
  return items.filter((item) => !setAside(item, context))
}

function setAside(item: Item, context: Context): boolean {
  const program = context.planner.programOf(item.change.relation)
  if (isBehind(item.change, program, context.mapping, context.blocked)) fail(item, { sqlstate: 'RK003', reason: 'waits behind a parked row', behind: true }, context)
  else if (item.change.op !== 'delete' && context.held.has(nameIn(item, context))) fail(item, { sqlstate: HELD, reason: 'waits for its object', behind: false }, context)
  else if (context.kept.has(item.change)) fail(item, { sqlstate: '23503', reason: 'rows that do not go with it point at it', behind: false }, context)
  else if (context.late.has(item.change)) fail(item, { sqlstate: 'RK002', reason: 'its row passes the filter for the first time', behind: false }, context)
  else if (context.taken?.has(item.change)) fail(item, { sqlstate: TAKEN, reason: 'the destination has a row of its own under this id', behind: false }, context)
  else return false
  return true
}

function nameIn({ change }: Item, { planner }: Pick<Context, 'planner'>): string {
  return `${nameOf(change.relation)}\n${changeKey(change, planner.programOf(change.relation)) ?? ''}`
}

function fail(item: Item, { sqlstate, reason, behind, taken = false }: Omit<Failed, 'item'>, context: Context): void {
  const program = context.planner.programOf(item.change.relation)
  const key = changeKey(item.change, program)
  if (key !== null) blockParked(context.blocked, { table: nameOf(item.change.relation), key, leaves: leftKey(item.change, program) })
  const tried = sqlstate === '23505' && !taken ? context.exchanged.get(reason) : undefined
  context.failed.push({ item, sqlstate, behind, taken, reason: tried ?? reason })
}

function wantsReading({ item: { change }, sqlstate }: Failed, { planner }: Deps): boolean {
  return (sqlstate === 'RK002' || sqlstate === '22P02') && mayBeFirst(change, planner.programOf(change.relation))
}

function parkedOf({ item, sqlstate, reason, behind, taken }: Failed, { planner, mapping, leave, parkedBefore }: Deps): Parked {
  const { change, transaction, ordinal } = item
  // The stream does not take away what stands in the way of a new row; one that only changes is on its way to be deleted. Nor can a row be read
  // again that has no key: what comes later for it waits with it.
  const program = planner.programOf(change.relation)
  const left = leave && !isCounted(program.rule) && sqlstate !== HELD && !(taken && change.op === 'insert') && !isBehind(change, program, mapping, parkedBefore)
  return {
    table: nameOf(change.relation), key: changeKey(change, program) ?? '', leaves: leftKey(change, program), op: change.op,
    sqlstate: taken ? TAKEN : sqlstate, reason, behind, left, change: storeChange(change), commitLsn: transaction.commitLsn, ordinal,
  }
}

function outcomeOf({ item }: Failed): { table: string; outcome: Outcome } {
  return { table: nameOf(item.change.relation), outcome: 'parked' }
}
