/**
 * How many requests a store is asked at a time: additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP does it, with
 * its slow start. A store that says that it is busy, or does not answer, halves the number; all requests under way fail together then,
 * which counts once.
 */
export interface Rate {
  readonly allowed: number
  /** Until the first refusal the number doubles with each round of answers. */
  readonly slowStart: boolean
  /** When it was last halved; milliseconds of the caller's clock. */
  readonly halvedAt: number
}

export const RATE = { first: 16, most: 256, least: 1, restMs: 1_000 } as const

export const newRate = (most: number = RATE.most): Rate => ({ allowed: Math.min(RATE.first, most), slowStart: true, halvedAt: -Infinity })

/** An answer came while `inFlight` requests were under way: only who uses what is allowed is allowed more. */
export function answered(rate: Rate, inFlight: number, most: number = RATE.most): Rate {
  if (inFlight < Math.floor(rate.allowed)) return rate
  return { ...rate, allowed: Math.min(most, rate.allowed + (rate.slowStart ? 1 : 1 / rate.allowed)) }
}

export function refused(rate: Rate, now: number): Rate {
  if (now - rate.halvedAt < RATE.restMs) return rate
  return { allowed: Math.max(RATE.least, rate.allowed / 2), slowStart: false, halvedAt: now }
}

/**
 * How long to wait before the n-th try again (from 1), milliseconds: doubling, and spread over its second half, so that those that failed
 * together do not come back together. `chance` is at least 0 and below 1.
 */
export function backoffMs(tries: number, chance: number): number {
  const most = Math.min(20_000, 100 * 2 ** tries)
  return Math.round(most * (0.5 + chance / 2))
}

/** A limit of so many units a second. A second's worth may go at once; who takes more waits until it is paid back. */
export interface Bucket {
  readonly perSecond: number
  /** Units that may go now; below zero while something is to be paid back. */
  readonly level: number
  readonly at: number
}

export const newBucket = (perSecond: number, now: number): Bucket => ({ perSecond, level: perSecond, at: now })

export function taken(bucket: Bucket, amount: number, now: number): { readonly bucket: Bucket; readonly waitMs: number } {
  const level = Math.min(bucket.perSecond, bucket.level + (bucket.perSecond * (now - bucket.at)) / 1_000) - amount
  return { bucket: { ...bucket, level, at: now }, waitMs: level >= 0 ? 0 : Math.ceil((-level * 1_000) / bucket.perSecond) }
}
