import type { CatalogTable } from '../../src/core/catalog.ts'
import type { TableWrite } from '../../src/core/plan.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf } from '../../src/core/relation.ts'
import { equalsOf, joined } from './equal.ts'
import type { Message } from './stage.ts'

/**
 * Rows that lie in a stage were written to their table, these columns of them: the parents that they point at now exist and are locked
 * FOR KEY SHARE. For rows whose values are known to the server only (what a merge keeps) or that came under another key.
 */
export function proveWritten(
  { target, rule }: TableWrite, names: readonly string[], { stage, tables }: { stage: string; tables: readonly CatalogTable[] }, { sql }: Message,
): void {
  for (const fk of target.foreignKeys.filter(({ columns }) => columns.some((column) => names.includes(column)))) {
    const parent = tables.find((table) => nameOf(table) === nameOf(fk.target))
    if (!parent) continue
    const values = fk.columns.map((column, i) => `t.${quoteIdent(column)} as c${i}`).join(', ')
    const certain = fk.columns.map((column) => `t.${quoteIdent(column)} is not null`).join(' and ')
    const on = fk.targetColumns.map((column, i) => `p.${quoteIdent(column)} ${equalsOf(parent, column)} w.c${i}`).join(' and ')
    sql.push(`with w as (select distinct ${values} from ${quoteName(target)} t, ${stage} s where ${joined(target, rule.targetKey, stage)} and ${certain}),
l as (select 1 from ${quoteName(parent)} p join w on ${on} for key share of p)
select rekey.expect((select count(*) from w), (select count(*) from l), ${quoteLiteral(fk.name)}, '23503')`)
  }
}
