import { createHmac } from 'node:crypto'
import { findDecisions, ledgerLife, ledgerPage } from '../../connectors/postgres-destination/lookup.ts'
import { keyPage } from '../../connectors/postgres-source/keys.ts'
import type { RedisCache } from '../../connectors/redis/cache.ts'
import { sleep } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { keepCache } from '../id-map/keep-cache.ts'
import type { IdMapEvents } from '../meter.ts'
import type { Destination, IdMap } from '../ports.ts'
import { readThrough } from '../id-map/read-through.ts'
import { keepPairs, recordCommitted } from '../id-map/record-pairs.ts'
import type { Bridge, LedgerCopy } from './bridge.ts'
import type { Opened } from './open.ts'
import { rowsThere } from './rows-there.ts'

interface Writer {
  readonly destination: Destination
  readonly idMap: IdMap
}

/** Null when the ledger alone is asked. The ledger must be there. */
export async function openLedgerCopy({ opened, events, meter }: Bridge): Promise<LedgerCopy | null> {
  const { config, destination: { query } } = opened
  const cache = await openCache(opened, { fills: true, events: meter })
  if (cache === null) return null
  const stop = new AbortController()
  const keeping = keepCache({
    cache, everyMs: config.redis!.compare, pause: sleep, events: meter, note: events.note,
    page: (after, limit) => ledgerPage(query, config.pipeline, { after, limit }),
    find: (entity, keys) => findDecisions(query, config.pipeline, entity, keys),
  }, stop.signal)
  // Awaited at the end; until then it must not count as unhandled.
  keeping.catch(() => {})
  return {
    cache,
    async close() {
      stop.abort()
      await keeping.finally(() => cache.close())
    },
  }
}

/** The copy in Redis, if there is one by the configuration and a ledger to be copied. */
export async function openCache({ config, destination }: Pick<Opened, 'config' | 'destination'>,
  { fills, events }: { readonly fills: boolean; readonly events: IdMapEvents }): Promise<RedisCache | null> {
  const { redis, idMap, pipeline } = config
  if (idMap !== 'redis' || redis === undefined) return null
  const life = await ledgerLife(destination.query, pipeline)
  if (life === null) return null
  // A client library is loaded where it is used: a command should not wait for those of others.
  const { redisCache } = await import('../../connectors/redis/cache.ts')
  return redisCache({
    url: redis.url, ca: redis.ca, prefix: redis.prefix, pipeline, timeoutMs: redis.timeout, generation: life, key: cacheKey(config, life), fills,
    onForeign: (entity) => events.corrected(entity, 1), onSure: (sure) => events.copyAnswers(sure),
  })
}

/** Key of the entries of one life of a ledger. */
export function cacheKey({ secret, deployment, pipeline }: Pick<Config, 'secret' | 'deployment' | 'pipeline'>, life: string): Buffer {
  return createHmac('sha256', secret).update(`rekey/copy of the ledger\0${deployment}\0${pipeline}\0${life}`).digest()
}

/** What stream and copy of one writer work with. `reads`: what the copy says is used, and proven by the ledger with the plan. */
export function throughCopy({ copy, meter }: Bridge, { destination, idMap }: Writer, reads: boolean): Writer {
  if (!copy) return { destination, idMap: counted(idMap, meter) }
  return readThrough({ destination, idMap, cache: copy.cache, events: meter, reads })
}

function counted(idMap: IdMap, meter: IdMapEvents): IdMap {
  return {
    ...idMap,
    async find(entity, keys) {
      const found = await idMap.find(entity, keys)
      meter.looked('ledger', keys.length, found.size)
      return found
    },
  }
}

interface Recording {
  readonly committed: ReturnType<typeof recordCommitted>
}

/** For `record: all`: what is committed from here on is recorded, and what was before, beside it. Null otherwise. */
export function recordPairs({ copy, opened, events }: Bridge, signal: AbortSignal): Recording | null {
  const { config, mapping, minters, catalogs, source, destination } = opened
  if (!copy || config.redis!.record !== 'all') return null
  const { shelf } = copy.cache
  const keeping = keepPairs({
    shelf, mapping, minters, note: events.note, pause: sleep,
    page: (entity, after, limit) => keyPage(source.query, entity, { catalog: catalogs.source, after, limit }),
    there: (entity, ids) => rowsThere({ query: destination.query, mapping, catalog: catalogs.destination }, entity, ids),
  }, signal)
  // A defect in it stops what is beside the stream, and nothing else.
  const stopped = (error: Error): string => `computed pairs are not recorded any more (${error.name})`
  keeping.catch((error: Error) => events.note({ level: 'warn', event: 'idmap', text: stopped(error) }))
  return { committed: recordCommitted({ shelf, mapping, minters }) }
}
