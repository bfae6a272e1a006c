import type { Change } from './change.ts'
import { keyOf, movesKey } from './coalesce.ts'
import type { Lsn } from './lsn.ts'
import { RekeyError } from './errors.ts'
import type { Mapping, TableRule } from './mapping.ts'
import type { Parked } from './plan.ts'
import type { Program } from './program.ts'
import { nameOf, type Relation } from './relation.ts'
import { isNull, isUnchanged, rowOf, textField, unescapeField, type Row } from './row.ts'

/** SQLSTATE under which rows are parked that a person must decide about; not behind others and without a ledger: another row has the id. */
export const TAKEN = 'RK003'

/** A parked change as it is stored: `change` is storeChange's text. */
export interface ParkedRow {
  readonly id: string
  readonly table: string
  readonly change: string
  readonly commitLsn: Lsn
  readonly ordinal: number
  /** A row of the destination's own had its id. */
  readonly taken: boolean
}

/** Keys that wait for a decision, by source table: later changes of the same row and rows that refer to it wait behind them. */
export type Blocked = Map<string, Set<string>>

export function block(blocked: Blocked, table: string, key: string): void {
  const keys = blocked.get(table)
  if (keys) keys.add(key)
  else blocked.set(table, new Set([key]))
}

/** A parked change keeps the key that it takes, and the one that it has not left: what took that would be taken for its own row later. */
export function blockParked(blocked: Blocked, { table, key, leaves }: Pick<Parked, 'table' | 'key' | 'leaves'>): void {
  block(blocked, table, key)
  if (leaves !== null) block(blocked, table, leaves)
}

/** New rows that were waived: what comes later for them waits, too, for there may be another row under their id; what refers to them does not. */
export function blockWaived(blocked: Blocked, table: string, key: string): void {
  block(blocked, waivedName(table), key)
}

/** All rows of a table went: nothing of it waits. */
export function unblock(blocked: Blocked, table: string): void {
  blocked.delete(table)
  blocked.delete(waivedName(table))
}

function waivedName(table: string): string {
  return `${table} waived`
}

/** The raw key of a change: of its new row, or of the old one for a delete. Null for a truncate. */
export function changeKey(change: Change, program: Program): string | null {
  const row = change.op === 'delete' ? change.old : change.row
  return row === null ? null : keyOf(row, program.key)
}

/** The raw key that a change gives up for another one; null when it does not. */
export function leftKey(change: Change, program: Program): string | null {
  return movesKey(change, program.key) ? keyOf(change.old!, program.key) : null
}

/** True when the change's own row (under its old or new key) or a row that it refers to is blocked. */
export function isBehind(change: Change, program: Program, mapping: Mapping, blocked: Blocked): boolean {
  if (blocked.size === 0) return false
  for (const name of [program.name, waivedName(program.name)]) {
    const own = blocked.get(name)
    if (!own) continue
    const key = changeKey(change, program)
    if (key !== null && own.has(key)) return true
    if (change.old && own.has(keyOf(change.old, program.key))) return true
  }
  return change.row !== null && parentsOf(program, mapping).some(({ at, table }) => {
    const keys = blocked.get(table)
    return keys !== undefined && !at.some((i) => isNull(change.row!, i)) && keys.has(keyOf(change.row!, at))
  })
}

interface Parent {
  readonly at: readonly number[]
  readonly table: string
}

const known = new WeakMap<Program, Parent[]>()

/** Columns that hold keys of other captured tables: by what they refer to, and by foreign keys. */
function parentsOf(program: Program, mapping: Mapping): Parent[] {
  let parents = known.get(program)
  if (!parents) {
    const { rule } = program
    // What a trigger makes with this row comes after it.
    const filled = rule.columns.filter((column) => rule.makes?.filled.includes(column.target)).map((column) => column.source)
    const refs = rule.columns.flatMap((column, i) => {
      if (column.map.kind !== 'ref') return []
      const entity = mapping.entities.get(column.map.entity)!
      const own = entity.name === rule.entity && rule.targetKey.includes(column.target)
      return own || filled.includes(column.source) ? [] : [{ at: [program.columns[i].from], table: entity.table }]
    })
    const keys = rule.parents.filter(({ columns }) => columns.every((column) => program.position.has(column) && !filled.includes(column)))
      .map(({ columns, table }) => ({ at: columns.map((column) => program.position.get(column)!), table }))
    parents = [...new Map([...refs, ...keys].map((one) => [JSON.stringify(one), one])).values()]
    known.set(program, parents)
  }
  return parents
}

