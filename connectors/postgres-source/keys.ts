import { tableOf, type Catalog } from '../../src/core/catalog.ts'
import { RekeyError } from '../../src/core/errors.ts'
import type { Entity } from '../../src/core/mapping.ts'
import { quoteIdent, quoteName } from '../../src/core/quote.ts'

/** A question with parameters; rows as text. */
type Query = (sql: string, params?: readonly unknown[]) => Promise<(string | null)[][]>

/** Keys of an entity in their order, as text, from behind one on. The column has an index: it is a key. */
export async function keyPage(query: Query, { table: name, column }: Pick<Entity, 'table' | 'column'>,
  { catalog, after, limit }: { readonly catalog: Catalog; readonly after: string | null; readonly limit: number }): Promise<string[]> {
  const [schema, table] = [name.slice(0, name.indexOf('.')), name.slice(name.indexOf('.') + 1)]
  const type = tableOf(catalog, { schema, table })?.columns.find((c) => c.name === column)?.type
  if (type === undefined) throw new RekeyError('SCHEMA_CHANGED', `the source has no ${name}.${column}`)
  const key = quoteIdent(column)
  const behind = after === null ? `${key} is not null` : `${key} > $1::text::${type}`
  const sql = `select format('%s', ${key}) from ${quoteName({ schema, table })} where ${behind} order by ${key} limit ${limit}`
  return (await query(sql, after === null ? [] : [after])).map(([text]) => text!)
}
