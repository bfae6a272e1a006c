import type { ReplicaIdentity, TableName } from './relation.ts'

/** What a database says of itself: read by src/catalog.ts from pg_catalog, compared and judged by pure functions. */
export interface Catalog {
  /** server_version_num / 10000. */
  readonly major: number
  readonly versionNum: number
  readonly database: string
  readonly systemId: string
  readonly timeline: number
  readonly encoding: string
  readonly collation: string
  readonly tables: readonly CatalogTable[]
  readonly sequences: readonly (TableName & { readonly last: string | null; readonly ownedBy: string | null })[]
  readonly enums: ReadonlyMap<string, readonly string[]>
  readonly extensions: ReadonlyMap<string, string>
}

export interface CatalogTable extends TableName {
  readonly oid: number
  /** r table, p partitioned, v view, m materialized view, f foreign. */
  readonly kind: 'r' | 'p' | 'v' | 'm' | 'f'
  readonly persistence: 'p' | 'u' | 't'
  readonly columns: readonly CatalogColumn[]
  readonly primaryKey: UniqueKey | null
  /** All usable unique keys, the primary key included. Partial and expression indexes are listed with usable = false. */
  readonly uniques: readonly UniqueKey[]
  readonly foreignKeys: readonly ForeignKey[]
  readonly checks: readonly { readonly name: string; readonly definition: string }[]
  readonly triggers: readonly CatalogTrigger[]
  readonly identity: ReplicaIdentity
  /** Columns of the replica identity, in order; empty for FULL without a key and for NOTHING. */
  readonly identityColumns: readonly string[]
  readonly rowSecurity: boolean
  /** Differs when what writes to it do was changed: see SHAPE. */
  readonly shape: string
  readonly parent: TableName | null
  /** reltuples and pg_total_relation_size. */
  readonly rowsEstimate: number
  readonly bytes: number
}

export interface CatalogColumn {
  readonly name: string
  readonly type: string
  readonly typeOid: number
  readonly typmod?: number
  readonly typeCategory: string
  readonly nullable: boolean
  readonly default: string | null
  readonly generated: boolean
  /** '' none, 'a' always, 'd' by default. */
  readonly identity: '' | 'a' | 'd'
  readonly collation: string | null
  /** The type's equality operator by its full name, `operator(public.=)`, where it is not one of pg_catalog. */
  readonly equals?: string
}

export interface UniqueKey {
  readonly name: string
  readonly columns: readonly string[]
  readonly deferrable: boolean
  readonly usable: boolean
  /** Definition of the index as pg_get_indexdef prints it. */
  readonly definition: string
}

export interface ForeignKey {
  readonly name: string
  readonly columns: readonly string[]
  readonly target: TableName
  readonly targetColumns: readonly string[]
  readonly onDelete: 'a' | 'r' | 'c' | 'n' | 'd'
  readonly onUpdate: 'a' | 'r' | 'c' | 'n' | 'd'
  readonly deferrable: boolean
  readonly validated: boolean
}

export interface CatalogTrigger {
  readonly name: string
  readonly function: string
  readonly before: boolean
  readonly row: boolean
  readonly insert: boolean
  readonly update: boolean
  readonly delete: boolean
  /** O origin, D disabled, R replica, A always. */
  readonly enabled: 'O' | 'D' | 'R' | 'A'
  readonly definition: string
}

export function tableOf(catalog: Pick<Catalog, 'tables'>, name: TableName): CatalogTable | undefined {
  return catalog.tables.find((t) => t.schema === name.schema && t.table === name.table)
}

/** A catalog as text, for the time when its database cannot be asked any more. */
export function catalogText(catalog: Catalog): string {
  return JSON.stringify({ ...catalog, enums: [...catalog.enums], extensions: [...catalog.extensions] })
}

export function catalogOf(text: string): Catalog {
  const read = JSON.parse(text) as Omit<Catalog, 'enums' | 'extensions'> & { enums: [string, string[]][]; extensions: [string, string][] }
  return { ...read, enums: new Map(read.enums), extensions: new Map(read.extensions) }
}
