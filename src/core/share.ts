export interface Sharing {
  readonly me: string
  /** Processes that are alive, this one among them. */
  readonly members: readonly string[]
  /** Who holds each partition; null when nobody does who is alive. */
  readonly holders: readonly (string | null)[]
}

/**
 * Which partitions a process lets go of, and which it takes: as many each, the first members one more where it does not come out even.
 * Partitions move only from those who have too many to those who have too few.
 */
export function shareOut({ me, members, holders }: Sharing): { readonly release: readonly number[]; readonly claim: readonly number[] } {
  const sorted = [...members].sort()
  const extra = holders.length % sorted.length
  const share = Math.floor(holders.length / sorted.length) + (sorted.indexOf(me) < extra ? 1 : 0)
  const mine = holders.flatMap((holder, i) => (holder === me ? [i] : []))
  const free = holders.flatMap((holder, i) => (holder === null ? [i] : []))
  return { release: mine.slice(share), claim: free.slice(0, Math.max(0, share - mine.length)) }
}
