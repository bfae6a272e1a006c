/** How long partitions that were brought to one point stay united, at least and at most. */
export const SHORTEST_MS = 1_000
export const LONGEST_MS = 60_000

/** They were apart for less than so many times as long as they had been together: it did not pay. */
const TOO_SOON = 4

/**
 * How long they stay together this time. To part and to come together again takes seconds, in which nothing is applied; while they are
 * together one delivery does the work of all. `before`: how long they stayed the last time and since when they were apart; null for the first time.
 */
export function stayFor(before: { readonly stayMs: number; readonly partedMs: number } | null): number {
  if (before === null || before.partedMs >= TOO_SOON * before.stayMs) return SHORTEST_MS
  return Math.min(LONGEST_MS, Math.max(SHORTEST_MS, 2 * before.stayMs))
}
