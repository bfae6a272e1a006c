import { sleep } from '../clock.ts'
import { RekeyError } from '../core/errors.ts'
import type { JobResult, JobsSeen, ObjectJob } from '../core/objects/job.ts'
import { doJob, type JobDeps } from './mirror-job.ts'
import type { ObjectJobs, SweptPrefix } from '../ports.ts'

export interface MirrorOptions extends Omit<JobDeps, 'listed' | 'notes'> {
  readonly jobs: ObjectJobs
  /** Jobs that are done at the same time. */
  readonly workers: number
  readonly leaseMs: number
  /** How often jobs are looked for when there were none. */
  readonly idleMs: number
  readonly deletes: { readonly graceMs: number; readonly most: number }
  readonly sweep: { readonly prefixes: readonly SweptPrefix[]; readonly everyMs: number }
  /** Resolves with true when the rows are there that a sweep needs: nothing is swept before the copy is complete. */
  readonly copied: () => Promise<boolean>
  /** Aborts uploads that lost workers have left behind. Resolves with how many. */
  readonly tidy: () => Promise<number>
  readonly onSeen: (seen: JobsSeen) => void
  readonly onNote: (note: { readonly level: 'info' | 'warn'; readonly event: string; readonly text: string }) => void
}

/** How often the leases of jobs under way are prolonged, in their length. */
const RENEWALS = 3
/** Reports under way, for each worker. */
const REPORTS = 4
/** A report waits so long for others: one statement for many costs little more than for one. */
const LINGER_MS = 10
const LOOK_MS = 1_000
const SWEEP_LOOK_MS = 10_000
const TIDY_MS = 3_600_000
const REMOVED_AT_ONCE = 50

/**
 * Does the jobs of objects until the signal aborts, several at once; any number of processes may. A job that fails is put back with a
 * pause, or parked; a destination that does not answer is waited for. What is under way at the end is put back.
 */
export async function mirror(options: MirrorOptions, signal: AbortSignal): Promise<void> {
  const { jobs, leaseMs } = options
  const under = new Map<string, ObjectJob>()
  const settle = settling(options)
  const stopRenewing = startTimer(leaseMs / RENEWALS, async () => {
    if (under.size > 0) await jobs.renew([...under.values()], leaseMs)
  })
  const looking = lookAround(options, signal)
  const pool = poolOf(options.workers)
  // A worker goes on while what it has done is written down: that takes the disk of the destination, not ours.
  const reports = poolOf(REPORTS * options.workers)
  let failure: unknown = null
  const doing = async (job: ObjectJob): Promise<JobResult | null> => {
    try {
      return await doJob(job, { ...options, listed: jobs.listed, notes: jobs.notes }, signal)
    } catch (error) {
      if (!passes(error)) failure ??= error
      return null
    }
  }
  const report = async (job: ObjectJob, result: JobResult | null): Promise<void> => {
    try {
      if (result !== null) await settle({ job, result })
    } catch (error) {
      // A job whose report was lost is taken again when its lease ends.
      if (!passes(error)) failure ??= error
    } finally {
      // A row that has changed meanwhile may have had it taken once more.
      if (under.get(job.id) === job) under.delete(job.id)
    }
  }
  const run = async (job: ObjectJob): Promise<void> => {
    const result = await doing(job)
    await reports.room()
    reports.add(report(job, result))
  }
  const ahead = jobsAhead(options, (job) => under.set(job.id, job))
  try {
    while (!signal.aborted && failure === null) {
      await pool.room()
      const job = await ahead.next()
      if (job) pool.add(run(job))
      else {
        pool.leave()
        await sleep(options.idleMs, signal)
      }
    }
    for (const job of await ahead.rest()) {
      const state = job.state === 'copied' ? 'copied' : 'wanted'
      await reports.room()
      reports.add(settle({ job, result: { state, error: null, afterMs: 0 } }).catch(() => {}))
    }
    await pool.empty()
    await reports.empty()
  } finally {
    stopRenewing()
    await looking
  }
  if (failure !== null) throw failure as Error
}

/** The destination is away; run() begins again when it is back. */
function passes(error: unknown): boolean {
  return error instanceof RekeyError && error.exit === 6
}

interface JobsAhead {
  /** The next job that is due, or undefined. Rejects with what is a defect only. */
  next(): Promise<ObjectJob | undefined>
  /** Jobs that were taken and are not begun. */
  rest(): Promise<readonly ObjectJob[]>
}

/** Jobs are taken while others are done, several by one statement: no worker waits for the table as long as it has many. */
function jobsAhead({ jobs, leaseMs, workers }: MirrorOptions, onTaken: (job: ObjectJob) => void): JobsAhead {
  const most = Math.max(4, 2 * workers)
  const ahead: ObjectJob[] = []
  let many = false
  let taking: Promise<void> | null = null
  const take = async (): Promise<void> => {
    const taken = await jobs.take({ most, leaseMs }).catch((error: unknown) => {
      if (!passes(error)) throw error
      return []
    })
    many = taken.length === most
    taken.forEach(onTaken)
    ahead.push(...taken)
  }
  const begin = (): Promise<void> => (taking ??= take().finally(() => (taking = null)))
  return {
    async next() {
      if (ahead.length === 0) await begin()
      // What it rejects with, the next call that has to wait for it meets again.
      else if (many && ahead.length <= most / 2) begin().catch(() => {})
      return ahead.shift()
    },
    async rest() {
      await taking?.catch(() => {})
      return ahead
    },
  }
}

