import type { CatalogTable } from '../../src/core/catalog.ts'
import { quoteIdent } from '../../src/core/quote.ts'

/**
 * The equality of a column's type by its full name: that of an extension is not on our search path, and for types such as varchar, whose equality is
 * text's, somebody's own one in a schema of `destination.searchPath` would fit better.
 */
export function equalsOf(table: CatalogTable, column: string): string {
  return table.columns.find((c) => c.name === column)?.equals ?? 'operator(pg_catalog.=)'
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

/**
 * `t.key = s.key`; for a single column also `= any (…)`, which makes the planner look the keys up in the index whatever it believes of
 * the size of a stage that was never analyzed.
 */
export function joined(table: CatalogTable, keys: readonly string[], stage: string, stageKeys: readonly string[] = keys): string {
  const pairs = keys.map((k, i) => `t.${quoteIdent(k)} ${equalsOf(table, k)} s.${quoteIdent(stageKeys[i])}`)
  if (keys.length === 1) pairs.push(amongStaged(table, keys[0], stage, stageKeys[0]))
  return pairs.join(' and ')
}
