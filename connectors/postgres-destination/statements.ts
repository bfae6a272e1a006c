import type { CatalogTable, ForeignKey } from '../../src/core/catalog.ts'
import type { Lines } from '../../src/core/out.ts'
import type { Part, TableWrite, WritePlan } from '../../src/core/plan.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf } from '../../src/core/relation.ts'
import { clearGone, comeBack, deleteStaged, deletes, hasChildren, leaveKeys, proveNoneLeft } from './deletes.ts'
import { amongStaged, equalsOf, joined } from './equal.ts'
import { existingFirst, proveFixed, settable } from './existing.ts'
import { mergeStatements } from './merge.ts'
import { proveWritten } from './written.ts'
import { emptyStage, type Message, type StageFill, stageOf } from './stage.ts'
import { refuseStrangers } from './strangers.ts'
import { truncateMessage } from './truncate.ts'

/** What the statements need to know beside the plan. */
export interface Scope {
  readonly pipeline: string
  /** Every table of the destination: who points at whom. */
  readonly tables: readonly CatalogTable[]
  /** Place of a table in the order in which parents come before children. */
  readonly rank: (table: CatalogTable) => number
  readonly fill: StageFill
  /**
   * A source transaction that comes in fragments, parents' deletes perhaps long before their children's: by target table, what was deleted
   * so far. Null for transactions that are whole.
   */
  readonly gone: Map<string, TableWrite> | null
}

/**
 * A part of a plan as one message: statements and the COPY data that they read. Order: deletes, children first; then, parents first, key
 * changes, updates and new rows of each table, so that a row never meets a unique value that the same part frees; proofs last.
 */
export function partMessage(part: Part, checks: WritePlan['checks'], scope: Scope, out: Message): void {
  truncateMessage(part.truncate, checks, scope, out)
  const all = { checks, scope, out, guarded: part.guarded === true }
  for (const write of [...part.writes].reverse()) {
    if (write.deletes.rows > 0) deletes(write, all)
    if (write.removals.rows > 0) removals(write, all)
  }
  clearGone(part, all)
  for (const write of part.writes) {
    for (const set of write.moves.values()) moves(write, set, all)
    for (const set of write.updates.values()) updates(write, set, all)
    for (const { columns, lines } of write.merges.values()) {
      const set = mergeStatements(write, columns.map((i) => write.columns[i]), { lines, scope, out })
      if (checks === 'set') proveWritten(write, set, { stage: stageOf(write.target, 's'), tables: scope.tables }, out)
    }
    if (write.upserts.rows > 0) staged(write, write.upserts, true, all)
    if (write.inserts.rows > 0) inserts(write, all)
  }
  if (checks === 'engine') {
    if (!scope.gone) for (const write of [...part.writes].reverse()) if (hasChildren(write, all)) deleteStaged(write, stageOf(write.target, 'd'), all)
    return
  }
  for (const write of part.writes) for (const [name, lines] of write.parents) proveParents(write, name, lines, all)
  if (scope.gone) return
  for (const write of part.writes) if (write.deletes.rows > 0) proveNoneLeft(write, stageOf(write.target, 'd'), write.rule.targetKey, all)
}

export interface All {
  readonly checks: WritePlan['checks']
  readonly scope: Scope
  readonly out: Message
  /** As of Part. */
  readonly guarded: boolean
}

/** Copies lines into a stage, emptied first when it may hold something. */
export function fill(stage: string, columns: readonly string[], lines: Lines, { scope, out }: Pick<All, 'scope' | 'out'>): void {
  const empty = emptyStage(scope.fill, stage, lines.rows)
  if (empty) out.sql.push(empty)
  out.sql.push(`copy ${stage} (${columns.map(quoteIdent).join(', ')}) from stdin`)
  out.copies.push([lines.view()])
}

