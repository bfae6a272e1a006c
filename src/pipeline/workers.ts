import { availableParallelism } from 'node:os'
import { destinationState } from '../../connectors/postgres-destination/state.ts'
import { sleep } from '../clock.ts'
import { RekeyError } from '../core/errors.ts'
import type { Checkpoint } from '../core/plan.ts'
import { mirrorObjects, type MirrorRun } from './mirror.ts'
import type { Opened } from './open.ts'

/** The workers of the objects beside the rows of a run. */
export interface Workers {
  /** Aborts when they have failed for good: the run cannot go on then. */
  readonly failed: AbortSignal
  /** Our tables are there now; further calls change nothing. */
  begin(): void
  /** Resolves when what was under way is put back; rejects with what they failed with. */
  end(): Promise<void>
}

export function workersOf(opened: Opened, run: Omit<MirrorRun, 'threads'>, signal: AbortSignal): Workers {
  const { objects } = opened.config
  const failed = new AbortController()
  const stop = new AbortController()
  let running: Promise<void> | null = null
  return {
    failed: failed.signal,
    begin() {
      if (objects === undefined || opened.mapping.stores.size === 0) return
      const threads = objects.threads ?? 0
      running ??= mirrorObjects(opened, objects, { ...run, threads }, AbortSignal.any([signal, stop.signal]))
        .catch((error: unknown) => failed.abort(error))
    },
    async end() {
      stop.abort()
      await running
      failed.signal.throwIfAborted()
    },
  }
}

const LOOK_MS = 1_000

/** The workers alone, for a process that carries no rows: it waits for one that does to begin. Resolves with that one's checkpoint. */
export async function workAlone(opened: Opened, run: Omit<MirrorRun, 'threads'>, signal: AbortSignal): Promise<Checkpoint> {
  const { config, mapping, destination } = opened
  if (config.objects === undefined || mapping.stores.size === 0) throw new RekeyError('CONFIG', 'the mapping carries no objects')
  const state = destinationState(destination.query, config.pipeline)
  while (!signal.aborted && (await state.checkpoint()) === null) await sleep(LOOK_MS, signal)
  const threads = config.objects.threads ?? threadsHere()
  if (!signal.aborted) await mirrorObjects(opened, config.objects, { ...run, threads }, signal)
  const checkpoint = await state.checkpoint()
  return checkpoint ?? NOTHING
}

/** This thread needs a processor for all that is not copying, and stores and databases may be near: see docs/decisions.md. */
const threadsHere = (): number => Math.max(0, Math.min(3, availableParallelism() - 2))

const NOTHING: Checkpoint = {
  epoch: 0, commitLsn: 0n, endLsn: 0n, phase: 'new', convergeLsn: 0n, totals: {}, mappingDigest: '', sourceSystem: '', sourceTimeline: 0,
}
