import type { Catalog } from './catalog.ts'
import { tableOf } from './catalog.ts'
import type { Mapping } from './mapping.ts'
import type { Relation } from './relation.ts'

/** The carried tables as pgoutput would describe them now: for rows that are read and not streamed. Generated columns are never sent. */
export function relationsOf(source: Catalog, mapping: Mapping): Map<string, Relation> {
  const relations = new Map<string, Relation>()
  for (const [name, rule] of mapping.tables) {
    const table = tableOf(source, rule.source)
    if (!table || (rule.verdict !== 'move' && rule.verdict !== 'merge')) continue
    const columns = table.columns.filter((c) => !c.generated).map((c) => ({ name: c.name, typeOid: c.typeOid, ...(c.typmod === undefined ? {} : { typmod: c.typmod }),
      key: table.identityColumns.includes(c.name) }))
    relations.set(name, { schema: table.schema, table: table.table, oid: table.oid, columns, identity: table.identity })
  }
  return relations
}
