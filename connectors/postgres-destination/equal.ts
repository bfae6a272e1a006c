import type { CatalogTable } from '../../src/core/catalog.ts'
import { quoteIdent } from '../../src/core/quote.ts'

/** The equality of a column's type: `=`, or by its full name where it comes with an extension, whose schema is not on our search path. */
export function equalsOf(table: CatalogTable, column: string): string {
  return table.columns.find((c) => c.name === column)?.equals ?? '='
}

/**
 * `t.column` is among the values of a stage's column. As an array, which makes the planner look them up in the index; not for arrays,
 * because an array of arrays is one array of elements.
 */
export function amongStaged(table: CatalogTable, column: string, stage: string, stageColumn = column): string {
  const values = `select ${quoteIdent(stageColumn)} from ${stage}`
  const isArray = table.columns.find((c) => c.name === column)?.typeCategory === 'A'
  return `t.${quoteIdent(column)} ${equalsOf(table, column)} any (${isArray ? values : `array(${values})`})`
}
