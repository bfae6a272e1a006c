/** A table name with its schema, unquoted, exactly as in the catalog. */
export interface TableName {
  readonly schema: string
  readonly table: string
}

/** The one spelling used as a map key and in messages: `schema.table` (not SQL; see quote.ts for that). */
export function nameOf(t: TableName): string {
  return `${t.schema}.${t.table}`
}

export interface Column {
  readonly name: string
  readonly typeOid: number
  /** Length or precision, as in pg_attribute; absent where it is not known. */
  readonly typmod?: number
  /** Part of the replica identity. */
  readonly key: boolean
}

/** DEFAULT, NOTHING, FULL, index: `pg_class.relreplident`. */
export type ReplicaIdentity = 'd' | 'n' | 'f' | 'i'

/**
 * A source table as pgoutput described it when a change was made. Immutable: a later Relation message makes a new object
 * and earlier changes keep theirs.
 */
export interface Relation extends TableName {
  readonly oid: number
  readonly columns: readonly Column[]
  readonly identity: ReplicaIdentity
}

/** Columns that both have, and whose types are known and differ. */
export function retypedColumns(a: Relation, b: Relation): string[] {
  const types = new Map(b.columns.map((column) => [column.name, column]))
  const others = a.columns.filter(({ name, typeOid, typmod }) => {
    const known = types.get(name)
    if (!known || typeOid === 0 || known.typeOid === 0) return false
    return known.typeOid !== typeOid || (typmod !== undefined && known.typmod !== undefined && known.typmod !== typmod)
  })
  return others.map(({ name }) => name)
}

export function sameShape(a: Relation, b: Relation): boolean {
  return (
    a.oid === b.oid && a.schema === b.schema && a.table === b.table && a.identity === b.identity &&
    a.columns.length === b.columns.length &&
    a.columns.every((c, i) => c.name === b.columns[i].name && c.typeOid === b.columns[i].typeOid && c.typmod === b.columns[i].typmod && c.key === b.columns[i].key)
  )
}
