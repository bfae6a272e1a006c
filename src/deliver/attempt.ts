import type { Change, Transaction } from '../core/change.ts'
import { composeKeys } from '../core/compose.ts'
import { RekeyError, verdictOf } from '../core/errors.ts'
import type { RowObjects } from '../core/objects/named.ts'
import { nameOf, type Relation } from '../core/relation.ts'
import { Taken } from '../core/taken.ts'
import type { Outcome } from '../core/totals.ts'
import type { Planned, Planner } from '../planning/planner.ts'
import type { Destination } from '../ports.ts'
import type { Conflict } from '../planning/resolve.ts'

/** One change on its own, with its place in the source's history. */
export interface Item {
  readonly transaction: Transaction
  readonly change: Change
  readonly ordinal: number
}

/** What an attempt needs, and what it adds to. */
export interface Trying {
  readonly planner: Planner
  readonly destination: Destination
  readonly converging: boolean
  readonly outcomes: { table: string; outcome: Outcome }[]
  readonly objects: RowObjects[]
  /** What became of rows that met a unique value when they were written in two steps, by the first reason. */
  readonly exchanged: Map<string, string>
}

/** Rows that exchange unique values fail together as they do alone; then each is given another value first. */
export async function attemptOrExchange(items: readonly Item[], context: Trying): Promise<Fault | null> {
  const fault = await attempt(items, context)
  if (fault?.sqlstate !== '23505' || items.length < 2) return fault
  const second = await attempt(items, context, 'exchange')
  if (second && second.reason !== fault.reason) context.exchanged.set(fault.reason, `${fault.reason}; exchanged in two steps: ${second.reason}`)
  return second && fault
}

export interface Fault {
  readonly sqlstate: string
  readonly reason: string
  readonly behind: boolean
  /** A row that is not ours stands under the id. */
  readonly taken: boolean
  /** The rows that stand in conflict, by table and key. */
  readonly conflicts: ReadonlyMap<string, Conflict>
}

/** All or nothing of it; null when it went through. */
export async function attempt(items: readonly Item[], context: Trying, how: 'attempt' | 'exchange' = 'attempt'): Promise<Fault | null> {
  if (items.length === 0) return null
  const { decisions } = context.planner
  const mark = decisions.mark()
  try {
    const composed = how === 'exchange' ? exchanged(items, context) : null
    const transactions = composed?.transactions ?? items.map(({ transaction, change }) => ({ ...transaction, changes: [change] }))
    const planned = await tryOut(transactions, context, how)
    if (planned.conflicts.length > 0) {
      decisions.undo(mark)
      const conflicts = new Map(planned.conflicts.map((conflict) => [`${nameOf(conflict.program.rule.source)}\n${conflict.key}`, conflict]))
      const [first] = planned.conflicts
      return { sqlstate: sqlstateOf(first), reason: first.reason, behind: first.behind, taken: false, conflicts }
    }
    context.outcomes.push(...(composed?.outcomes(planned.outcomes) ?? planned.outcomes))
    context.objects.push(...planned.objects)
    return null
  } catch (error) {
    const fault = { ...faultOf(error), behind: false, taken: error instanceof Taken, conflicts: new Map<string, Conflict>() }
    decisions.undo(mark)
    return fault
  }
}

interface Exchanged {
  readonly transactions: Transaction[]
  /** What the items count as: those of tables whose keys were exchanged as what they came as. */
  outcomes(planned: Planned['outcomes']): Planned['outcomes']
}

/** Rows of one transaction that exchange keys are written as what stands under each key at its end. Null when there are none. */
function exchanged(items: readonly Item[], { planner, converging }: Trying): Exchanged | null {
  const [{ transaction }] = items
  if (items.some((item) => item.transaction.commitLsn !== transaction.commitLsn)) return null
  const composed = new Map<Relation, readonly Change[]>()
  for (const relation of new Set(items.map(({ change }) => change.relation))) {
    // While new rows may be there already, and in fragments, what takes a key is not told from what has it: a part of those that exchange would
    // write over the others.
    const alone = transaction.last && transaction.first === 0
    if (!alone || (converging && !isWholeIn(items, relation))) continue
    const program = planner.programOf(relation)
    const { verdict, adopt, where, entity } = program.rule
    if (verdict !== 'move' || adopt !== null || where.length > 0 || (entity !== null && planner.scope.isDecided(entity))) continue
    const changes = composeKeys(items.flatMap(({ change }) => (change.relation === relation ? [change] : [])), program)
    if (changes !== null) composed.set(relation, changes)
  }
  if (composed.size === 0) return null
  const others = items.filter(({ change }) => !composed.has(change.relation))
  // Rows of other tables first, which these may point at; none may point at these: a key that is unique only at the end has no foreign keys.
  const all = [...others.map(({ change }) => change), ...[...composed.values()].flat()]
  const own = items.filter(({ change }) => composed.has(change.relation))
  return {
    transactions: all.map((change) => ({ ...transaction, changes: [change] })),
    outcomes: (planned) => [...planned.slice(0, others.length), ...own.map(({ change: { op, relation } }) => ({ table: nameOf(relation), outcome: OWN[op] }))],
  }
}

/** All that the source transaction changed in this table is here. */
function isWholeIn(items: readonly Item[], relation: Relation): boolean {
  const [{ transaction: { changes } }] = items
  const count = (all: readonly Pick<Change, 'relation'>[]): number => all.reduce((sum, one) => sum + (one.relation === relation ? 1 : 0), 0)
  return count(items.map(({ change }) => change)) === count(changes)
}

const OWN = { insert: 'inserted', update: 'updated', delete: 'deleted', truncate: 'deleted' } as const

/** Plans and writes, or finds conflicts and writes nothing. Rows for which destination triggers make others go ahead of the plan that adopts those. */
async function tryOut(transactions: readonly Transaction[], { planner, destination, converging }: Trying, how: 'attempt' | 'exchange'): Promise<Planned> {
  const fragment = transactions.some((t) => !t.last || t.first > 0)
  const write = async ({ parts, checks, conflicts }: Planned): Promise<boolean> => {
    if (conflicts.length === 0 && parts.length > 0) await destination[how](parts, checks, fragment)
    return conflicts.length === 0
  }
  if (!planner.adopts(transactions, converging)) {
    const planned = await planner.plan(transactions, converging)
    await write(planned)
    return planned
  }
  let planned = await planner.ahead(transactions, converging)
  await destination.together(async () => {
    if (!(await write(planned))) return false
    planned = await planner.plan(transactions, true)
    return write(planned)
  })
  return planned
}

export function sqlstateOf({ absent }: Conflict): string {
  return absent ? 'RK002' : 'RK003'
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
