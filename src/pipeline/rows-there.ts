import type { SqlSession } from '../../connectors/postgres/session.ts'
import { matchRows } from '../../connectors/postgres-destination/lookup.ts'
import { tableOf, type Catalog } from '../core/catalog.ts'
import type { Entity, Mapping } from '../core/mapping.ts'

interface At {
  /** A session there. */
  readonly query: SqlSession['query']
  readonly mapping: Mapping
  /** The destination's. */
  readonly catalog: Catalog
}

/** For each of these ids, as text, whether its row is at the destination. Rows that are not carried but the same on both sides are. */
export async function rowsThere({ query, mapping, catalog }: At, entity: Entity, ids: readonly string[]): Promise<boolean[]> {
  const { target, columns } = mapping.tables.get(entity.table)!
  const column = columns.find(({ source, map }) => source === entity.column && map.kind === 'ref' && map.entity === entity.name)?.target
  const table = tableOf(catalog, target)
  const type = table?.columns.find((c) => c.name === column)?.type
  if (column === undefined || type === undefined) return ids.map(() => true)
  const on = [{ column, normalise: 'exact' as const }]
  const found = await matchRows(query, { table: target, on, types: [type], key: [column], rows: ids.map((id) => [id]) }, table)
  return found.map((rows) => rows.length > 0)
}
