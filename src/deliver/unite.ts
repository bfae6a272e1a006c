import type { Change, Transaction } from '../core/change.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Checkpoint } from '../core/plan.ts'
import { beginState, type DeliverOptions } from './delivery.ts'
import { carefully, retryParked } from './redo.ts'

/** Where a partition is, by what is committed. */
export interface LanePosition {
  readonly commitLsn: Lsn
  readonly endLsn: Lsn
}

export interface UniteOptions {
  /** As for one delivery; `destination` writes in the name of all partitions: see allLanesHolder. */
  readonly deliver: Omit<DeliverOptions, 'lane' | 'log'>
  /** Where all partitions are; while a transaction of `destination` is open they stay there. */
  readonly positions: () => Promise<readonly LanePosition[]>
  /** What each partition has behind its position, up to and including `to`, in order. */
  readonly read: (from: readonly LanePosition[], to: Lsn) => Promise<readonly (readonly Transaction[])[]>
}

/**
 * Brings all partitions to where the farthest one is, in one destination transaction, while all others stand still: what none of them can
 * do alone, for a value that another one took too early, or for rows that need each other. At a point that all have reached, the rows are
 * those of the source at that commit, so nothing is missing that the source had; what still fails is parked. Resolves with that point: from
 * there on one delivery can go on with all of them, in the order of the source.
 */
export async function unite({ deliver, positions, read }: UniteOptions): Promise<Checkpoint> {
  await deliver.destination.attempt([], 'engine', false)
  const from = await positions()
  const to = from.reduce((most, { commitLsn }) => (commitLsn > most ? commitLsn : most), 0n)
  const pieces = await read(from, to)
  const endLsn = from.reduce((most, one) => (one.endLsn > most ? one.endLsn : most), 0n)
  const all = { ...deliver, log: NO_LOG }
  const state = await beginState(all)
  await carefully([asOne(pieces, { commitLsn: to, endLsn }, deliver.checkpoint.epoch)], all, state)
  return state.committed
}

/** Rows that were parked and are to be tried again: in the name of all partitions, so that nobody goes on with what it knew of them. */
export async function retryTogether(deliver: UniteOptions['deliver']): Promise<void> {
  const all = { ...deliver, log: NO_LOG }
  await retryParked(all, await beginState(all))
}

const NO_LOG: DeliverOptions['log'] = { ack: () => {}, read: async function* () {} }

/** The pieces of all partitions as one transaction, in the order of the source's commits. Only their net effect counts: see coalesce.ts. */
export function asOne(pieces: readonly (readonly Transaction[])[], at: LanePosition, epoch: number): Transaction {
  const all = pieces.flat().sort((a, b) => (a.commitLsn < b.commitLsn ? -1 : a.commitLsn > b.commitLsn ? 1 : a.first - b.first))
  const changes: Change[] = all.flatMap((t) => t.changes)
  const last = all.at(-1)
  return {
    epoch, xid: 0, commitLsn: at.commitLsn, endLsn: last && last.endLsn > at.endLsn ? last.endLsn : at.endLsn,
    commitMicros: last?.commitMicros ?? 0, changes, first: 0, last: true, bytes: all.reduce((sum, t) => sum + t.bytes, 0), messages: [],
  }
}
