import type { CatalogTable, ForeignKey } from '../../src/core/catalog.ts'
import type { Part, TableWrite, WritePlan } from '../../src/core/plan.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf } from '../../src/core/relation.ts'
import { amongStaged, equalsOf, joined } from './equal.ts'
import { emptyStage, type Message, stageOf } from './stage.ts'
import { type All, children, fill, mayFire, type Scope } from './statements.ts'
import { leaveStrangers } from './strangers.ts'

/** Key changes that are proven leave the keys that they take away to the end, like a transaction in fragments: children may follow later. */
export function needsEnd(parts: readonly Part[], checks: WritePlan['checks']): boolean {
  return checks === 'set' && parts.some((part) => part.writes.some((write) => write.moves.size > 0))
}

/** The end of a transaction in fragments: what it deleted goes now (engine), or is proven to have left no child behind (set). */
export function endMessage(gone: ReadonlyMap<string, TableWrite>, checks: WritePlan['checks'], scope: Scope, out: Message): void {
  const all = { checks, scope: { ...scope, gone: null }, out, guarded: false }
  for (const write of [...gone.values()].sort((a, b) => scope.rank(b.target) - scope.rank(a.target))) {
    if (checks === 'engine') deleteStaged(write, stageOf(write.target, 'g'), all)
    else proveNoneLeft(write, stageOf(write.target, 'g'), write.rule.targetKey, all)
  }
}

/** Keys of which the end shows that nothing points at them any more; with Postgres's own triggers, of rows that wait for that. */
export function leaveKeys(write: TableWrite, { stage, columns }: { stage: string; columns: readonly string[] }, { scope, checks, out }: All): void {
  const gone = stageOf(write.target, 'g')
  const empty = scope.gone!.has(nameOf(write.target)) ? null : emptyStage(scope.fill, gone, TRUNCATED)
  if (empty) out.sql.push(empty)
  scope.gone!.set(nameOf(write.target), write)
  const still = checks === 'engine' ? ` s where exists (select 1 from ${quoteName(write.target)} t where ${sameKey(write, 't', 's', columns)})` : ''
  out.sql.push(`insert into ${gone} select ${columns.map(quoteIdent).join(', ')} from ${stage}${still}`)
}

/**
 * A row that is already gone is what was asked for; one that a trigger keeps is not. Postgres's own cascades would take rows of others
 * along, so where the engine would cascade, the parents are locked and must be without children first.
 */
export function deletes(write: TableWrite, all: All): void {
  const stage = stageOf(write.target, 'd')
  fill(stage, write.rule.targetKey, write.deletes, all)
  if (all.guarded) leaveStrangers(write, { stage, key: write.rule.targetKey, pipeline: all.scope.pipeline }, all.out)
  if (all.checks === 'engine' && (all.scope.gone || hasChildren(write, all))) deleteChildless(write, stage, all)
  else deleteStaged(write, stage, all)
  if (all.scope.gone) leaveKeys(write, { stage, columns: write.rule.targetKey }, all)
}

export function hasChildren(write: TableWrite, { scope }: All): boolean {
  return write.deletes.rows > 0 && children(write.target, scope.tables).length > 0
}

/**
 * Rows that nothing points at go first and free their unique values; the others wait for the writes of this part, which may point their
 * children elsewhere, and go at its end.
 */
function deleteChildless(write: TableWrite, stage: string, all: All): void {
  const { target } = write
  const { scope, out } = all
  const { from, using, where } = goingRows(write, stage)
  lockParents(write, { from, where }, all)
  const free = children(target, scope.tables).map(({ child, fk }) => {
    const on = fk.columns.map((column, i) => `c.${quoteIdent(column)} ${equalsOf(child, column)} t.${quoteIdent(fk.targetColumns[i])}`)
    return ` and not exists (select 1 from ${quoteName(child)} c where ${on.join(' and ')})`
  })
  out.sql.push(`delete from ${quoteName(target)} t${using} where ${where}${free.join('')}`)
}

interface Going {
  readonly from: string
  readonly using: string
  readonly where: string
}

/** The rows of a table that a stage names, as parts of SELECT and DELETE. */
function goingRows({ target, rule: { targetKey } }: TableWrite, stage: string): Going {
  const single = targetKey.length === 1
  const where = single ? amongStaged(target, targetKey[0], stage) : joined(target, targetKey, stage)
  return { from: `from ${quoteName(target)} t${single ? '' : `, ${stage} s`}`, using: single ? '' : ` using ${stage} s`, where }
}

/** Foreign keys by which Postgres would change or take along what points at a row that goes. A child that comes meanwhile waits for the lock, or is there. */
function lockParents({ target }: TableWrite, { from, where }: Pick<Going, 'from' | 'where'>, { scope, out }: All): ReturnType<typeof children> {
  const acting = children(target, scope.tables).filter(({ fk }) => fk.onDelete !== 'a' && fk.onDelete !== 'r')
  if (acting.length > 0) out.sql.push(`select count(*) from (select 1 ${from} where ${where} for update of t) x`)
  return acting
}

