import type { Passed } from './heartbeat.ts'
import type { Lsn } from './lsn.ts'

/** Each stage from the one before it, so that the stages add up to the whole. */
export interface ByStage {
  readonly decode: number
  readonly apply: number
  readonly endToEnd: number
}

/** How far the stages of a stream are behind the source. All times are seconds; `now` is by the clock of this process. */
export interface StageLag {
  /** The source's clock showed `clock`, and its WAL ended there. */
  sampled(clock: number, walEnd: Lsn, now: number): void
  /** The stream begins (again) behind what was applied, which was so long ago. */
  from(appliedEnd: Lsn, age: number, now: number): void
  decoded(passed: Passed, end: Lsn, now: number): void
  applied(seconds: number | null, end: Lsn): void
  /** Null until a stream has begun. They grow while nothing moves. */
  seconds(now: number): ByStage | null
  /** Null until the source's WAL was seen, too. */
  bytes(): ByStage | null
  /** Age of the newest heartbeat that was decoded, or of the stream where none was. */
  heartbeat(now: number): number | null
  /** How old the newest commit was when it was decoded. */
  latency(): number | null
}

interface Reached {
  /** The newest moment of the source of which is known that everything before it is there. */
  at: number
  end: Lsn
}

export function stageLag(): StageLag {
  /** What the source's clock is ahead of ours. */
  let ahead = 0
  let walEnd: Lsn | null = null
  let decoded: Reached | null = null
  let applied: Reached | null = null
  /** The newest heartbeat that was decoded; before one was, the moment when the stream began. */
  let heartbeat = 0
  let latency: number | null = null
  const split = (whole: number, between: number): ByStage => {
    const endToEnd = Math.max(0, whole)
    const apply = Math.min(endToEnd, Math.max(0, between))
    return { decode: endToEnd - apply, apply, endToEnd }
  }
  return {
    sampled(clock, end, now) {
      ahead = clock - now
      walEnd = end
    },
    from(end, age, now) {
      if (applied === null) heartbeat = now + ahead
      applied = { at: applied?.at ?? now + ahead - age, end }
      decoded = { ...applied }
    },
    decoded(passed, end, now) {
      if (decoded === null) return
      decoded.end = end
      if (passed.seconds !== null) {
        decoded.at = passed.seconds
        latency = Math.max(0, now + ahead - passed.seconds)
      }
      heartbeat = passed.heartbeat ?? heartbeat
    },
    applied(seconds, end) {
      if (applied === null) return
      applied.end = end
      if (seconds !== null) applied.at = seconds
    },
    seconds(now) {
      if (decoded === null || applied === null) return null
      return split(now + ahead - applied.at, decoded.at - applied.at)
    },
    bytes() {
      if (decoded === null || applied === null || walEnd === null) return null
      return split(Number(walEnd - applied.end), Number(decoded.end - applied.end))
    },
    heartbeat: (now) => (decoded === null ? null : Math.max(0, now + ahead - heartbeat)),
    latency: () => latency,
  }
}
