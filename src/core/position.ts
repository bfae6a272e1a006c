import { formatLsn, type Lsn } from './lsn.ts'

/**
 * Identity and order of a change: the slot's epoch, the commit LSN of its transaction, its ordinal in that transaction.
 * A bare LSN is not an identity: rows of one COPY share one, and a recreated slot starts a new epoch.
 */
export interface Position {
  readonly epoch: number
  readonly commitLsn: Lsn
  /** Number of changes of this transaction at or before this position; a transaction's end is Infinity-free: its change count. */
  readonly ordinal: number
}

export const START: Position = { epoch: 0, commitLsn: 0n, ordinal: 0 }

/** Negative, zero or positive. Positions of different epochs are ordered by epoch alone. */
export function comparePositions(a: Position, b: Position): number {
  if (a.epoch !== b.epoch) return a.epoch - b.epoch
  if (a.commitLsn !== b.commitLsn) return a.commitLsn < b.commitLsn ? -1 : 1
  return a.ordinal - b.ordinal
}

/** `3:16/B374D848:12`, for people and logs. */
export function formatPosition(p: Position): string {
  return `${p.epoch}:${formatLsn(p.commitLsn)}:${p.ordinal}`
}
