import type { Lsn } from './lsn.ts'
import type { TableName } from './relation.ts'

/**
 * A mapping that has been checked against both catalogs: what the engine runs on. It is data only; the YAML language that people write
 * is turned into it by src/config/. Names of source tables are `schema.table` (nameOf).
 */
export interface Mapping {
  readonly application: string
  /** sha256 of the mapping files, hex: pinned by a run, so that an edit under a running pipeline is noticed. */
  readonly digest: string
  readonly contexts: readonly { readonly name: string; readonly tables: readonly string[] }[]
  readonly entities: ReadonlyMap<string, Entity>
  /** By source table name. Every captured table has a rule. */
  readonly tables: ReadonlyMap<string, TableRule>
  /** Stores whose objects are carried, by the name that rekey.yaml gives the source's. */
  readonly stores: ReadonlyMap<string, StoreRule>
}

/** A store of the source, the one of the destination that its objects go to, and how their keys change. */
export interface StoreRule {
  readonly name: string
  readonly to: string
  /** Tried in order; the first that matches the whole key is used. A key that matches none is not carried and is told. */
  readonly keys: readonly Template[]
  /** Prefixes whose objects are carried though no row names them. */
  readonly sweep: readonly string[]
}

/** An object, or all objects under a prefix, that each row of a table names. */
export interface ObjectRule {
  readonly store: string
  /** The source key as text of source columns. */
  readonly key: readonly ExpressionPart[]
  /** The key follows this text, percent-encoded; other texts name no object. Null: the text is the key. */
  readonly url: string | null
  /** A row names the object only if all hold. */
  readonly where: readonly Condition[]
  /** The key is a prefix, and all objects below it go with the row, if all hold; null: never. */
  readonly directory: readonly Condition[] | null
  /** When one of these source columns changes, the object has changed and is copied again. */
  readonly version: readonly string[]
  /** The source column that holds the object's size in bytes. */
  readonly size: string | null
  /** with: row and object go their own ways. before: the row waits until its object is there and verified. */
  readonly when: 'with' | 'before'
}

/** A kind of thing that has a key: the target of references. Named after its table (`users`), or `table.column` for a second key. */
export interface Entity {
  readonly name: string
  /** Source table name (`schema.table`) and the column that holds the key. */
  readonly table: string
  readonly column: string
  readonly strategy: IdStrategy
  /** True when an id cannot be computed from the key alone (merged tables, random ids, pinned rows): the ledger is asked. */
  readonly decided: boolean
}

/**
 * How a source key becomes a destination id.
 * - prefixed, ordered: `<prefix>_` and 26 characters over a UUIDv8 that holds the integer and a keyed tag (ids.ts). Integer keys only.
 * - prefixed, opaque: the same over a UUIDv5 of (deployment, entity, key). Any key.
 * - random: the same over a UUIDv7, minted once and kept in the ledger.
 * - literal: prefix and the key as it is (`usr_17`); offset: integer + by; keep: as it is.
 */
export type IdStrategy =
  | { readonly kind: 'prefixed'; readonly form: 'ordered' | 'opaque'; readonly prefix: string }
  | { readonly kind: 'random'; readonly prefix: string }
  | { readonly kind: 'literal'; readonly prefix: string }
  | { readonly kind: 'offset'; readonly by: bigint }
  | { readonly kind: 'keep' }

/**
 * - move: rows are ours; a row that is already there under the same key is a conflict.
 * - merge: rows are matched by natural keys and, if found, become the destination's row.
 * - skip: not carried, with a reason. - assert: compared, never written.
 */
export type TableVerdict = 'move' | 'merge' | 'skip' | 'assert'

export interface TableRule {
  readonly source: TableName
  readonly target: TableName
  readonly context: string
  readonly verdict: TableVerdict
  readonly reason: string | null
  /** Source columns that identify a row (its replica identity), in order. */
  readonly key: readonly string[]
  /** Destination columns of the primary or unique key that those become, in the same order. */
  readonly targetKey: readonly string[]
  /** False when nothing at the destination makes that key unique: rows are then a multiset, matched whole, and need REPLICA IDENTITY FULL. */
  readonly keyed: boolean
  /** The entity whose key this table's rows carry, when the key is one column. */
  readonly entity: string | null
  /**
   * True when the destination key does not itself prove that a row is ours (merged tables, kept or composite keys, offsets):
   * every row then has an entry in the ledger, under the entity's name or, for composite keys, the source table's name.
   */
  readonly ledger: boolean
  /** Every destination column that we write, in the order in which we write them. */
  readonly columns: readonly ColumnRule[]
  /** Source columns not carried, with the reason. */
  readonly dropped: readonly { readonly column: string; readonly reason: string }[]
  /** Source columns of earlier days, which older changes may still bring: what they are called now, or null where they are gone. */
  readonly former: ReadonlyMap<string, string | null>
  /** Source columns that changes up to this commit LSN may lack, for the table got them later; null: however far. See meaning.ts. */
  readonly added: ReadonlyMap<string, Lsn | null>
  /** A row is carried only if all conditions hold. */
  readonly where: readonly Condition[]
  readonly merge: MergeRule | null
  readonly rename: readonly RenameRule[]
  /** Rows that are never written: source key (COPY text fields joined by tab) to destination key. */
  readonly pinned: ReadonlyMap<string, string>
  /** What happens to a row whose parent (by this column) was merged into a row of the destination. Default: keep. */
  readonly mergedParents: readonly { readonly column: string; readonly entity: string; readonly action: 'keep' | 'skip' }[]
  /** Destination triggers: fire (default), or off for our session. */
  readonly triggers: 'fire' | 'off'
  /** Rows of this table may be made by a destination trigger; such a row becomes ours instead of being inserted. */
  readonly adopt: AdoptRule | null
  /** Other tables adopt what triggers make when a row of this one comes; `filled` are the destination columns that point at those rows. */
  readonly makes?: { readonly filled: readonly string[] }
  readonly truncate: 'refuse' | 'owned' | 'ignore'
  readonly objects: readonly ObjectRule[]
  /** Foreign keys of either side that lead to the key of a carried row: source columns, in the order of that key, and its source table. */
  readonly parents: readonly { readonly columns: readonly string[]; readonly table: string }[]
}

