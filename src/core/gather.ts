import type { Change, Transaction } from './change.ts'
import { add, combine, emptyNet, isWhole, keyOf, movesKey, type RelationNet, tally } from './coalesce.ts'
import { ANEW, RekeyError } from './errors.ts'
import type { Lsn } from './lsn.ts'
import type { Condition } from './mapping.ts'
import type { Program } from './program.ts'
import { nameOf, type Relation } from './relation.ts'
import { isNull, isUnchanged, textField, type Row } from './row.ts'

/** A change that has its own key and cannot be part of a set. */
export interface Move {
  readonly program: Program
  readonly old: Row
  readonly row: Row
}

/** Changes that are applied together: sets of net effects, or a run of key changes of one table, or truncated tables. */
export interface Group {
  readonly nets: Map<Relation, RelationNet>
  readonly moves: Move[]
  readonly truncated: Program[]
}

export interface Gathered {
  readonly groups: readonly Group[]
  readonly rows: number
  readonly inserts: number
}

function emptyGroup(): Group {
  return { nets: new Map(), moves: [], truncated: [] }
}

/** Source tables whose copy holds everything that was committed before this LSN. */
export type Since = ReadonlyMap<string, Lsn>

export function isCopied({ commitLsn }: Transaction, program: Program, since: Since): boolean {
  if (since.size === 0 || commitLsn === 0n) return false
  const from = since.get(program.name)
  return from !== undefined && commitLsn < from
}

/** Groups the changes of transactions into sets, in order. Key changes and truncates stand between sets. */
export function gather(transactions: readonly Transaction[], programOf: (relation: Relation) => Program, since: Since): Gathered {
  const groups: Group[] = [emptyGroup()]
  let rows = 0
  let inserts = 0
  let relation: Relation | null = null
  let program!: Program
  for (const transaction of transactions) {
    for (const change of transaction.changes) {
      if (change.relation !== relation) program = programOf((relation = change.relation))
      if (program.until !== null && transaction.commitLsn > program.until) refuseLost(program)
      if (program.retyped && transaction.commitLsn > program.retyped.after) refuseRetyped(program.name, program.retyped.column)
      const { verdict } = program.rule
      if (verdict === 'skip' || verdict === 'assert' || isCopied(transaction, program, since)) continue
      rows++
      if (change.op === 'truncate') {
        truncate(groups, program)
        continue
      }
      if (change.op !== 'insert' && lacksKey(change, program)) refuseBlind(program)
      const net = filtered(change, program)
      if (net === null) continue
      if (net.op === 'insert') inserts++
      place(groups, net, program)
    }
  }
  return { groups, rows, inserts }
}

function refuseLost({ name, relation, rule }: Program): never {
  const lost = [...rule.added.keys()].find((added) => !relation.columns.some((column) => column.name === added))
  throw new RekeyError('SCHEMA_CHANGED', `${name} no longer has the column ${lost}`)
}

function refuseRetyped(table: string, column: string): never {
  throw new RekeyError('SCHEMA_CHANGED', `${table}.${column} has another type than it had when rekey started`, {
    hint: 'Give the column at the destination the same type, then start again; values would be cut off or rounded to the old one.',
  })
}

/** Which row was deleted, or had another key before, is not told. Columns of a replica identity are never null (manual, ALTER TABLE). */
function lacksKey({ old, oldIsFull }: Change, { rule, blind, key }: Program): boolean {
  if (!rule.keyed) return false
  return blind || (old !== null && !oldIsFull && key.some((i) => isNull(old, i) || isUnchanged(old, i)))
}

function refuseBlind({ name, rule }: Program): never {
  throw new RekeyError('SCHEMA_CHANGED', `the replica identity of ${name} no longer tells its key (${rule.key.join(', ')})`, {
    hint: `Give the table the replica identity that it had. Changes that were made meanwhile do not say which rows they are of: ${ANEW}`,
  })
}

function truncate(groups: Group[], program: Program): void {
  const { rule } = program
  if (rule.truncate === 'refuse') throw new RekeyError('TRUNCATE', `the source truncated ${nameOf(rule.source)}`)
  if (rule.truncate === 'ignore') return
  // One TRUNCATE of several tables comes as a change each; their rows may refer to each other, so they go together.
  const [before, last] = groups.slice(-2)
  if (last && before.truncated.length > 0 && last.nets.size === 0 && last.moves.length === 0) before.truncated.push(program)
  else groups.push({ ...emptyGroup(), truncated: [program] }, emptyGroup())
}

