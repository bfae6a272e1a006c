import type { CatalogTable, ForeignKey } from '../../src/core/catalog.ts'
import type { Lines } from '../../src/core/out.ts'
import type { Part, TableWrite, TruncatedTable, WritePlan } from '../../src/core/plan.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf } from '../../src/core/relation.ts'
import { mergeStatements } from './merge.ts'
import { type Message, stageOf } from './stage.ts'

/** What the statements need to know beside the plan. */
export interface Scope {
  readonly pipeline: string
  /** Every table of the destination: who points at whom. */
  readonly tables: readonly CatalogTable[]
  /** False when a stage may hold rows of an earlier part of the same transaction. */
  readonly fresh: boolean
}

/**
 * A part of a plan as one message: statements and the COPY data that they read. Order: deletes, children first; then, parents first, key
 * changes, updates and new rows of each table, so that a row never meets a unique value that the same part frees; proofs last.
 */
export function partMessage(part: Part, checks: WritePlan['checks'], scope: Scope, out: Message): void {
  for (const rule of part.truncate) out.sql.push(`delete from ${quoteName(rule.target)} t where ${ownedRows(rule, scope.pipeline)}`)
  const all = { checks, scope, out }
  for (const write of [...part.writes].reverse()) if (write.deletes.rows > 0) deletes(write, all)
  for (const write of part.writes) {
    for (const set of write.moves.values()) moves(write, set, all)
    for (const set of write.updates.values()) updates(write, set, all)
    if (write.merges.rows > 0) mergeStatements(write, scope, out)
    if (write.upserts.rows > 0) staged(write, write.upserts, true, all)
    if (write.inserts.rows > 0) inserts(write, all)
  }
  if (checks === 'engine') return
  for (const write of part.writes) for (const [name, lines] of write.parents) proveParents(write, name, lines, all)
  for (const write of part.writes) if (write.deletes.rows > 0 || write.moves.size > 0) proveNoneLeft(write, all)
}

interface All {
  readonly checks: WritePlan['checks']
  readonly scope: Scope
  readonly out: Message
}

/**
 * Which rows of a table are ours: by the ledger, or by the form of the id (prefix, length, UUID version 8 or 5 in the eleventh character),
 * which no id that another program mints has.
 */
function ownedRows(rule: TruncatedTable, pipeline: string): string {
  const key = rule.targetKey.map((k) => `t.${quoteIdent(k)}`)
  if (rule.prefix === null) {
    const entry = `m.pipeline = ${quoteLiteral(pipeline)} and m.entity = ${quoteLiteral(rule.ledger)} and m.kind = 'inserted'`
    return `exists (select 1 from rekey.id_map m where ${entry} and m.new = concat_ws(E'\\t', ${key.join(', ')}))`
  }
  const start = rule.prefix.length + 2
  return `left(${key[0]}, ${start - 1}) = ${quoteLiteral(`${rule.prefix}_`)} and length(${key[0]}) = ${start + 25} and substr(${key[0]}, ${start + 10}, 1) in ('g', 'h', 'a', 'b')`
}

/** Copies lines into a stage, emptied first when it may hold something. */
function fill(stage: string, columns: readonly string[], lines: Lines, { scope, out }: All): void {
  if (!scope.fresh) out.sql.push(`truncate ${stage}`)
  out.sql.push(`copy ${stage} (${columns.map(quoteIdent).join(', ')}) from stdin`)
  out.copies.push([lines.view()])
}

/** A BEFORE ROW trigger can swallow a row, which COPY does not tell apart: such tables are written by a statement that counts. */
function mayFire(table: CatalogTable, event: 'insert' | 'update' | 'delete', checks: WritePlan['checks']): boolean {
  return table.triggers.some((t) => t.before && t.row && t[event] && (t.enabled === 'A' || t.enabled === (checks === 'set' ? 'R' : 'O')))
}

function inserts(write: TableWrite, all: All): void {
  if (mayFire(write.target, 'insert', all.checks)) return staged(write, write.inserts, false, all)
  all.out.sql.push(`copy ${quoteName(write.target)} (${write.columns.map(quoteIdent).join(', ')}) from stdin`)
  all.out.copies.push([write.inserts.view()])
}