export function deleteStaged(write: TableWrite, stage: string, all: All): void {
  const { target, rule } = write
  const { from, using, where } = goingRows(write, stage)
  if (all.checks === 'engine') {
    for (const { child, fk } of lockParents(write, { from, where }, all)) all.out.sql.push(noneLeft(child, fk, { target, stage, key: rule.targetKey, columns: rule.targetKey, going: true }))
  }
  all.out.sql.push(`delete from ${quoteName(target)} t${using} where ${where}`)
  if (mayFire(target, 'delete', all.checks)) {
    const rest = `select count(*) ${from} where ${where}`
    all.out.sql.push(`select rekey.expect(0, (${rest}), ${quoteLiteral(nameOf(target))}, 'RK002')`)
  }
}

function sameKey({ target, rule: { targetKey } }: TableWrite, one: string, other: string, columns: readonly string[] = targetKey): string {
  return targetKey.map((k, i) => `${one}.${quoteIdent(k)} ${equalsOf(target, k)} ${other}.${quoteIdent(columns[i])}`).join(' and ')
}

/** A row that went earlier in the transaction is there again, or will be when this part is done: the end leaves it alone. */
export function comeBack(write: TableWrite, stage: string, { scope, out }: All): void {
  if (scope.gone?.has(nameOf(write.target))) out.sql.push(`delete from ${stageOf(write.target, 'g')} g using ${stage} s where ${sameKey(write, 'g', 's')}`)
}

/**
 * Rows that waited for their children to go, which came in a later fragment, go before their table is written to: new rows may have their keys and
 * unique values.
 */
export function clearGone({ writes }: Part, all: All): void {
  const { gone, rank } = all.scope
  const comes = ({ target, moves, updates, upserts, inserts }: TableWrite): boolean =>
    gone!.has(nameOf(target)) && (moves.size > 0 || updates.size > 0 || upserts.rows > 0 || inserts.rows > 0)
  if (!gone || all.checks !== 'engine' || !writes.some(comes)) return
  for (const write of [...gone.values()].sort((a, b) => rank(b.target) - rank(a.target))) {
    const stage = stageOf(write.target, 'g')
    deleteChildless(write, stage, all)
    all.out.sql.push(`delete from ${stage} g where not exists (select 1 from ${quoteName(write.target)} t where ${sameKey(write, 't', 'g')})`)
  }
}

/** More than a stage may hold before it is truncated: a transaction in fragments is large. */
const TRUNCATED = 1_000_000

interface Left {
  readonly target: CatalogTable
  readonly stage: string
  /** The destination key, and the stage's columns that hold it. */
  readonly key: readonly string[]
  readonly columns: readonly string[]
  /** The staged rows are still there and about to go; else they are gone, unless they were made anew. */
  readonly going: boolean
}

/** No row of a child table points at one of these keys, apart from rows that go themselves and keys that are there again. */
function noneLeft(child: CatalogTable, fk: ForeignKey, { target, stage, key, columns, going }: Left): string {
  const held = fk.targetColumns.map((column) => columns[key.indexOf(column)])
  if (held.some((column) => column === undefined)) return going ? noneLeftByOthers(child, fk, { target, stage, key }) : 'select 1 where false'
  const on = fk.columns.map((column, i) => `c.${quoteIdent(column)} ${equalsOf(child, column)} s.${quoteIdent(held[i])}`).join(' and ')
  const self = nameOf(child) === nameOf(fk.target)
  const again = `not exists (select 1 from ${quoteName(fk.target)} p where ${key.map((k, i) => `p.${quoteIdent(k)} ${equalsOf(target, k)} s.${quoteIdent(columns[i])}`).join(' and ')})`
  const goes = `not exists (select 1 from ${stage} g where ${key.map((k, i) => `g.${quoteIdent(columns[i])} ${equalsOf(child, k)} c.${quoteIdent(k)}`).join(' and ')})`
  const unless = going ? (self ? ` and ${goes}` : '') : ` and ${again}`
  // No limit: it would make the planner walk the stages row by row for the one that is not there, which is quadratic.
  const count = `select count(*) from ${quoteName(child)} c join ${stage} s on ${on}${unless}`
  return `select rekey.expect(0, (${count}), ${quoteLiteral(fk.name)}, '23503')`
}

/** The same of a foreign key to other columns than the key: what those hold only the rows say, which are still there. */
function noneLeftByOthers(child: CatalogTable, fk: ForeignKey, { target, stage, key }: Pick<Left, 'target' | 'stage' | 'key'>): string {
  const on = fk.columns.map((column, i) => `c.${quoteIdent(column)} ${equalsOf(child, column)} t.${quoteIdent(fk.targetColumns[i])}`).join(' and ')
  const goes = key.map((k) => `g.${quoteIdent(k)} ${equalsOf(target, k)} c.${quoteIdent(k)}`).join(' and ')
  const unless = nameOf(child) === nameOf(target) ? ` where not exists (select 1 from ${stage} g where ${goes})` : ''
  const same = key.map((k) => `t.${quoteIdent(k)} ${equalsOf(target, k)} s.${quoteIdent(k)}`).join(' and ')
  const count = `select count(*) from ${quoteName(child)} c join (${quoteName(target)} t join ${stage} s on ${same}) on ${on}${unless}`
  return `select rekey.expect(0, (${count}), ${quoteLiteral(fk.name)}, '23503')`
}

/** After the deletes and key changes, in a later statement, so that children committed meanwhile are seen. */
export function proveNoneLeft(write: TableWrite, stage: string, columns: readonly string[], all: All): void {
  for (const { child, fk } of children(write.target, all.scope.tables)) {
    all.out.sql.push(noneLeft(child, fk, { target: write.target, stage, key: write.rule.targetKey, columns, going: false }))
  }
}

