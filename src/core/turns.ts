import type { Lsn } from './lsn.ts'

/**
 * What becomes of a change that the destination refused, in one partition of several. `next` is its commit; a position says that everything
 * below or at it is applied in that partition. Nobody passes what it cannot apply, and who waits says so by a position right below.
 * - again: others have moved on since it was tried, so what it lacks may be there.
 * - wait: nothing has changed.
 * - gather: everything before it was there when it was tried. What stands in its way then is what others have done since, or cannot do
 *   before it: the partitions have to be brought to one point together, and go on from there in the order of the source.
 */
export type Turn = 'again' | 'wait' | 'gather'

/** `seen`: positions of the other partitions when the try began; `now`: the same later. Positions never go back. */
export function turnOf(next: Lsn, seen: readonly Lsn[], now: readonly Lsn[]): Turn {
  if (isFirst(next, seen)) return 'gather'
  return now.some((at, i) => at > seen[i]) ? 'again' : 'wait'
}

/** Everything that was committed before it is applied in the other partitions. */
export function isFirst(next: Lsn, others: readonly Lsn[]): boolean {
  return others.every((at) => at >= next - 1n)
}

/** How far, in bytes of the source's WAL, a partition may be ahead of the last one: so much at most is ever gathered. */
export const MOST_AHEAD = 16n << 20n

export function isTooFar(next: Lsn, others: readonly Lsn[]): boolean {
  return others.some((at) => at + MOST_AHEAD < next)
}

/** Transactions that go alone: each is a halt of all partitions. So many of them in so long a time are better applied by one delivery for all. */
const CROWD = 5
const CROWD_MS = 2_000

/** `times`: when they came, in order, the last one now. */
export function isCrowd(times: readonly number[]): boolean {
  return times.length >= CROWD && times[times.length - 1] - times[times.length - CROWD] <= CROWD_MS
}