/** New rows, or rows that may be there, from a stage; the number of rows is asserted before anything commits. */
function staged(write: TableWrite, lines: Lines, mayExist: boolean, all: All): void {
  const stage = stageOf(write.target, 's')
  fill(stage, write.columns, lines, all)
  const columns = write.columns.map(quoteIdent)
  const key = write.rule.targetKey.map(quoteIdent)
  const set = columns.filter((c) => !key.includes(c))
  const sets = (set.length > 0 ? set : key).map((c) => `${c} = excluded.${c}`).join(', ')
  const conflict = mayExist ? ` on conflict (${key.join(', ')}) do update set ${sets}` : ''
  const list = columns.join(', ')
  const insert = `insert into ${quoteName(write.target)} (${list}) overriding system value select ${list} from ${stage}${conflict} returning 1`
  all.out.sql.push(counted(insert, lines.rows, nameOf(write.target), 'RK002'))
}

function counted(statement: string, expected: number, place: string, state: string): string {
  return `with w as (${statement}) select rekey.expect(${expected}, count(*), ${quoteLiteral(place)}, ${quoteLiteral(state)}) from w`
}

/**
 * `t.key = s.key`; for a single column also `= any (…)`, which makes the planner look the keys up in the index whatever it believes of
 * the size of a stage that was never analyzed.
 */
function joined(keys: readonly string[], stage: string, stageKeys: readonly string[] = keys): string {
  const pairs = keys.map((k, i) => `t.${quoteIdent(k)} = s.${quoteIdent(stageKeys[i])}`)
  if (keys.length === 1) pairs.push(`t.${quoteIdent(keys[0])} = any (array(select ${quoteIdent(stageKeys[0])} from ${stage}))`)
  return pairs.join(' and ')
}

type ColumnSet = { readonly columns: readonly number[]; readonly lines: Lines }

/** Rows of which some values were not sent: only the others are set. */
function updates(write: TableWrite, { columns, lines }: ColumnSet, all: All): void {
  const stage = stageOf(write.target, 's')
  const names = columns.map((i) => write.columns[i])
  fill(stage, names, lines, { ...all, scope: { ...all.scope, fresh: all.scope.fresh && !used(stage, all.out) } })
  const set = names.filter((name) => !write.rule.targetKey.includes(name)).map((name) => `${quoteIdent(name)} = s.${quoteIdent(name)}`)
  if (set.length === 0) return
  const where = joined(write.rule.targetKey, stage)
  const update = `update ${quoteName(write.target)} t set ${set.join(', ')} from ${stage} s where ${where} returning 1`
  all.out.sql.push(counted(update, lines.rows, nameOf(write.target), 'RK002'))
}

function used(stage: string, out: Message): boolean {
  return out.sql.some((statement) => statement.startsWith(`copy ${stage} `))
}

function moves(write: TableWrite, { columns, lines }: ColumnSet, all: All): void {
  const stage = stageOf(write.target, 'm')
  const names = columns.map((i) => write.columns[i])
  const old = write.rule.targetKey.map((_, i) => `rekey_old_${i}`)
  fill(stage, [...old, ...names], lines, { ...all, scope: { ...all.scope, fresh: all.scope.fresh && !used(stage, all.out) } })
  const set = names.map((name) => `${quoteIdent(name)} = s.${quoteIdent(name)}`).join(', ')
  const update = `update ${quoteName(write.target)} t set ${set} from ${stage} s where ${joined(write.rule.targetKey, stage, old)} returning 1`
  all.out.sql.push(counted(update, lines.rows, nameOf(write.target), 'RK002'))
}

/** Foreign keys of any table that point at this one. */
export function children(target: CatalogTable, tables: readonly CatalogTable[]): { child: CatalogTable; fk: ForeignKey }[] {
  return tables.flatMap((child) => child.foreignKeys.filter((fk) => nameOf(fk.target) === nameOf(target)).map((fk) => ({ child, fk })))
}

/**
 * A row that is already gone is what was asked for; one that a trigger keeps is not. Postgres's own cascades would take rows of others
 * along, so where the engine would cascade, the parents are locked and must be without children first.
 */