interface Pool {
  /** Resolves when a place is free, and takes it. */
  room(): Promise<void>
  /** Work on a place that was taken; it must not reject. */
  add(work: Promise<void>): void
  /** Gives a place back that was not needed. */
  leave(): void
  /** Resolves when all work is done. */
  empty(): Promise<void>
}

function poolOf(size: number): Pool {
  let taken = 0
  const waiting: (() => void)[] = []
  let idle: () => void = () => {}
  const leave = (): void => {
    const next = waiting.shift()
    if (next) return next()
    taken--
    if (taken === 0) idle()
  }
  return {
    leave,
    async room() {
      if (taken < size) taken++
      else await new Promise<void>((resolve) => waiting.push(resolve))
    },
    add: (work) => void work.finally(leave),
    async empty() {
      if (taken > 0) await new Promise<void>((resolve) => (idle = resolve))
    },
  }
}

/** Reports go out together: those that come within some milliseconds, and those that come while one statement is under way. */
function settling({ jobs, point, workers }: MirrorOptions): (report: { job: ObjectJob; result: JobResult }) => Promise<void> {
  let waiting: { job: ObjectJob; result: JobResult }[] = []
  let next: Promise<void> | null = null
  let last: Promise<void> = Promise.resolve()
  let enough: () => void = () => {}
  const send = async (): Promise<void> => {
    await new Promise<void>((resolve) => {
      enough = resolve
      setTimeout(resolve, LINGER_MS)
    })
    await last.catch(() => {})
    const reports = waiting
    waiting = []
    next = null
    last = jobs.settle(reports)
    await last
    await point('obj.recorded')
  }
  return (report) => {
    waiting.push(report)
    const sent = (next ??= send())
    if (waiting.length >= workers) enough()
    return sent
  }
}

function startTimer(everyMs: number, work: () => Promise<void>): () => void {
  let busy = false
  const timer = setInterval(() => {
    if (busy) return
    busy = true
    // What fails here fails for the workers, too.
    work().catch(() => {}).finally(() => (busy = false))
  }, everyMs)
  return () => clearInterval(timer)
}

/** Beside the workers: counts for the progress, copies that are to go, prefixes that are to be listed. */
async function lookAround(options: MirrorOptions, signal: AbortSignal): Promise<void> {
  const { jobs, deletes, sweep } = options
  let removed = 0
  let warned = false
  let sweptAt = -Infinity
  let tidiedAt = -Infinity
  while (!signal.aborted) {
    const began = performance.now()
    try {
      const seen = await jobs.notes.counts(deletes.graceMs)
      const { due } = seen
      options.onSeen(seen)
      const stopped = removed + due > deletes.most
      if (stopped && !warned) {
        options.onNote({ level: 'warn', event: 'deletes',
          text: `${removed + due} copies would be removed and ${deletes.most} may be: \`rekey objects approve\` has the others removed` })
      }
      warned = stopped
      await removeSome(options, 'agreed', signal)
      // As many as were seen: others that are due by now may be too many.
      if (!stopped) removed += await removeSome(options, due, signal)
      if (sweep.prefixes.length > 0 && began - sweptAt >= Math.min(SWEEP_LOOK_MS, sweep.everyMs) && (await options.copied())) {
        await jobs.listed.sweep(sweep.prefixes, sweep.everyMs)
        sweptAt = began
      }
      if (began - tidiedAt >= TIDY_MS) {
        tidiedAt = began
        const aborted = await options.tidy()
        if (aborted > 0) options.onNote({ level: 'info', event: 'uploads',
          text: `${aborted} uploads that nobody had finished were aborted` })
      }
    } catch (error) {
      if (!passes(error)) options.onNote({ level: 'warn', event: 'objects',
        text: `jobs of objects cannot be looked at: ${(error as Error).message}` })
    }
    // Counting many jobs takes its time: a twentieth of it at most.
    await sleep(Math.max(LOOK_MS, 20 * (performance.now() - began)), signal)
  }
  await jobs.notes.counts(deletes.graceMs).then(options.onSeen, () => {})
}

/**
 * Copies whose rows went long enough ago: so many at most, whatever comes to be due meanwhile, or those that a person has agreed to, which
 * do not count against the limit. Resolves with how many went.
 */
async function removeSome(options: MirrorOptions, most: number | 'agreed', signal: AbortSignal): Promise<number> {
  const { jobs, leaseMs, deletes } = options
  const approved = most === 'agreed'
  let removed = 0
  while (!signal.aborted) {
    const room = approved ? REMOVED_AT_ONCE : Math.min(REMOVED_AT_ONCE, most - removed)
    if (room <= 0) break
    const taken = await jobs.takeLeaving({ most: room, leaseMs, graceMs: deletes.graceMs, approved })
    if (taken.length === 0) break
    const deps = { ...options, listed: jobs.listed, notes: jobs.notes }
    const results = await Promise.all(taken.map(async (job) => ({ job, result: (await doJob(job, deps, signal))! })))
    await jobs.settle(results)
    removed += results.filter(({ result }) => result.state === 'gone').length
  }
  return removed
}
