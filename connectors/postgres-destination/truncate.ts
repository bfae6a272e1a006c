import { type CatalogTable, tableOf } from '../../src/core/catalog.ts'
import type { TruncatedTable, WritePlan } from '../../src/core/plan.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf } from '../../src/core/relation.ts'
import { equalsOf } from './equal.ts'
import { emptyStage, type Message, type StageFill, stageOf } from './stage.ts'
import { isStranger } from './strangers.ts'

/**
 * Which rows of a table are ours: by the ledger and the keys that are about to be entered there, or by the form of the id (prefix, length,
 * UUID version 8 or 5 in the eleventh character), which no id that another program mints has; rows that stood there before are another run's.
 */
function ownedRows(rule: TruncatedTable, target: CatalogTable, { pipeline, alias }: { pipeline: string; alias: string }): string {
  const key = rule.targetKey.map((k) => `${alias}.${quoteIdent(k)}`)
  if (rule.prefix === null) {
    const entry = `m.pipeline = ${quoteLiteral(pipeline)} and m.entity = ${quoteLiteral(rule.ledger)} and m.kind in ('inserted', 'adopted')`
    const known = `exists (select 1 from rekey.id_map m where ${entry} and m.new = pg_catalog.concat_ws(E'\\t', ${key.map(copyText).join(', ')}))`
    if (rule.fresh.rows === 0) return known
    const same = rule.targetKey.map((k, i) => `${key[i]} ${equalsOf(target, k)} s.${quoteIdent(k)}`).join(' and ')
    return `(${known} or exists (select 1 from ${stageOf(target, 'd')} s where ${same}))`
  }
  const start = rule.prefix.length + 2
  return `pg_catalog.left(${key[0]}, ${start - 1}) = ${quoteLiteral(`${rule.prefix}_`)} and pg_catalog.length(${key[0]}) = ${start + 25} and pg_catalog.substr(${key[0]}, ${start + 10}, 1) in ('g', 'h', 'a', 'b') and not ${isStranger(pipeline, alias)}`
}

/** A value as the ledger has it: a field of COPY text. */
function copyText(value: string): string {
  const escaped = [['\\\\', '\\\\\\\\'], ['\\b', '\\\\b'], ['\\t', '\\\\t'], ['\\n', '\\\\n'], ['\\v', '\\\\v'], ['\\f', '\\\\f'], ['\\r', '\\\\r']]
  return escaped.reduce((text, [from, to]) => `replace(${text}, E'${from}', E'${to}')`, `pg_catalog.format('%s', ${value})`)
}

/**
 * The tables of one TRUNCATE: our rows of all of them go in one statement, so that they may refer to each other in any way. Rows of others
 * that refer to ours are no part of it: where Postgres would take them along (engine), or would not notice (set), they are an error (23503).
 */
export function truncateMessage(rules: readonly TruncatedTable[], checks: WritePlan['checks'], scope: Scope, out: Message): void {
  if (rules.length === 0) return
  const targetOf = (rule: TruncatedTable): CatalogTable => tableOf({ tables: scope.tables }, rule.target)!
  const owned = (rule: TruncatedTable, alias: string): string => ownedRows(rule, targetOf(rule), { pipeline: scope.pipeline, alias })
  for (const rule of rules) if (rule.fresh.rows > 0) fillFresh(rule, targetOf(rule), scope, out)
  for (const rule of rules) {
    const target = targetOf(rule)
    const pointing = scope.tables.flatMap((child) => child.foreignKeys.filter((fk) => nameOf(fk.target) === nameOf(target)).map((fk) => ({ child, fk })))
      .filter(({ fk }) => checks === 'set' || (fk.onDelete !== 'a' && fk.onDelete !== 'r'))
    if (pointing.length > 0) out.sql.push(`select count(*) from (select 1 from ${quoteName(target)} t where ${owned(rule, 't')} for update) x`)
    for (const { child, fk } of pointing) {
      const on = fk.columns.map((column, i) => `c.${quoteIdent(column)} ${equalsOf(child, column)} t.${quoteIdent(fk.targetColumns[i])}`).join(' and ')
      const goes = rules.find((other) => nameOf(other.target) === nameOf(child))
      const left = `select 1 from ${quoteName(child)} c join ${quoteName(target)} t on ${on} where ${owned(rule, 't')}${goes ? ` and not (${owned(goes, 'c')})` : ''}`
      out.sql.push(`select rekey.expect(0, (select count(*) from (${left}) x), ${quoteLiteral(fk.name)}, '23503')`)
    }
  }
  const gone = rules.map((rule, i) => `d${i} as (delete from ${quoteName(rule.target)} t where ${owned(rule, 't')})`)
  out.sql.push(`with ${gone.join(', ')} select 1`)
}

interface Scope {
  readonly pipeline: string
  readonly tables: readonly CatalogTable[]
  readonly fill: StageFill
}

function fillFresh({ targetKey, fresh }: TruncatedTable, target: CatalogTable, { fill }: Scope, out: Message): void {
  const stage = stageOf(target, 'd')
  const empty = emptyStage(fill, stage, fresh.rows)
  if (empty) out.sql.push(empty)
  out.sql.push(`copy ${stage} (${targetKey.map(quoteIdent).join(', ')}) from stdin`)
  out.copies.push([fresh.view()])
}
