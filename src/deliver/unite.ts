import type { Change, Transaction } from '../core/change.ts'
import type { Lsn } from '../core/lsn.ts'
import { beginState, type DeliverOptions } from './delivery.ts'
import { carefully, retryParked } from './redo.ts'

/** Where a partition is, by what is committed. */
export interface LanePosition {
  readonly commitLsn: Lsn
  readonly endLsn: Lsn
  readonly offset: bigint
}

export interface UniteOptions {
  /** As for one delivery; `destination` writes in the name of all partitions: see allLanesHolder. */
  readonly deliver: Omit<DeliverOptions, 'lane' | 'checkpoint' | 'log'>
  /** Where all partitions are; while a transaction of `destination` is open they stay there. */
  readonly positions: () => Promise<readonly LanePosition[]>
  /** What each partition has behind its position, up to and including `to`, in order. */
  readonly read: (from: readonly LanePosition[], to: Lsn) => Promise<readonly (readonly Transaction[])[]>
}

/**
 * Brings all partitions to one point together, in one destination transaction, while all others stand still: what none of them can do
 * alone, for a value that another one took too early, or for rows that need each other. At a point that all have reached, the rows are
 * those of the source at that commit, so nothing is missing that the source had; what still fails is parked. `next` is the commit that
 * could not be applied; the partitions come at least that far.
 */
export async function unite(options: UniteOptions, next: Lsn): Promise<void> {
  const { deliver, positions, read } = options
  const checkpoint = await deliver.destination.open()
  await deliver.destination.attempt([], 'engine', false)
  const from = await positions()
  const to = from.reduce((most, { commitLsn }) => (commitLsn > most ? commitLsn : most), next)
  const pieces = await read(from, to)
  const all = { ...deliver, checkpoint, log: NO_LOG }
  await carefully([asOne(pieces, to, checkpoint.epoch)], all, await beginState(all))
}

/** Rows that were parked and are to be tried again: in the name of all partitions, so that nobody goes on with what it knew of them. */
export async function retryTogether({ deliver }: Pick<UniteOptions, 'deliver'>): Promise<void> {
  const checkpoint = await deliver.destination.open()
  const all = { ...deliver, checkpoint, log: NO_LOG }
  await retryParked(all, await beginState(all))
}

const NO_LOG: DeliverOptions['log'] = { ack: () => {}, read: async function* () {} }

/** The pieces of all partitions as one transaction, in the order of the source's commits. Only their net effect counts: see coalesce.ts. */
export function asOne(pieces: readonly (readonly Transaction[])[], to: Lsn, epoch: number): Transaction {
  const all = pieces.flat().sort((a, b) => (a.commitLsn < b.commitLsn ? -1 : a.commitLsn > b.commitLsn ? 1 : a.first - b.first))
  const changes: Change[] = all.flatMap((t) => t.changes)
  const last = all.at(-1)
  return {
    epoch, xid: 0, commitLsn: to, endLsn: last?.endLsn ?? to, commitMicros: last?.commitMicros ?? 0, changes, first: 0, last: true,
    bytes: all.reduce((sum, t) => sum + t.bytes, 0), messages: [],
  }
}