function place(groups: Group[], change: Change, program: Program): void {
  let group = groups[groups.length - 1]
  if (program.rule.keyed && movesKey(change, program.key)) {
    const run = group.moves.length > 0 && group.nets.size === 0 && group.moves[0].program === program
    const target = run && !touches(group.moves, change, program) ? group : groups[groups.push(emptyGroup()) - 1]
    target.moves.push({ program, old: change.old!, row: change.row! })
    return
  }
  if (group.moves.length > 0) group = groups[groups.push(emptyGroup()) - 1]
  let net = group.nets.get(change.relation)
  if (!net) {
    for (const other of group.nets.keys()) if (other.oid === change.relation.oid) group = groups[groups.push(emptyGroup()) - 1]
    group.nets.set(change.relation, (net = emptyNet(change.relation)))
  }
  if (!program.rule.keyed) {
    if (!tally(net, change)) throw new RekeyError('NO_KEY', `${nameOf(change.relation)} has no key and does not send old rows whole`)
  } else if (!add(net, change, program.key)) {
    if (program.rule.where.length === 0) throw new RekeyError('INTERNAL', `a change of ${nameOf(change.relation)} follows the delete of its row`)
    // The row filter took the row away, and now it passes again.
    const again = emptyNet(change.relation)
    add(again, change, program.key)
    groups.push({ ...emptyGroup(), nets: new Map([[change.relation, again]]) })
  }
}

/** A run of key changes is one statement only while no key occurs twice in it. */
function touches(moves: readonly Move[], change: Change, program: Program): boolean {
  const from = keyOf(change.old!, program.key)
  const to = keyOf(change.row!, program.key)
  const seen = runKeys(moves, program)
  return seen.has(from) || seen.has(to)
}

const runs = new WeakMap<readonly Move[], { keys: Set<string>; length: number }>()
function runKeys(moves: readonly Move[], program: Program): Set<string> {
  const known = runs.get(moves) ?? { keys: new Set<string>(), length: 0 }
  for (; known.length < moves.length; known.length++) {
    known.keys.add(keyOf(moves[known.length].old, program.key)).add(keyOf(moves[known.length].row, program.key))
  }
  runs.set(moves, known)
  return known.keys
}

/** Why a change is not carried, whatever its row is: by its table's verdict, the truncate policy or the row filter; null when it is. */
export function notCarried(change: Change, program: Program): string | null {
  const { rule } = program
  if (rule.verdict === 'assert') return 'assert-only'
  if (rule.verdict === 'skip') return rule.reason ?? 'skipped'
  if (change.op === 'truncate') return rule.truncate === 'ignore' ? 'truncate ignored' : null
  return rule.where.length > 0 && filtered(change, program) === null ? 'filtered' : null
}

/** The change after the row filter: a row that no longer passes goes, one that never passed is nothing (null). */
function filtered(change: Change, program: Program): Change | null {
  const { where } = program.rule
  if (where.length === 0 || change.op === 'delete') return change
  const passes = (row: Row): boolean => where.every((condition) => holds(condition, row, program))
  const known = change.oldIsFull && change.old ? { ...change, row: combine(change.old, change.row!) } : change
  if (passes(known.row!)) {
    // Under REPLICA IDENTITY FULL it is known that there is no row yet, under whatever key, and all of it.
    const comes = known.oldIsFull && !passes(known.old!)
    return comes ? { ...known, op: 'insert', old: null, oldIsFull: false } : known
  }
  if (change.op === 'insert') return null
  return { ...change, op: 'delete', old: change.old ?? change.row, row: null }
}

/**
 * With a row filter, an update may be the first that the destination is to hear of a row, and may not have all of it: then only the source
 * can tell what the row is. REPLICA IDENTITY FULL sends all of it.
 */
export function mayBeFirst({ op, old, oldIsFull, row }: Change, { rule }: Program): boolean {
  return op === 'update' && rule.where.length > 0 && !oldIsFull && (old !== null || !isWhole(row!))
}

/** A column that was not sent did not change, so what it decided before still holds: it passes. */
function holds(condition: Condition, row: Row, program: Program): boolean {
  const at = program.position.get(condition.column)
  if (at === undefined) throw new RekeyError('SCHEMA_CHANGED', `the filter column ${condition.column} is gone`)
  if (isUnchanged(row, at)) return true
  const value = textField(row, at)
  switch (condition.test) {
    case 'null': return value === null
    case 'notNull': return value !== null
    case 'not': return value !== null && !condition.values.includes(value)
    default: return value !== null && condition.values.includes(value)
  }
}
