import type { Lsn } from './lsn.ts'
import type { Relation } from './relation.ts'
import type { Row } from './row.ts'

export type Op = 'insert' | 'update' | 'delete' | 'truncate'

/**
 * One change of one row.
 * - insert: `row` is the new row.
 * - update: `row` is the new row, in which unchanged TOAST values are missing; `old` is present when the key changed (key columns
 *   only, the others null) or under REPLICA IDENTITY FULL (`oldIsFull`).
 * - delete: `old` has the key columns, or the whole row under FULL.
 * - truncate: neither.
 */
export interface Change {
  readonly op: Op
  readonly relation: Relation
  readonly row: Row | null
  readonly old: Row | null
  readonly oldIsFull: boolean
}

/**
 * The changes of one source commit, in order. A very large one comes as consecutive fragments: `first` is the ordinal of the
 * fragment's first change, `last` is true on the final one only. `endLsn` is known on the final fragment (else 0n).
 * A transaction without changes still moves the position (heartbeats, changes of other tables).
 */
export interface Transaction {
  readonly epoch: number
  readonly xid: number
  readonly commitLsn: Lsn
  readonly endLsn: Lsn
  /** Commit time at the source, microseconds since the Unix epoch. */
  readonly commitMicros: number
  readonly changes: readonly Change[]
  readonly first: number
  readonly last: boolean
  /** Bytes of the rows it carries: what every bounded queue counts. */
  readonly bytes: number
  /** Logical messages of ours in this transaction (markers, heartbeats), as sent. */
  readonly messages: readonly string[]
}
