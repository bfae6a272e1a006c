import { type CatalogTable, tableOf } from '../../src/core/catalog.ts'
import type { TruncatedTable, WritePlan } from '../../src/core/plan.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf } from '../../src/core/relation.ts'
import { equalsOf } from './equal.ts'
import type { Message } from './stage.ts'

/**
 * Which rows of a table are ours: by the ledger, or by the form of the id (prefix, length, UUID version 8 or 5 in the eleventh character),
 * which no id that another program mints has.
 */
function ownedRows(rule: TruncatedTable, pipeline: string, alias: string): string {
  const key = rule.targetKey.map((k) => `${alias}.${quoteIdent(k)}`)
  if (rule.prefix === null) {
    const entry = `m.pipeline = ${quoteLiteral(pipeline)} and m.entity = ${quoteLiteral(rule.ledger)} and m.kind = 'inserted'`
    return `exists (select 1 from rekey.id_map m where ${entry} and m.new = concat_ws(E'\\t', ${key.join(', ')}))`
  }
  const start = rule.prefix.length + 2
  return `left(${key[0]}, ${start - 1}) = ${quoteLiteral(`${rule.prefix}_`)} and length(${key[0]}) = ${start + 25} and substr(${key[0]}, ${start + 10}, 1) in ('g', 'h', 'a', 'b')`
}

/**
 * The tables of one TRUNCATE: our rows of all of them go in one statement, so that they may refer to each other in any way. Rows of others
 * that refer to ours are no part of it: where Postgres would take them along (engine), or would not notice (set), they are an error (23503).
 */
export function truncateMessage(
  rules: readonly TruncatedTable[], checks: WritePlan['checks'], scope: { readonly pipeline: string; readonly tables: readonly CatalogTable[] }, out: Message,
): void {
  if (rules.length === 0) return
  const owned = (rule: TruncatedTable, alias: string): string => ownedRows(rule, scope.pipeline, alias)
  for (const rule of rules) {
    const target = tableOf({ tables: scope.tables }, rule.target)!
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
