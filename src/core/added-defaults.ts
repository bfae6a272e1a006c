import { tableOf, type Catalog } from './catalog.ts'
import type { Mapping } from './mapping.ts'
import type { Meaning } from './meaning.ts'
import type { TableName } from './relation.ts'

/**
 * Columns that came since the run began and whose rows of before may have one value at the source and another one at the destination: ALTER
 * TABLE fills them on each side by itself, and what it fills is not in the stream. As `table.column`, by source names.
 */
export function unlikeDefaults(then: Meaning, mapping: Mapping, { source, destination }: { source: Catalog; destination: Catalog }): string[] {
  return [...mapping.tables].flatMap(([name, rule]) => [...rule.added.keys()].flatMap((column) => {
    const was = then.tables[name]
    const to = rule.columns.find((one) => one.source === column)
    if (!was || was.added[column] !== undefined || !to) return []
    const value = filled(source, rule.source, column)
    return value !== null && value === filled(destination, rule.target, to.target) ? [] : [`${name}.${column}`]
  }))
}

const NO_VALUE = '\\N'

/** What a new column has in rows that are there, as far as a literal says it; null where it may differ from row to row, or with the time. */
function filled(catalog: Catalog, table: TableName, column: string): string | null {
  const found = tableOf(catalog, table)?.columns.find((one) => one.name === column)
  if (!found || found.identity !== '') return null
  if (found.default === null) return NO_VALUE
  // As Postgres prints it: 'text'::type, numbers bare or quoted.
  const text = found.default.replace(/(::[a-z0-9_." ()[\],]+)+$/i, '')
  const quoted = /^\(?'((?:[^']|'')*)'\)?$/.exec(text)
  if (quoted) return quoted[1]
  const bare = /^\(?(-?[0-9.]+|true|false|null)\)?$/i.exec(text)?.[1].toLowerCase() ?? null
  return bare === 'null' ? NO_VALUE : bare
}
