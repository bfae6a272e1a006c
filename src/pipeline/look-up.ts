import { openSession, type SqlSession } from '../../connectors/postgres/session.ts'
import { findDecisions, findIds, parkedUnder, rememberedSource } from '../../connectors/postgres-destination/lookup.ts'
import { destinationState } from '../../connectors/postgres-destination/state.ts'
import { readCatalog } from '../prepare/catalog.ts'
import { every, sleep } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { readMapping } from '../config/mapping-files.ts'
import { catalogOf, type Catalog } from '../core/catalog.ts'
import { compileMapping } from '../core/compile/compile.ts'
import { RekeyError } from '../core/errors.ts'
import type { Mapping } from '../core/mapping.ts'
import type { Decision } from '../core/plan.ts'
import type { Minters } from '../core/program.ts'
import type { Asked, Entries } from '../id-map/id-answers.ts'
import type { IdMapEvents } from '../meter.ts'
import { mintersFor } from '../planning/mint.ts'
import type { IdCache } from '../ports.ts'
import type { ResolverFacts } from '../id-map/resolver.ts'
import { openCache } from './id-map.ts'
import type { Opened } from './open.ts'
import { rowsThere } from './rows-there.ts'

const SILENT: IdMapEvents = { looked() {}, corrected() {}, refilled() {}, copyAnswers() {} }

/** One question, with everything open: copy and ledger are both asked, the ledger is right, and the copy is corrected. */
export async function lookedUp<T>(opened: Opened, work: (asked: Asked) => Promise<T>): Promise<T> {
  const { config, destination, mapping, minters } = opened
  const state = destinationState(destination.query, config.pipeline)
  const begun = (await state.checkpoint()) !== null
  const cache = begun ? await openCache(opened, { fills: false, events: SILENT }) : null
  const end = performance.now() + (config.redis?.timeout ?? 0)
  while (cache && (await cache.state()) !== 'full' && performance.now() < end) await sleep(10)
  const find: Entries['find'] = async (entity, key) => {
    const [cached, entry] = [(await cache?.find(entity, [key]))?.entries.get(key), await state.find(entity, key)]
    if (cache && cached && !isSame(cached, entry)) await cache.drop(entity, [key])
    return entry
  }
  try {
    return await work({ mapping, minters, entries: { find, findId: (id) => state.findId(id) } })
  } finally {
    await cache?.close()
  }
}

/** The ledger of a pipeline for many questions, with the copy of it first where there is one. The source is not needed. */
export interface LookUp {
  readonly mapping: Mapping
  readonly minters: Minters
  readonly facts: ResolverFacts
  close(): Promise<void>
}

/** How often it is asked whether the copy can be asked. */
const LOOK_MS = 1_000

/** Rejects with CONFIG when the pipeline never ran. */
export async function openLookUp(config: Config, events: IdMapEvents): Promise<LookUp> {
  const destination = await openSession(config.destination.url, 'destination')
  try {
    const begun = (await destinationState(destination.query, config.pipeline).checkpoint()) !== null
    const source = begun ? await rememberedSource(destination.query, config.pipeline) : null
    const hint = 'Start `rekey run` first.'
    if (source === null) throw new RekeyError('CONFIG', `the pipeline ${config.pipeline} has carried nothing yet`, { hint })
    const catalogs = { source: catalogOf(source), destination: await readCatalog(destination.objects) }
    const { mapping } = compileMapping((await readMapping(config.mapping)).source, catalogs.source, catalogs.destination)
    const cache = await openCache({ config, destination }, { fills: false, events })
    const stopLooking = cache ? every(LOOK_MS, () => void cache.state()) : () => {}
    const minters = mintersFor(mapping, config, catalogs.source)
    return {
      mapping, minters, facts: factsOf({ config, destination, catalog: catalogs.destination, mapping, cache, events }),
      async close() {
        stopLooking()
        await cache?.close()
        await destination.close()
      },
    }
  } catch (error) {
    await destination.close()
    throw error
  }
}

interface Sources {
  readonly config: Config
  readonly destination: SqlSession
  readonly catalog: Catalog
  readonly mapping: Mapping
  readonly cache: IdCache | null
  readonly events: IdMapEvents
}

function factsOf({ config: { pipeline }, destination: { query }, catalog, mapping, cache, events }: Sources): ResolverFacts {
  const ask = async (entity: string, key: string): Promise<Decision | null> => {
    const entry = (await findDecisions(query, pipeline, entity, [key])).get(key) ?? null
    events.looked('ledger', 1, entry ? 1 : 0)
    return entry
  }
  let comparing = false
  /** An answer of the copy is given at once and compared afterwards, one at a time: who waits does not wait for that. */
  const compare = async (cached: Decision): Promise<void> => {
    comparing = true
    try {
      if (isSame(cached, await ask(cached.entity, cached.key))) return
      events.corrected(cached.entity, 1)
      await cache!.drop(cached.entity, [cached.key])
    } catch {
      // The ledger does not answer: it is compared another time.
    } finally {
      comparing = false
    }
  }
  return {
    async find(entity, key) {
      if (!cache) return ask(entity, key)
      const { entries, learn } = await cache.find(entity, [key])
      const cached = entries.get(key)
      events.looked('redis', 1, cached ? 1 : 0)
      if (cached) {
        if (!comparing) void compare(cached)
        return cached
      }
      const entry = await ask(entity, key)
      if (entry) learn([entry])
      return entry
    },
    findId: (id) => findIds(query, pipeline, [id]),
    hasRow: async (entity, id) => (await rowsThere({ query, mapping, catalog }, entity, [id]))[0],
    parked: (table, key) => parkedUnder(query, pipeline, { table, key }),
  }
}

function isSame(a: Decision, b: Decision | null): boolean {
  return b !== null && a.id === b.id && a.kind === b.kind
}
