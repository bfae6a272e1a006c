import { setMaxListeners } from 'node:events'
import { openSession } from '../../connectors/postgres/session.ts'
import { findDecisions, matchRows } from '../../connectors/postgres-destination/lookup.ts'
import { objectJobs } from '../../connectors/postgres-destination/object-jobs.ts'
import { tableOf } from '../core/catalog.ts'
import type { Point } from '../failpoint.ts'
import type { Meter } from '../meter.ts'
import { mirror } from '../mirror/mirror.ts'
import { keysFor } from '../planning/object-keys.ts'
import { abandonedUploads } from '../mirror/abandoned.ts'
import type { ObjectJobs } from '../ports.ts'
import type { RunEvents } from '../progress.ts'
import { copyHere } from './copying.ts'
import { startThreads } from './copy-threads.ts'
import type { Opened } from './open.ts'
import { openStores, type ObjectsConfig } from './stores.ts'

const IDLE_MS = 500
/** An upload this old that no job knows of is left from a worker that was lost. */
const ABANDONED_MS = 24 * 3_600_000

/** Its plans are made once, maybe when there are few jobs yet: they must be those for many. */
const RECORDING = {
  synchronous_commit: 'off', plan_cache_mode: 'force_generic_plan', enable_seqscan: 'off', enable_hashjoin: 'off', enable_mergejoin: 'off',
}

export interface MirrorRun {
  readonly events: RunEvents
  readonly point: Point
  readonly meter: Pick<Meter, 'objects' | 'settled' | 'failed'>
  /** Threads that copy; 0: this one does. */
  readonly threads: number
}

/** The workers of a pipeline's objects, in this process, over a connection of their own; until the signal aborts. */
export async function mirrorObjects(opened: Opened, objects: ObjectsConfig, run: MirrorRun, end: AbortSignal): Promise<void> {
  // Every request listens to it: a warning of too many listeners would mean nothing.
  const signal = AbortSignal.any([end])
  setMaxListeners(0, signal)
  const { config, mapping, minters, catalogs } = opened
  const session = await openSession(config.destination.url, 'destination')
  const record = await openSession(config.destination.url, 'destination', RECORDING).catch(async (error: unknown) => {
    await session.close()
    throw error
  })
  const rules = [...mapping.stores.values()]
  const threads = run.threads > 0 ? startThreads(run.threads, { objects, rules }, signal) : null
  const stores = await openStores(objects, rules).catch(async (error: unknown) => {
    await threads?.close()
    throw error
  })
  const copy = threads?.copy ?? copyHere(stores, objects.memory)
  const { query } = session
  const jobs = told(objectJobs(query, config.pipeline, record.prepared), run.meter)
  try {
    await mirror({
      jobs, source: stores.source, destination: stores.destination, workers: objects.workers, point: run.point,
      leaseMs: objects.lease, idleMs: IDLE_MS, firstMs: config.retry.first, mostMs: config.retry.most, run: config.pipeline,
      copy({ key, newKey, begun, size, store, to }, note, ended) {
        const { existing, verify, etags } = objects
        const request = { from: { key, version: null }, to: newKey, run: config.pipeline, existing, verify, etags, begun, size }
        return copy({ request, store, to }, note, ended)
      },
      keysFor: (store, keys) => keysFor(store, keys, {
        mapping, minters, idMap: { find: (entity, of) => findDecisions(query, config.pipeline, entity, of) },
        match: (question) => matchRows(query, question, tableOf(catalogs.destination, question.table)),
      }),
      deletes: { graceMs: objects.deletes.grace, most: objects.deletes.max },
      sweep: {
        everyMs: objects.sweep,
        prefixes: rules.flatMap(({ name, to, sweep }) => sweep.map((prefix) => ({ store: name, to, prefix }))),
      },
      async copied() {
        const [row] = await query(
          `select (phase = 'stream' and converge_lsn <> '0/0' and commit_lsn >= converge_lsn)::text from rekey.checkpoint where pipeline = $1`, [config.pipeline])
        return row?.[0] === 'true'
      },
      async tidy() {
        let aborted = 0
        for (const name of new Set(rules.map(({ to }) => to))) {
          const options = { prefix: '', before: Date.now() - ABANDONED_MS,
            ours: (keys: readonly string[]) => jobs.notes.withoutUpload(name, keys), signal }
          aborted += await abandonedUploads(stores.destination(name), options)
        }
        return aborted
      },
      onSeen: (seen) => run.meter.objects({ ...seen, inFlightLimit: (threads ?? stores).inFlightLimit() }), onNote: run.events.note,
    }, signal)
  } catch (error) {
    run.meter.failed('mirror', error)
    throw error
  } finally {
    await threads?.close()
    stores.close()
    await Promise.all([session.close(), record.close()])
  }
}

/** The same jobs; what became of them is told when it is recorded. */
function told(jobs: ObjectJobs, meter: MirrorRun['meter']): ObjectJobs {
  return {
    ...jobs,
    async settle(results) {
      await jobs.settle(results)
      meter.settled(results.map(({ result }) => result))
    },
  }
}
