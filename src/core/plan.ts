import type { CatalogTable } from './catalog.ts'
import type { Lsn } from './lsn.ts'
import type { MergeKeyPart, TableRule } from './mapping.ts'
import type { RowObjects } from './objects/named.ts'
import type { Lines } from './out.ts'
import type { TableName } from './relation.ts'

/**
 * A decision about one source key that cannot be computed again: kept in the ledger, first writer wins.
 * Keys and ids are COPY text fields, joined by tabs where they are composite.
 * - inserted: ours, under this id. - merged: the destination's row `id`. - pinned: never written. - renamed: `id` is the new text of a
 *   column (entity is `table.column`). - adopted: made by a destination trigger. - dangling: referenced, but the row never existed.
 * - gone: it was inserted, and then deleted by us: the id stays its own, yet proves nothing of a row that is there now.
 * - truncated: all inserted ones of the entity are gone, up to here (only in a plan; it has no key).
 */
export interface Decision {
  readonly entity: string
  readonly key: string
  readonly id: string
  readonly kind: 'inserted' | 'merged' | 'pinned' | 'renamed' | 'adopted' | 'dangling' | 'gone' | 'truncated'
  readonly rule: string
  readonly evidence: string
  /** It takes the place of another one: the row of a dangling one came after all, a row went, or came again. */
  readonly replaces?: boolean
}

/** Which destination rows have these natural keys? `rows` are values (text) of `on`; the answer has the values of `key`, per row. */
export interface MatchQuestion {
  readonly table: TableName
  readonly on: readonly MergeKeyPart[]
  readonly types: readonly string[]
  readonly key: readonly string[]
  readonly rows: readonly (readonly (string | null)[])[]
}

/** How many changes of a table were read and what became of them: read = the sum of all others. */
export interface Totals {
  read: number
  inserted: number
  updated: number
  merged: number
  deleted: number
  skipped: Record<string, number>
  parked: number
}

/** What the destination says is durably applied. */
export interface Checkpoint {
  readonly epoch: number
  readonly commitLsn: Lsn
  readonly endLsn: Lsn
  /** new: nothing yet; snapshot: chunks are being copied; stream: copied. */
  readonly phase: 'new' | 'snapshot' | 'stream'
  /** Commit LSN from which on the stream has passed everything that the snapshot may have seen; 0 before it is known. */
  readonly convergeLsn: Lsn
  readonly totals: Readonly<Record<string, Totals>>
  readonly mappingDigest: string
  readonly sourceSystem: string
  readonly sourceTimeline: number
}

/** A row or change that waits for a decision, with what it needs to be tried again. */
export interface Parked {
  readonly table: string
  readonly key: string
  /** The key that it has not left yet; null when it changes none. */
  readonly leaves: string | null
  readonly op: string
  readonly sqlstate: string
  readonly reason: string
  /** The columns and values of the source row as JSON text: for the destination only, never for a log. */
  readonly change: string
  /** True when it waits behind another parked row. */
  readonly behind: boolean
  /** It failed while the stream was behind the copy: it is read again when the stream has come there. */
  readonly left: boolean
  readonly commitLsn: Lsn
  readonly ordinal: number
}

/** The writes of one table in one part, as COPY text in the order of `columns`. */
export interface TableWrite {
  readonly rule: TableRule
  readonly target: CatalogTable
  /** Destination columns, in the order of a line's fields. */
  readonly columns: readonly string[]
  /** Rows that are new: none with their key is there. */
  readonly inserts: Lines
  /** Whole rows that may be there already. */
  readonly upserts: Lines
  /** Rows of which only these columns are known (`columns` indexes, key columns among them), by that set. */
  readonly updates: ReadonlyMap<string, { readonly columns: readonly number[]; readonly lines: Lines }>
  /** Rows of the destination that the mapping's policy may change, by the set of columns that are known. */
  readonly merges: ReadonlyMap<string, { readonly columns: readonly number[]; readonly lines: Lines }>
  /** Destination keys. */
  readonly deletes: Lines
  /** Whole rows of a table without a key, of each of which one goes (as often as it stands here). */
  readonly removals: Lines
  /** Key changes: the old destination key, then the known columns, by that set. */
  readonly moves: ReadonlyMap<string, { readonly columns: readonly number[]; readonly lines: Lines }>
  /** Distinct parent keys of the written rows, by foreign key name. */
  readonly parents: ReadonlyMap<string, Lines>
}

/** A table whose rows of ours go, all at once. */
export interface TruncatedTable {
  readonly target: TableName
  readonly targetKey: readonly string[]
  /** Prefix of the ids that prove the rows are ours; null when the ledger (under this name) says which are. */
  readonly prefix: string | null
  readonly ledger: string
  /** Destination keys of rows that are ours and perhaps not in the ledger yet, as lines. */
  readonly fresh: Lines
}

/** Writes that can be done together, set by set. Parts are done one after the other. */
export interface Part {
  /** Parents before children. */
  readonly writes: readonly TableWrite[]
  readonly truncate: readonly TruncatedTable[]
  /**
   * Our rows may be there or not. Those that stood there before the run began are not ours: they are neither changed (23505) nor deleted.
   */
  readonly guarded?: boolean
}

/** What one destination transaction does. */
export interface WritePlan {
  readonly parts: readonly Part[]
  readonly decisions: readonly Decision[]
  /** Entries of the ledger that the plan was made with and that were read from a copy of it: the ledger must have them so. */
  readonly relied?: readonly Decision[]
  readonly parked: readonly Parked[]
  /** Ids of parked rows that this plan applies or drops. */
  readonly unparked: readonly string[]
  /** What rows name from here on, in order: the last one of a row counts. */
  readonly objects: readonly RowObjects[]
  readonly before: Lsn
  readonly after: { readonly epoch: number; readonly commitLsn: Lsn; readonly endLsn: Lsn; readonly convergeLsn: Lsn; readonly phase: Checkpoint['phase'] }
  readonly totals: Readonly<Record<string, Totals>>
  /** A chunk of the initial copy that this plan completes. */
  readonly chunk: {
    readonly table: string
    readonly pass: 1 | 2
    readonly index: number
    readonly rows: number
    /** The rows are as of this LSN: changes committed before it are in them. Null where the stream converges over them anyway. */
    readonly since: Lsn | null
  } | null
  /** False for a part of a source transaction that goes on: nothing is committed yet. */
  readonly last: boolean
  /** True behind a part that was not the last: it is refused where that part was rolled back since, so that no transaction is applied in half. */
  readonly continues?: boolean
  /** set: per-row triggers off and foreign keys proven set by set; engine: Postgres's own triggers. */
  readonly checks: 'engine' | 'set'
  readonly rows: number
}