function deletes(write: TableWrite, all: All): void {
  const { target, rule } = write
  const stage = stageOf(target, 'd')
  fill(stage, rule.targetKey, write.deletes, all)
  const where = joined(rule.targetKey, stage)
  const from = rule.targetKey.length === 1 ? '' : ` using ${stage} s`
  const alone = rule.targetKey.length === 1 ? `t.${quoteIdent(rule.targetKey[0])} = any (array(select ${quoteIdent(rule.targetKey[0])} from ${stage}))` : where
  if (all.checks === 'engine') {
    const acting = children(target, all.scope.tables).filter(({ fk }) => fk.onDelete !== 'a' && fk.onDelete !== 'r')
    if (acting.length > 0) {
      all.out.sql.push(`select count(*) from (select 1 from ${quoteName(target)} t${from ? `, ${stage} s` : ''} where ${alone} for update of t) x`)
      for (const { child, fk } of acting) all.out.sql.push(noneLeft(child, fk, rule.targetKey, stage))
    }
  }
  all.out.sql.push(`delete from ${quoteName(target)} t${from} where ${alone}`)
  if (mayFire(target, 'delete', all.checks)) {
    const rest = `select count(*) from ${quoteName(target)} t${from ? `, ${stage} s` : ''} where ${alone}`
    all.out.sql.push(`select rekey.expect(0, (${rest}), ${quoteLiteral(nameOf(target))}, 'RK002')`)
  }
}

/** No row of a child table points at one of these keys, apart from rows that go themselves. */
function noneLeft(child: CatalogTable, fk: ForeignKey, key: readonly string[], stage: string, stageKeys: readonly string[] = key): string {
  const columns = fk.targetColumns.map((column) => stageKeys[key.indexOf(column)])
  if (columns.some((column) => column === undefined)) return 'select 1 where false'
  const on = fk.columns.map((column, i) => `c.${quoteIdent(column)} = s.${quoteIdent(columns[i])}`).join(' and ')
  const self = nameOf(child) === nameOf(fk.target) && stageKeys === key
    ? ` and not exists (select 1 from ${stage} g where ${key.map((k) => `g.${quoteIdent(k)} = c.${quoteIdent(k)}`).join(' and ')})`
    : ''
  const count = `select count(*) from (select 1 from ${quoteName(child)} c join ${stage} s on ${on}${self} limit 1) x`
  return `select rekey.expect(0, (${count}), ${quoteLiteral(fk.name)}, '23503')`
}

/** After the deletes and key changes, in a later statement, so that children committed meanwhile are seen. */
function proveNoneLeft(write: TableWrite, all: All): void {
  for (const { child, fk } of children(write.target, all.scope.tables)) {
    if (write.deletes.rows > 0) all.out.sql.push(noneLeft(child, fk, write.rule.targetKey, stageOf(write.target, 'd')))
    if (write.moves.size > 0) {
      const old = write.rule.targetKey.map((_, i) => `rekey_old_${i}`)
      all.out.sql.push(noneLeft(child, fk, write.rule.targetKey, stageOf(write.target, 'm'), old))
    }
  }
}

/** Every parent of the written rows exists and is locked FOR KEY SHARE, as Postgres's own foreign-key trigger would have done row by row. */
function proveParents(write: TableWrite, name: string, lines: Lines, all: All): void {
  const fk = write.target.foreignKeys.find((candidate) => candidate.name === name)!
  const stage = stageOf(write.target, 'p', fk)
  fill(stage, fk.columns, lines, all)
  const where = joined(fk.targetColumns, stage, fk.columns)
  const from = fk.columns.length === 1 ? '' : `, ${stage} s`
  const only = fk.columns.length === 1 ? `t.${quoteIdent(fk.targetColumns[0])} = any (array(select ${quoteIdent(fk.columns[0])} from ${stage}))` : where
  const rows = `select 1 from ${quoteName(fk.target)} t${from} where ${only} for key share of t`
  all.out.sql.push(`select rekey.expect(${lines.rows}, (select count(*) from (${rows}) x), ${quoteLiteral(name)}, '23503')`)
}
