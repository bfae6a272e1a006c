import type { BegunUpload, Copied } from './copy.ts'
import type { KeyFault } from './named.ts'

/**
 * wanted: to be copied. copying: a worker has it, until its lease ends. copied: a directory whose listing is done and whose objects are
 * not all verified. verified: there, and proven. parked: a person must act. tombstone: no row names it any more, the copy is to go.
 * gone: it went. All but the last four wait for a worker.
 */
export const JOB_STATES = ['wanted', 'copying', 'copied', 'verified', 'parked', 'tombstone', 'gone'] as const
export type JobState = (typeof JOB_STATES)[number]

/** Why a job is parked, or is tried again: a fault of its key, another source object with the same new key, or an error's code. */
export type JobError = KeyFault | 'CONFLICT' | (string & {})

/**
 * A job that a worker has taken. object: one object. directory: all objects below a prefix that a row names. sweep: all objects below a
 * prefix of the mapping.
 */
export interface ObjectJob {
  readonly id: string
  /** Changes whenever anybody changes the job: what a worker reports counts only while it is the same. */
  readonly turn: string
  readonly kind: 'object' | 'directory' | 'sweep'
  readonly state: JobState
  readonly store: string
  readonly key: string
  readonly to: string
  /** Null: its ids must be found first. */
  readonly newKey: string | null
  /** With this one. */
  readonly attempts: number
  readonly size: number | null
  readonly sourceEtag: string | null
  /** ETag of the copy that we made; null when none was recorded. */
  readonly etag: string | null
  readonly begun: BegunUpload | null
  /** Key up to which a prefix has been listed. */
  readonly listedTo: string | null
}

/** What became of a job. `afterMs`: when it may be taken again. */
export type JobResult =
  | { readonly state: 'verified'; readonly copied: Copied | null }
  | { readonly state: 'wanted' | 'copied'; readonly error: JobError | null; readonly afterMs: number; readonly begun?: BegunUpload | null }
  | { readonly state: 'parked'; readonly error: JobError }
  | { readonly state: 'tombstone'; readonly error: JobError; readonly afterMs: number }
  | { readonly state: 'gone'; readonly error: JobError | null }

/** An object that a listing shows below a prefix. */
export interface FoundObject {
  readonly key: string
  readonly newKey: string | null
  readonly fault: JobError | null
  readonly size: number
  readonly etag: string
}

/** How many jobs, and how many bytes as far as they are known, by state. A directory that a row names is a job of its own. */
export type JobCounts = Readonly<Record<JobState, { readonly objects: number; readonly bytes: number }>>

/** What one look at all jobs has shown. */
export interface JobsSeen {
  readonly counts: JobCounts
  /** Copies that are due to be removed and were not agreed to. */
  readonly due: number
  /** Of the job that has waited longest for being done; 0 when none waits. */
  readonly oldestPendingSeconds: number
}

interface Count {
  objects: number
  bytes: number
}

export function noCounts(): Record<JobState, Count> {
  return Object.fromEntries(JOB_STATES.map((state) => [state, { objects: 0, bytes: 0 }])) as Record<JobState, Count>
}

/** What every job has come to: total = done + waiting + parked + leaving. */
export interface JobTotals {
  readonly total: number
  readonly done: number
  readonly waiting: number
  readonly parked: number
  /** Copies whose rows went: to be removed after the grace period. */
  readonly leaving: number
  readonly bytes: number
  readonly bytesDone: number
}

export function jobTotals(counts: JobCounts): JobTotals {
  const waiting = (['wanted', 'copying', 'copied'] as const).map((state) => counts[state])
  const sum = (of: readonly Readonly<Count>[], what: keyof Count): number => of.reduce((n, one) => n + one[what], 0)
  const all = [...waiting, counts.verified, counts.parked]
  return {
    total: sum([...all, counts.tombstone], 'objects'), done: counts.verified.objects, waiting: sum(waiting, 'objects'),
    parked: counts.parked.objects, leaving: counts.tombstone.objects, bytes: sum(all, 'bytes'), bytesDone: counts.verified.bytes,
  }
}

/** How far the objects are: `etaSeconds` is null while nothing is known of the speed, 0 when nothing waits. */
export interface ObjectProgress extends JobTotals {
  readonly objectsPerSecond: number
  readonly bytesPerSecond: number
  readonly etaSeconds: number | null
}

const WINDOW_MS = 20_000

/**
 * Totals as they were counted now and then (times in milliseconds) to how fast it goes: over the last twenty seconds, and until all is
 * done, by bytes or by objects, whatever takes longer.
 */
export function objectSpeed(): (totals: JobTotals, now: number) => ObjectProgress {
  const samples: { at: number; done: number; bytes: number }[] = []
  return (totals, now) => {
    samples.push({ at: now, done: totals.done, bytes: totals.bytesDone })
    while (samples.length > 2 && now - samples[1].at >= WINDOW_MS) samples.shift()
    const [first] = samples
    const seconds = (now - first.at) / 1_000
    const per = (more: number): number => (seconds > 0 ? Math.max(0, more / seconds) : 0)
    const [objectsPerSecond, bytesPerSecond] = [per(totals.done - first.done), per(totals.bytesDone - first.bytes)]
    const left = totals.bytes - totals.bytesDone
    const times = [...(totals.waiting > 0 ? [totals.waiting / objectsPerSecond] : []), ...(left > 0 && bytesPerSecond > 0
      ? [left / bytesPerSecond] : [])]
    const etaSeconds = totals.waiting === 0 ? 0 : Math.max(...times)
    return { ...totals, objectsPerSecond, bytesPerSecond, etaSeconds: Number.isFinite(etaSeconds) ? Math.ceil(etaSeconds) : null }
  }
}
