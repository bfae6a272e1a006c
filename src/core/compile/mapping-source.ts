/**
 * The mapping language as data: what the YAML files of an application say after their shape was checked (src/config/mapping-schema.ts),
 * before anything is compared with a database. Tables are named `users`, or `schema.users` outside the default schema; entities like
 * their table, or `projects.uuid` for a further key.
 */
export interface MappingSource {
  readonly application: string
  /** sha256 of the files, hex. */
  readonly digest: string
  readonly schemas: { readonly source: string; readonly destination: string }
  /** In the order in which they are applied. A table listed here without a rule below is moved. */
  readonly contexts: readonly { readonly name: string; readonly tables: readonly string[] }[]
  readonly defaults: {
    /** Strategy of entities that are not listed; without it, an unlisted one is a problem. */
    readonly id?: IdSpec | undefined
    readonly triggers?: 'fire' | 'off' | undefined
    readonly truncate?: 'refuse' | 'owned' | 'ignore' | undefined
  }
  readonly entities: Readonly<Record<string, IdSpec>>
  readonly tables: Readonly<Record<string, TableSpec>>
  /** Stores by the name that rekey.yaml gives the source's. */
  readonly objects?: Readonly<Record<string, StoreSpec>> | undefined
}

export interface StoreSpec {
  /** Store of the destination; default: the same name. */
  readonly to?: string | undefined
  readonly keys: string | readonly string[]
  readonly sweep?: readonly string[] | undefined
}

export interface ObjectSpec {
  readonly store: string
  /** A source column, or text with columns in braces. */
  readonly key: string
  readonly url?: string | undefined
  readonly where?: Readonly<Record<string, ConditionSpec>> | undefined
  readonly directory?: Readonly<Record<string, ConditionSpec>> | undefined
  readonly version?: readonly string[] | undefined
  readonly size?: string | undefined
  readonly when?: 'with' | 'before' | undefined
}

export type Scalar = string | number | boolean

/** `prefix` alone is prefixed and ordered; `prefix` with a kind: random, literal. */
export interface IdSpec {
  readonly id: 'prefixed' | 'random' | 'literal' | 'offset' | 'keep'
  readonly form?: 'ordered' | 'opaque' | undefined
  readonly prefix?: string | undefined
  readonly by?: number | string | undefined
}

export interface TableSpec {
  readonly verdict?: 'move' | 'merge' | 'skip' | 'assert' | undefined
  readonly reason?: string | undefined
  /** Destination table. */
  readonly to?: string | undefined
  /** Source columns that identify a row, where the catalog does not say it. */
  readonly key?: readonly string[] | undefined
  /** Source column with the key of the row that this one goes with, where changes are spread over partitions. */
  readonly root?: string | undefined
  readonly on?: readonly (string | readonly string[])[] | undefined
  readonly keep?: KeepSpec | undefined
  readonly pinned?: Readonly<Record<string, Scalar>> | readonly PinSpec[] | undefined
  /** By destination column. */
  readonly rename?: Readonly<Record<string, RenameSpec>> | undefined
  readonly where?: Readonly<Record<string, ConditionSpec>> | undefined
  readonly adopt?: AdoptSpec | undefined
  readonly triggers?: 'fire' | 'off' | undefined
  readonly truncate?: 'refuse' | 'owned' | 'ignore' | undefined
  readonly notAnId?: readonly string[] | undefined
  readonly objects?: readonly ObjectSpec[] | undefined
  /** Columns that the source table had under these names: what they are called now, or null where they are gone. */
  readonly former?: Readonly<Record<string, string | null>> | undefined
  /** Source columns that older changes do not have. */
  readonly added?: readonly string[] | undefined
  /** By source column; constants and expressions by destination column. */
  readonly columns?: Readonly<Record<string, ColumnSpec>> | undefined
}

/** One of both. */
export interface AdoptSpec {
  readonly by: string
  readonly column?: string | undefined
  readonly on?: readonly string[] | undefined
}

export interface RenameSpec {
  readonly unique?: readonly string[] | undefined
  readonly separator?: string | undefined
}

export interface PinSpec {
  readonly source: readonly Scalar[]
  readonly destination: readonly Scalar[]
}

/** A value, one of several, null, or not one of them (`not: null` is notNull). */
export type ConditionSpec = Scalar | null | readonly Scalar[] | { readonly not: Scalar | null | readonly Scalar[] }

export type KeepSpec = 'destination' | 'source' | 'fill-empty' | { readonly newest: string }

/** The text before a key in a URL, on both sides. */
export interface UrlSpec {
  readonly from: string
  readonly to: string
}

/** At most one of ref, array, template, object, json, by, constant, expression: what happens to the value. */
export interface MapSpec {
  readonly ref?: string | undefined
  readonly array?: string | undefined
  readonly template?: string | readonly string[] | undefined
  /** The key of an object in this store: rewritten by the store's templates. */
  readonly object?: string | undefined
  readonly url?: UrlSpec | undefined
  readonly strict?: boolean | undefined
  readonly json?: readonly JsonEditSpec[] | undefined
  readonly by?: string | undefined
  readonly cases?: Readonly<Record<string, NestedMap>> | undefined
  readonly otherwise?: NestedMap | undefined
  readonly constant?: string | null | undefined
  readonly expression?: string | undefined
  /** Only in rows where this column has this value or one of these; elsewhere the value is kept. */
  readonly when?: Readonly<Record<string, Scalar | readonly Scalar[]>> | undefined
}
export type NestedMap = 'copy' | MapSpec

export interface ColumnSpec extends MapSpec {
  readonly to?: string | undefined
  readonly drop?: string | undefined
  readonly keep?: KeepSpec | undefined
  /** What becomes of a row whose parent by this column was merged. */
  readonly whenMerged?: 'keep' | 'skip' | undefined
}

export interface JsonEditSpec {
  readonly path?: string | undefined
  readonly keys?: string | undefined
  readonly ref?: string | undefined
  readonly template?: string | readonly string[] | undefined
  readonly object?: string | undefined
  readonly url?: UrlSpec | undefined
  readonly strict?: boolean | undefined
  readonly json?: readonly JsonEditSpec[] | undefined
  /** A sibling of the place, and the texts that it must have. */
  readonly when?: Readonly<Record<string, Scalar | readonly Scalar[]>> | undefined
}
