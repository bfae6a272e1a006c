import type { Lsn } from './lsn.ts'

/** What a question to the source tells of it and of the slot, at one moment. */
export interface SourceSample {
  /** Seconds since 1970 by the source's clock. */
  readonly clock: number
  readonly walEnd: Lsn
  /** Null when there is no such slot. */
  readonly slot: {
    readonly active: boolean
    /** reserved, extended, unreserved or lost; null when nothing is reserved. */
    readonly walStatus: string | null
    readonly confirmedLsn: Lsn | null
    readonly retainedBytes: number | null
    /** WAL that can still be written before the slot may be lost; null is no limit. May be negative. */
    readonly safeWalBytes: number | null
  } | null
  /** Bytes of transactions that the source wrote to disk while it decoded for this slot; null when it keeps no count. */
  readonly spilledBytes: number | null
  /** Age of the oldest transaction that has written something, prepared ones included; 0 when there is none. */
  readonly oldestTransactionSeconds: number
}

/** What a question to the destination tells of the pipeline. */
export interface DestinationSample {
  /** Rows that wait for a decision, those that are to be tried again included. */
  readonly parkedRows: number
  /** Since the checkpoint was written; null when there is none. */
  readonly checkpointAgeSeconds: number | null
}
