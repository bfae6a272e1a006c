import type { Checkpoint } from './plan.ts'
import type { Lsn } from './lsn.ts'

/** How far the destination is behind the source. Times are milliseconds since 1970, by the clock of this process. */
export interface Lag {
  /** The stream goes on from here. */
  from(at: Checkpoint): void
  /** Everything up to this commit was read of the slot. */
  read(commitLsn: Lsn, now: number): void
  /** The destination has this; microseconds since 1970 of its newest commit at the source, 0 when it has none. */
  applied(at: Checkpoint, commitMicros: number, now: number): void
  /** The source's WAL ended here. */
  sampled(end: Lsn, now: number): void
  /** 0 when all that is known to be committed is applied; null before anything was applied. */
  seconds(now: number): number | null
  bytes(): number | null
}

/**
 * While something that was read waits: the age of the newest commit that is applied, or since when something waits, if that is shorter
 * (the source was idle before). Else nothing is known to wait, unless WAL of the source has not come for longer than `patience`: while
 * the source is idle, a heartbeat passes all of it.
 */
export function lagOf(patience: number): Lag {
  let checkpoint: Checkpoint | null = null
  let newest: number | null = null
  let last: Lsn = 0n
  let waitingSince: number | null = null
  let end: Lsn | null = null
  /** The earliest sample of the source that the destination has not reached. */
  let ahead: { readonly end: Lsn; readonly at: number } | null = null
  const waits = (): boolean => checkpoint !== null && last > checkpoint.commitLsn
  return {
    from(at) {
      checkpoint = at
      last = at.commitLsn
      waitingSince = ahead = null
    },
    read(commitLsn, now) {
      const before = waits()
      if (commitLsn > last) last = commitLsn
      if (!before && waits() && newest !== null) waitingSince = now
    },
    applied(at, commitMicros, now) {
      checkpoint = at
      newest = commitMicros > 0 ? commitMicros / 1e3 : newest ?? now
      if (!waits()) waitingSince = null
      if (ahead && at.endLsn >= ahead.end) ahead = null
    },
    sampled(to, now) {
      end = to
      if (checkpoint && to > checkpoint.endLsn) ahead ??= { end: to, at: now }
    },
    seconds(now) {
      if (newest === null || checkpoint === null) return null
      if (waits()) return Math.max(0, now - Math.max(newest, waitingSince ?? 0)) / 1e3
      const since = ahead === null ? 0 : now - ahead.at
      return since > patience ? since / 1e3 : 0
    },
    bytes: () => (end === null || checkpoint === null ? null : Math.max(0, Number(end - checkpoint.endLsn))),
  }
}
