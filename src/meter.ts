import type { Transaction } from './core/change.ts'
import type { Lsn } from './core/lsn.ts'
import type { JobResult, JobsSeen } from './core/objects/job.ts'
import type { Checkpoint } from './core/plan.ts'
import type { Applied } from './deliver/delivery.ts'
import type { CopyChunk } from './ports.ts'

/** The one list of stages that a change passes, in their order; end_to_end is from the source's commit to the destination's. */
export const STAGES = ['snapshot', 'decode', 'kafka', 'apply', 'mirror', 'end_to_end'] as const
export type Stage = (typeof STAGES)[number]

export interface Copied {
  readonly table: string
  readonly pass: 1 | 2
  readonly rows: number
  readonly finished: boolean
}

/** What happens at the id map. */
export interface IdMapEvents {
  /** So many keys were asked of a tier, and so many of them it knew. */
  looked(tier: 'memory' | 'redis' | 'ledger', asked: number, known: number): void
  /** The copy of the ledger said otherwise than the ledger of so many keys of an entity; it was corrected. */
  corrected(entity: string, keys: number): void
  /** The copy was filled anew, with so many entries. */
  refilled(entries: number): void
  /** The copy begins or ceases to answer; without it the ledger answers. */
  copyAnswers(yes: boolean): void
}

export interface ObjectsSeen extends JobsSeen {
  /** Requests that may be under way at a store at a time; it falls while a store says that it is too much. */
  readonly inFlightLimit: number
}

/** What a run tells while it works: once a batch at most, never once a row. Every method returns at once and throws nothing. */
export interface Meter extends IdMapEvents {
  /** This process holds the pipeline, and it goes on from here. */
  prepared(checkpoint: Checkpoint): void
  copying(chunks: readonly CopyChunk[]): void
  copied(done: Copied): void
  streaming(checkpoint: Checkpoint): void
  /** Capture begins behind this address. */
  capturing(from: Lsn): void
  /** These came of the slot and are on their way. */
  read(transactions: readonly Transaction[]): void
  /** These came of a log that stands between capture and delivery. */
  consumed(transactions: readonly Transaction[]): void
  /** A record that cannot be decoded was put aside. */
  deadLetter(): void
  applied(applied: Applied): void
  /** So many transactions came again and were applied before. */
  repeated(transactions: number): void
  /** A batch is done again; the reason is a SQLSTATE, or a code of ours where there is none. */
  retried(reason: string): void
  failed(stage: Stage, error: unknown): void
  /** Nothing is under way until it is tried again. */
  waiting(error: Error): void
  /** What the jobs of objects have come to, in all processes. */
  objects(seen: ObjectsSeen): void
  /** What became of jobs of objects in this process. */
  settled(results: readonly JobResult[]): void
  stop(): void
}

/** Tells each of them what it listens to, in order. */
export function allOf(meters: readonly Partial<Meter>[]): Meter {
  return {
    prepared: (at) => meters.forEach((m) => m.prepared?.(at)),
    copying: (chunks) => meters.forEach((m) => m.copying?.(chunks)),
    copied: (done) => meters.forEach((m) => m.copied?.(done)),
    streaming: (at) => meters.forEach((m) => m.streaming?.(at)),
    capturing: (from) => meters.forEach((m) => m.capturing?.(from)),
    read: (transactions) => meters.forEach((m) => m.read?.(transactions)),
    consumed: (transactions) => meters.forEach((m) => m.consumed?.(transactions)),
    deadLetter: () => meters.forEach((m) => m.deadLetter?.()),
    applied: (applied) => meters.forEach((m) => m.applied?.(applied)),
    repeated: (n) => meters.forEach((m) => m.repeated?.(n)),
    retried: (reason) => meters.forEach((m) => m.retried?.(reason)),
    failed: (stage, error) => meters.forEach((m) => m.failed?.(stage, error)),
    waiting: (error) => meters.forEach((m) => m.waiting?.(error)),
    looked: (tier, asked, known) => meters.forEach((m) => m.looked?.(tier, asked, known)),
    corrected: (entity, keys) => meters.forEach((m) => m.corrected?.(entity, keys)),
    refilled: (entries) => meters.forEach((m) => m.refilled?.(entries)),
    copyAnswers: (yes) => meters.forEach((m) => m.copyAnswers?.(yes)),
    objects: (seen) => meters.forEach((m) => m.objects?.(seen)),
    settled: (results) => meters.forEach((m) => m.settled?.(results)),
    stop: () => meters.forEach((m) => m.stop?.()),
  }
}
