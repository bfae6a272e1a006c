import { sleep } from '../clock.ts'
import { RekeyError } from '../core/errors.ts'
import { answered, newBucket, newRate, refused, taken } from '../core/rate.ts'

export interface PaceOptions {
  /** Most requests under way. */
  readonly most: number
  /** Null: no limit. */
  readonly requestsPerSecond: number | null
  readonly bytesPerSecond: number | null
  /** Milliseconds, for tests; by default performance.now(). */
  readonly now?: () => number
}

/** What one store is asked at a time, and how fast. */
export interface Pace {
  /** Resolves with a function that gives the place back when there is one: tell it whether the store was able to answer. */
  enter(signal?: AbortSignal): Promise<(able: boolean) => void>
  /** Resolves when so many bytes may go, or at once when the signal aborts. */
  bytes(amount: number, signal?: AbortSignal): Promise<void>
  readonly allowed: number
  readonly inFlight: number
}

export function newPace({ most, requestsPerSecond, bytesPerSecond, now = () => performance.now() }: PaceOptions): Pace {
  let rate = newRate(most)
  let inFlight = 0
  const waiting: (() => void)[] = []
  const limits = { requests: limitOf(requestsPerSecond, now), bytes: limitOf(bytesPerSecond, now) }
  const next = (): void => {
    while (inFlight < Math.max(1, Math.floor(rate.allowed)) && waiting.length > 0) {
      inFlight++
      waiting.shift()!()
    }
  }
  const leave = (able: boolean): void => {
    rate = able ? answered(rate, inFlight, most) : refused(rate, now())
    inFlight--
    next()
  }
  return {
    async enter(signal) {
      signal?.throwIfAborted()
      await limits.requests?.(1, signal)
      signal?.throwIfAborted()
      await new Promise<void>((resolve) => {
        waiting.push(resolve)
        next()
      })
      let left = false
      return (able) => {
        if (!left) leave(able)
        left = true
      }
    },
    bytes: async (amount, signal) => limits.bytes?.(amount, signal),
    get allowed() { return Math.floor(rate.allowed) },
    get inFlight() { return inFlight },
  }
}

function limitOf(perSecond: number | null, now: () => number): ((amount: number, signal?: AbortSignal) => Promise<void>) | null {
  if (perSecond === null) return null
  let bucket = newBucket(perSecond, now())
  return async (amount, signal) => {
    const { bucket: after, waitMs } = taken(bucket, amount, now())
    bucket = after
    if (waitMs > 0) await sleep(waitMs, signal)
  }
}

/** True for failures that mean: fewer requests, please. */
export const isBusy = (error: unknown): boolean => error instanceof RekeyError && (error.code === 'STORE_BUSY' || error.code === 'REMOTE')
