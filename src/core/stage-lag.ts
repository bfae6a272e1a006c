import type { Passed } from './heartbeat.ts'
import type { Lsn } from './lsn.ts'

/** The stages of a stream, in order. A process knows of those that it does itself, and of what goes into them. */
const CHAIN = ['decode', 'kafka', 'apply'] as const
export type StreamStage = (typeof CHAIN)[number]

/** Each stage from the one before it (the first from the source), so that they add up to `end_to_end`, which is there where `apply` is. */
export type ByStage = Readonly<Partial<Record<StreamStage | 'end_to_end', number>>>

/** How far the stages of a stream are behind the source. All times are seconds; `now` is by the clock of this process. */
export interface StageLag {
  /** The source's clock showed `clock`, and its WAL ended there. */
  sampled(clock: number, walEnd: Lsn, now: number): void
  /** These begin (again) behind this address, which the last of them reached so long ago. */
  begin(stages: readonly StreamStage[], end: Lsn, age: number, now: number): void
  passed(stage: StreamStage, passed: Passed, end: Lsn, now: number): void
  /** Empty until a stage has begun. They grow while nothing moves. */
  seconds(now: number): ByStage
  /** Empty until the source's WAL was seen, too. */
  bytes(): ByStage
  /** Age of the newest heartbeat that came; before one came, of the stream. Null before a stage has begun. */
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
  const reached = new Map<StreamStage, Reached>()
  let heartbeat: number | null = null
  let latency: number | null = null
  /** From how far each stage is behind the source to how far it is behind the one before it. */
  const split = (behind: (stage: Reached) => number): ByStage => {
    const by: Partial<Record<StreamStage | 'end_to_end', number>> = {}
    const stages = CHAIN.filter((stage) => reached.has(stage))
    let most = Infinity
    const whole = stages.toReversed().map((stage) => (most = Math.min(most, Math.max(0, behind(reached.get(stage)!))))).toReversed()
    stages.forEach((stage, i) => (by[stage] = whole[i] - (whole[i - 1] ?? 0)))
    if (by.apply !== undefined) by.end_to_end = whole.at(-1)!
    return by
  }
  return {
    sampled(clock, end, now) {
      ahead = clock - now
      walEnd = end
    },
    begin(stages, end, age, now) {
      heartbeat ??= now + ahead
      const at = reached.get(stages.at(-1)!)?.at ?? now + ahead - age
      for (const stage of stages) reached.set(stage, { at, end })
    },
    passed(stage, { seconds, heartbeat: beat }, end, now) {
      const one = reached.get(stage)
      if (one === undefined) return
      one.end = end
      if (seconds !== null) {
        one.at = seconds
        if (stage === 'decode') latency = Math.max(0, now + ahead - seconds)
      }
      if (beat !== null) heartbeat = beat
    },
    seconds: (now) => split(({ at }) => now + ahead - at),
    bytes() {
      const all = walEnd
      return all === null ? {} : split(({ end }) => Number(all - end))
    },
    heartbeat: (now) => (heartbeat === null ? null : Math.max(0, now + ahead - heartbeat)),
    latency: () => latency,
  }
}