/** A BEFORE ROW trigger can swallow a row, which COPY does not tell apart: such tables are written by a statement that counts. */
export function mayFire(table: CatalogTable, event: 'insert' | 'update' | 'delete', checks: WritePlan['checks']): boolean {
  return table.triggers.some((t) => t.before && t.row && t[event] && (t.enabled === 'A' || t.enabled === (checks === 'set' ? 'R' : 'O')))
}

function inserts(write: TableWrite, all: All): void {
  const back = all.scope.gone?.has(nameOf(write.target)) === true
  if (back || mayFire(write.target, 'insert', all.checks)) return staged(write, write.inserts, back, all)
  all.out.sql.push(`copy ${quoteName(write.target)} (${write.columns.map(quoteIdent).join(', ')}) from stdin`)
  all.out.copies.push([write.inserts.view()])
}

/** New rows, or rows that may be there, from a stage; the number of rows is asserted before anything commits. */
function staged(write: TableWrite, lines: Lines, mayExist: boolean, all: All): void {
  const stage = stageOf(write.target, 's')
  fill(stage, write.columns, lines, all)
  const columns = write.columns.map(quoteIdent)
  const key = write.rule.targetKey
  comeBack(write, stage, all)
  if (mayExist) guard(write, stage, key, all)
  if (mayExist && write.rule.makes) return existingFirst(write, { stage, rows: lines.rows }, all.out)
  const others = settable(write.target, write.columns.filter((c) => !key.includes(c)))
  const set = (others.length > 0 ? others : settable(write.target, key)).map((c) => `${quoteIdent(c)} = excluded.${quoteIdent(c)}`)
  const conflict = mayExist ? ` on conflict (${key.map(quoteIdent).join(', ')}) do ${set.length > 0 ? `update set ${set.join(', ')}` : 'nothing'}` : ''
  const list = columns.join(', ')
  const insert = `insert into ${quoteName(write.target)} (${list}) overriding system value select ${list} from ${stage}${conflict} returning 1`
  if (mayExist && set.length === 0) {
    const there = `select 1 from ${quoteName(write.target)} t, ${stage} s where ${joined(write.target, key, stage)}`
    all.out.sql.push(insert, `select rekey.expect(${lines.rows}, (select count(*) from (${there}) x), ${quoteLiteral(nameOf(write.target))}, 'RK002')`)
  } else all.out.sql.push(counted(insert, lines.rows, nameOf(write.target), 'RK002'))
  if (mayExist) proveFixed(write, write.columns, stage, all.out)
}

function guard(write: TableWrite, stage: string, key: readonly string[], { guarded, scope, out }: All): void {
  if (guarded) refuseStrangers(write, { stage, key, pipeline: scope.pipeline }, out)
}

function counted(statement: string, expected: number, place: string, state: string): string {
  return `with w as (${statement}) select rekey.expect(${expected}, count(*), ${quoteLiteral(place)}, ${quoteLiteral(state)}) from w`
}

export type ColumnSet = { readonly columns: readonly number[]; readonly lines: Lines }

/** Rows of which some values were not sent: only the others are set. */
function updates(write: TableWrite, { columns, lines }: ColumnSet, all: All): void {
  const stage = stageOf(write.target, 's')
  const names = columns.map((i) => write.columns[i])
  fill(stage, names, lines, all)
  const set = settable(write.target, names.filter((name) => !write.rule.targetKey.includes(name))).map((name) => `${quoteIdent(name)} = s.${quoteIdent(name)}`)
  if (set.length === 0) return
  guard(write, stage, write.rule.targetKey, all)
  const where = joined(write.target, write.rule.targetKey, stage)
  const update = `update ${quoteName(write.target)} t set ${set.join(', ')} from ${stage} s where ${where} returning 1`
  all.out.sql.push(counted(update, lines.rows, nameOf(write.target), 'RK002'))
  proveFixed(write, names, stage, all.out)
}