interface Stored {
  readonly op: Change['op']
  /** The table's columns as they were. */
  readonly columns: readonly string[]
  readonly row: Record<string, string | null> | null
  readonly old: Record<string, string | null> | null
  readonly oldIsFull: boolean
}

/** A change as JSON text for the parked table: values by column name as text; a value that was not sent is absent. */
export function storeChange(change: Change): string {
  const values = (row: Row | null): Stored['row'] =>
    row === null ? null : Object.fromEntries(change.relation.columns.flatMap((column, i) => (isUnchanged(row, i) ? [] : [[column.name, textField(row, i)]])))
  const stored: Stored = { op: change.op, columns: change.relation.columns.map((column) => column.name), row: values(change.row), old: values(change.old), oldIsFull: change.oldIsFull }
  return JSON.stringify(stored)
}

/**
 * The change again, in the shape that its table had then: what the mapping makes of it is decided by that. Columns that neither side has any
 * more are left out. Throws SCHEMA_CHANGED where a column is gone at the source alone, or may have been renamed.
 */
export function loadChange(text: string, now: Now): Change {
  const stored = JSON.parse(text) as Stored
  const gone = goneSince(stored.columns, now)
  const relation = shapeOf(now.present, gone.length === 0 ? stored.columns : stored.columns.filter((name) => !gone.includes(name)))
  const row = (values: Stored['row']): Row | null =>
    values === null ? null : rowOf(relation.columns.map((column) => (Object.hasOwn(values, column.name) ? values[column.name] : undefined)))
  return { op: stored.op, relation, row: row(stored.row), old: row(stored.old), oldIsFull: stored.oldIsFull }
}

/** How a parked table is today. */
export interface Now {
  readonly present: Relation
  readonly rule: Pick<TableRule, 'source' | 'columns' | 'dropped' | 'former'>
  /** Columns of the table at the destination. */
  readonly target: readonly string[]
}

/** Columns that a parked row has, that the source has no more, and of which the mapping says nothing. */
function goneSince(columns: readonly string[], { present, rule, target }: Now): readonly string[] {
  const known = new Set([...present.columns.map(({ name }) => name), ...rule.dropped.map(({ column }) => column), ...rule.former.keys()])
  const gone = columns.filter((name) => !known.has(name))
  if (gone.length === 0) return gone
  const had = new Set(columns.map((name) => rule.former.get(name) ?? name))
  const [lacks] = rule.columns.flatMap(({ source }) => (source === null || had.has(source) ? [] : [source]))
  const [name] = gone
  const table = nameOf(rule.source)
  const parked = `rows of ${table} that are parked have the column ${name}, which the source has no more`
  if (lacks !== undefined) {
    throw new RekeyError('SCHEMA_CHANGED', `${parked}, and lack ${lacks}`, {
      hint: `Say in the rule of ${table}: former: { ${name}: ${lacks} } where it was renamed, or { ${name}: null } where it is gone; then start again.`,
    })
  }
  if (gone.some((one) => target.includes(one))) {
    throw new RekeyError('SCHEMA_CHANGED', `${parked}; the destination still has it`, {
      hint: `Drop it at the destination, or say in the rule of ${table}: former: { ${name}: null }; parked rows then come without it.`,
    })
  }
  return gone
}

const shapes = new WeakMap<Relation, Map<string, Relation>>()

/** One relation a shape, so that what is compiled for it is kept. */
function shapeOf(present: Relation, columns: readonly string[]): Relation {
  if (present.columns.length === columns.length && present.columns.every(({ name }, i) => name === columns[i])) return present
  const known = shapes.get(present) ?? new Map<string, Relation>()
  shapes.set(present, known)
  const id = JSON.stringify(columns)
  const shape = known.get(id) ?? {
    ...present, columns: columns.map((name) => present.columns.find((column) => column.name === name) ?? { name, typeOid: 0, key: false }),
  }
  known.set(id, shape)
  return shape
}

/** A raw key as text, for people. */
export function readableKey(raw: string): string {
  return raw.split('\t').map((field) => unescapeField(Buffer.from(field, 'latin1')).toString('utf8')).join(', ')
}