export interface ColumnRule {
  /** Destination column and its type as format_type() spells it. */
  readonly target: string
  readonly type: string
  /** Source column; null for a constant or an expression. */
  readonly source: string | null
  readonly map: ValueMap
}

/** What happens to a value on its way. Null and unchanged values pass through every map but constant and expression. */
export type ValueMap =
  | { readonly kind: 'copy' }
  /** The whole value is a key of the entity: a foreign key, a soft reference, text that is an id. */
  | { readonly kind: 'ref'; readonly entity: string }
  /** A Postgres array (`{1,2}`) whose elements are keys. */
  | { readonly kind: 'array'; readonly entity: string }
  /** Text with ids in it. The first template that matches is used; text that matches none is kept (or parks the row: `strict`). */
  | { readonly kind: 'template'; readonly templates: readonly Template[]; readonly strict: boolean }
  /** json or jsonb: only the declared places change, everything else stays byte for byte. */
  | { readonly kind: 'json'; readonly edits: readonly JsonEdit[] }
  /** By the text of another column of the same source row: polymorphic references, "only where preference_name = …". */
  | { readonly kind: 'case'; readonly column: string; readonly cases: readonly { readonly equals: readonly string[]; readonly map: ValueMap }[]; readonly otherwise: ValueMap }
  | { readonly kind: 'constant'; readonly value: string | null }
  | { readonly kind: 'expression'; readonly parts: readonly ExpressionPart[] }

/** `comp_{users}_{projects}_{rest}`: literals, keys of entities, and free text (which matches anything, as little as possible). */
export type Template = readonly TemplatePart[]
export type TemplatePart =
  /** `becomes`: what stands there at the destination, where that is another text (the address of a store). */
  | { readonly kind: 'literal'; readonly text: string; readonly becomes?: string }
  | { readonly kind: 'key'; readonly entity: string }
  | { readonly kind: 'rest'; readonly name: string; readonly greedy: boolean }

/** Text and source columns, with a closed set of functions: no code is ever run. */
export type ExpressionPart =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'column'; readonly column: string; readonly functions: readonly ('lower' | 'upper' | 'trim')[] }

/**
 * One place in a JSON value. Path steps: a member name, an array index, every member (`.*`), every item (`[*]`), any depth (`..`).
 * `at: 'keys'` rewrites the member names of the object that the path leads to. Where the path leads to several places, all change.
 */
export interface JsonEdit {
  readonly path: readonly JsonStep[]
  readonly at: 'value' | 'keys'
  /** ref, template or json (JSON text inside a JSON string). */
  readonly map: Extract<ValueMap, { kind: 'ref' | 'template' | 'json' }>
  /** The edit holds only where this sibling path of the innermost object has one of these texts. */
  readonly when: { readonly member: string; readonly equals: readonly string[] } | null
}
export type JsonStep =
  | { readonly kind: 'member'; readonly name: string }
  | { readonly kind: 'index'; readonly index: number }
  | { readonly kind: 'members' }
  | { readonly kind: 'items' }
  | { readonly kind: 'deep' }

export interface Condition {
  readonly column: string
  readonly test: 'equals' | 'not' | 'in' | 'null' | 'notNull'
  readonly values: readonly string[]
}

/**
 * `by` is the source table on whose inserts the trigger runs (the maker). The made row is the one that the maker's destination column
 * `column` points at (`from` is the source column that fills it), or the one with the row's own values in the destination columns `on`
 * (`from` is the source column that refers to the maker).
 */
export type AdoptRule =
  | { readonly by: string; readonly column: string; readonly from: string }
  | { readonly by: string; readonly on: readonly string[]; readonly from: string }

export interface MergeRule {
  /** Natural keys, tried in order: each is a list of destination columns with a normalisation. The first that matches decides. */
  readonly on: readonly (readonly MergeKeyPart[])[]
  /** What a column of a merged row keeps; columns not named: destination. */
  readonly keep: ReadonlyMap<string, 'destination' | 'source' | 'fill-empty' | { readonly newest: string }>
}
export interface MergeKeyPart {
  readonly column: string
  readonly normalise: 'exact' | 'lower' | 'trim-lower'
}

/** A unique key that two different things may share: ours gets a suffix (`name` becomes `name-2`). */
export interface RenameRule {
  readonly column: string
  /** The unique key's columns (with `column` among them). */
  readonly unique: readonly string[]
  readonly separator: string
}

/** Rows without a key, and none that a trigger makes: a multiset of whole rows, of which nobody can tell equal ones apart. */
export function isCounted({ keyed, adopt }: Pick<TableRule, 'keyed' | 'adopt'>): boolean {
  return !keyed && adopt === null
}