function moves(write: TableWrite, { columns, lines }: ColumnSet, all: All): void {
  const stage = stageOf(write.target, 'm')
  const names = columns.map((i) => write.columns[i])
  const old = write.rule.targetKey.map((_, i) => `rekey_old_${i}`)
  fill(stage, [...old, ...names], lines, all)
  guard(write, stage, old, all)
  const set = names.filter((name) => write.rule.targetKey.includes(name) || settable(write.target, [name]).length > 0)
  const sets = set.map((name) => `${quoteIdent(name)} = s.${quoteIdent(name)}`).join(', ')
  const update = `update ${quoteName(write.target)} t set ${sets} from ${stage} s where ${joined(write.target, write.rule.targetKey, stage, old)} returning 1`
  all.out.sql.push(counted(update, lines.rows, nameOf(write.target), 'RK002'))
  proveFixed(write, names, stage, all.out)
  if (names.some((name) => write.rule.targetKey.includes(name))) comeBack(write, stage, all)
  if (all.checks === 'engine') return
  proveWritten(write, names, { stage, tables: all.scope.tables }, all.out)
  leaveKeys(write, { stage, columns: old }, all)
}

/** Foreign keys of any table that point at this one. */
export function children(target: CatalogTable, tables: readonly CatalogTable[]): { child: CatalogTable; fk: ForeignKey }[] {
  return tables.flatMap((child) => child.foreignKeys.filter((fk) => nameOf(fk.target) === nameOf(target)).map((fk) => ({ child, fk })))
}

/** Types that have no equality of their own. */
const NO_EQUALITY = /^(json|xml|point|polygon|line|lseg|path|box|circle)(\(|$)/

/**
 * One row goes for each staged one, of several that print alike any: what is equal but prints otherwise (1.0 and 1.00) is another row. The
 * printed rows can be hashed, whatever is null in them; columns that are never null are compared by themselves too, so that an index can
 * serve.
 */
function removals(write: TableWrite, all: All): void {
  const stage = stageOf(write.target, 's')
  fill(stage, write.columns, write.removals, all)
  const certain = write.columns.filter((name) => {
    const { type, nullable } = write.target.columns.find((c) => c.name === name)!
    return !nullable && !NO_EQUALITY.test(type)
  })
  const printed = (alias: string): string => `row(${write.columns.map((name) => `${alias}.${quoteIdent(name)}`).join(', ')})::text`
  const match = [`${printed('t')} = w.rekey_row`, ...certain.map((name) => `t.${quoteIdent(name)} ${equalsOf(write.target, name)} w.${quoteIdent(name)}`)]
  const table = quoteName(write.target)
  all.out.sql.push(`with p as (select *, ${printed('s')} as rekey_row from ${stage} s),
w as (select distinct on (rekey_row) *, count(*) over (partition by rekey_row) as rekey_n from p),
d as (select t.tableoid as rekey_table, t.ctid as rekey_at, w.rekey_n, row_number() over (partition by w.rekey_row) as rekey_i from w join ${table} t on ${match.join(' and ')})
delete from ${table} t using d where t.ctid = d.rekey_at and t.tableoid = d.rekey_table and d.rekey_i <= d.rekey_n`)
}

/** Every parent of the written rows exists and is locked FOR KEY SHARE, as Postgres's own foreign-key trigger would have done row by row. */
function proveParents(write: TableWrite, name: string, lines: Lines, all: All): void {
  const fk = write.target.foreignKeys.find((candidate) => candidate.name === name)!
  const stage = stageOf(write.target, 'p', fk)
  fill(stage, fk.columns, lines, all)
  const parent = all.scope.tables.find((table) => nameOf(table) === nameOf(fk.target))!
  const where = joined(parent, fk.targetColumns, stage, fk.columns)
  const from = fk.columns.length === 1 ? '' : `, ${stage} s`
  const only = fk.columns.length === 1 ? amongStaged(parent, fk.targetColumns[0], stage, fk.columns[0]) : where
  const rows = `select 1 from ${quoteName(fk.target)} t${from} where ${only} for key share of t`
  all.out.sql.push(`select rekey.expect(${lines.rows}, (select count(*) from (${rows}) x), ${quoteLiteral(name)}, '23503')`)
}
