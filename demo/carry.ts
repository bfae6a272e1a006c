import { setTimeout as sleep } from 'node:timers/promises'
import type { ObjectProgress } from '../src/core/objects/job.ts'
import type { Checkpoint } from '../src/core/plan.ts'
import { run } from '../src/pipeline.ts'
import type { Progress } from '../src/progress.ts'
import type { Stage } from './stage.ts'
import type { View } from './view.ts'
import type { Writer } from './writer.ts'

export interface Carried {
  readonly checkpoint: Checkpoint
  readonly objects: ObjectProgress | null
  readonly copySeconds: number
  readonly streamSeconds: number
  readonly catchUpSeconds: number
  /** While the writers wrote, after the stream had caught up with what was written during the copy. */
  readonly lag: { readonly median: number; readonly most: number }
}

export interface CarryOptions {
  readonly seconds: number
  readonly writers: readonly Writer[]
  readonly view: View
  readonly signal: AbortSignal
}

const CATCH_UP_MS = 120_000

/**
 * Copies, streams for some seconds while the writers go on, stops them and waits for the last change. Resolves when the bridge has
 * ended.
 */
export async function carry(stage: Stage, { seconds: wanted, writers, view, signal }: CarryOptions): Promise<Carried> {
  const stop = new AbortController()
  const either = AbortSignal.any([signal, stop.signal])
  const lags: number[] = []
  let objects: ObjectProgress | null = null
  let streaming = (): void => {}
  const streams = new Promise<void>((resolve) => (streaming = resolve))
  const progress = (p: Progress): void => {
    view.progress(p)
    objects = p.objects
    if (p.phase !== 'stream') return
    streaming()
    if (p.lagSeconds !== null) lags.push(p.lagSeconds)
  }
  const began = performance.now()
  const ended = run(stage.config, { takeover: false }, { progress, note: view.note }, either)
  const tooSoon = ended.then(() => Promise.reject(signal.aborted ? signal.reason : new Error('the run ended by itself')))
  const failed = [tooSoon, ...writers.map((writer) => writer.ended)]
  const unless = <T>(work: Promise<T>): Promise<T | void> => Promise.race([work, ...failed])
  for (const one of failed) one.catch(() => {})
  try {
    await unless(streams)
    const copied = performance.now()
    await unless(sleep(wanted * 1_000, undefined, { signal }))
    const stopped = performance.now()
    const seen = lags.length
    await Promise.all(writers.map((writer) => writer.stop()))
    await Promise.race([caughtUp(stage, either), tooSoon])
    const caught = performance.now()
    await Promise.race([settled(stage, either), tooSoon])
    stop.abort()
    const checkpoint = await ended
    view.settle()
    const seconds = (from: number, to: number): number => (to - from) / 1_000
    return {
      checkpoint, objects, copySeconds: seconds(began, copied), streamSeconds: seconds(copied, stopped), catchUpSeconds: seconds(stopped, caught),
      lag: lagOf(lags.slice(0, seen)),
    }
  } finally {
    view.settle()
    stop.abort()
    await Promise.allSettled([ended])
  }
}

/** The first third is left out: the changes made during the copy are caught up then. */
function lagOf(lags: readonly number[]): Carried['lag'] {
  const steady = lags.slice(Math.floor(lags.length / 3)).sort((a, b) => a - b)
  return { median: steady[Math.floor(steady.length / 2)] ?? 0, most: steady[steady.length - 1] ?? 0 }
}

/** No object waits to be copied, or to be removed. */
async function settled({ destination, config }: Stage, signal: AbortSignal): Promise<void> {
  for (const end = Date.now() + CATCH_UP_MS; Date.now() < end;) {
    const sql = "select count(*)::text as open from rekey.object where pipeline = $1 and state in ('wanted', 'copying', 'copied', 'tombstone')"
    const [{ open }] = await destination.query(sql, [config.pipeline])
    if (open === '0') return
    await sleep(50, undefined, { signal })
  }
  throw new Error(`not all objects were carried within ${CATCH_UP_MS / 1_000} seconds`)
}

/** Everything committed at the source so far is applied. */
async function caughtUp({ source, destination, config }: Stage, signal: AbortSignal): Promise<void> {
  const [{ lsn }] = await source.query('select pg_current_wal_insert_lsn()::text as lsn')
  await source.query(`select pg_logical_emit_message(false, 'rekey', 'heartbeat')`)
  for (const end = Date.now() + CATCH_UP_MS; Date.now() < end;) {
    const sql = 'select (end_lsn >= $2::pg_lsn)::text as reached from rekey.checkpoint where pipeline = $1'
    const [at] = await destination.query(sql, [config.pipeline, lsn])
    if (at?.reached === 'true') return
    await sleep(50, undefined, { signal })
  }
  throw new Error(`the last change was not applied within ${CATCH_UP_MS / 1_000} seconds`)
}
