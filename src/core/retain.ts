import type { Lsn } from './lsn.ts'

/**
 * What may be confirmed to the slot: what was durable `retainMs` ago, so that a destination that loses its newest commits (a standby
 * promoted late) can be given them again. With 0, what is durable now. Never goes backward.
 */
export interface Retained {
  /** Notes that everything up to `lsn` is durable at time `now` (milliseconds of a monotonic clock) and returns what may be confirmed. */
  note(lsn: Lsn, now: number): Lsn
}

export function retain(retainMs: number): Retained {
  const samples: { lsn: Lsn; at: number }[] = []
  let confirmed: Lsn = 0n
  return {
    note(lsn, now) {
      const last = samples.at(-1)
      // One sample a second (or each, without a delay) bounds the list whatever the rate.
      if (!last || (lsn > last.lsn && (retainMs === 0 || now - last.at >= 1000))) samples.push({ lsn, at: now })
      while (samples.length > 0 && now - samples[0].at >= retainMs) {
        const aged = samples.shift()!.lsn
        if (aged > confirmed) confirmed = aged
      }
      if (retainMs === 0 && lsn > confirmed) confirmed = lsn
      return confirmed
    },
  }
}
