import { openSession, type SqlSession } from '../../connectors/postgres/session.ts'
import { destinationState, type DestinationState } from '../../connectors/postgres-destination/state.ts'
import { objectState, type ObjectState } from '../../connectors/postgres-destination/object-state.ts'
import { plannedKeys } from '../../connectors/postgres-destination/planned-keys.ts'
import { findDecisions, findIds, matchRows } from '../../connectors/postgres-destination/lookup.ts'
import { dropPublication, readPublication } from '../../connectors/postgres-source/publication.ts'
import { dropSlot, freeSlot, readSlot } from '../../connectors/postgres-source/slot.ts'
import { openSource } from '../../connectors/postgres-source/source.ts'
import { readCatalog } from '../prepare/catalog.ts'
import type { Config } from '../config/config.ts'
import { tableOf, type Catalog } from '../core/catalog.ts'
import type { KafkaFacts } from '../core/check/kafka.ts'
import type { RedisFacts } from '../core/check/redis.ts'
import { RekeyError } from '../core/errors.ts'
import { parseLsn, type Lsn } from '../core/lsn.ts'
import type { PlanFile } from '../core/plan-file.ts'
import { relationsOf } from '../core/relations.ts'
import type { SlotState } from '../core/slot-health.ts'
import { dryRun } from '../prepare/dryrun.ts'
import type { Asked } from '../id-map/id-answers.ts'
import type { TopicsRemoved } from './kafka-tools.ts'
import { lookedUp } from './look-up.ts'
import { namesOf, withDatabases, type Opened } from './open.ts'
import { changesAtSource } from './source-tables.ts'
import { openStores, type Stores } from './stores.ts'

export type { TopicsRemoved } from './kafka-tools.ts'
export type { ObjectState, StoredJob } from '../../connectors/postgres-destination/object-state.ts'
export type {
  ChunkState, DestinationState, ParkedCount, ParkedDecision, ParkedFilter, ParkedRow, ParkedState, StoredCheckpoint, WriterState,
} from '../../connectors/postgres-destination/state.ts'

/** Loaded where they are used. */
const kafkaTools = () => import('./kafka-tools.ts')
const redisTools = () => import('../../connectors/redis/facts.ts')

/** What a pipeline has at the source, read and removed beside a bridge that may be running. */
export interface SourceState {
  readonly slotName: string
  readonly publicationName: string
  /** Where the source's WAL ends now. */
  walEnd(): Promise<Lsn>
  slot(): Promise<SlotState>
  /** Ends a reader of the slot that is a rekey. */
  freeSlot(): Promise<void>
  dropSlot(): Promise<void>
  hasPublication(): Promise<boolean>
  dropPublication(): Promise<void>
  /** What has become of its tables since a run began that a person must know of: sentences. */
  changes(): Promise<readonly string[]>
}

/** Both ends of a pipeline for the verbs that look at it, decide and remove. */
export interface Operated {
  readonly opened: Opened
  readonly source: SourceState
  readonly destination: DestinationState
  /** Old and new ids: by the copy of the ledger where there is one, and by the ledger, which is right where they differ. */
  lookedUp<T>(work: (asked: Asked) => Promise<T>): Promise<T>
  /** What the server of the id map says of itself; null when it does not answer. Asked only when there is one. */
  redisFacts(): Promise<RedisFacts | null>
  /** Removes the copy of the ledger; null when its server does not answer. */
  removeCopy(): Promise<'removed' | 'not there' | null>
  /** What the brokers of the change log say. Throws CONFIG when there is none. */
  kafkaFacts(): Promise<KafkaFacts>
  /** Removes the topics that the pipeline has made, and its groups. Rejects with REMOTE when the brokers do not answer. */
  removeTopics(): Promise<TopicsRemoved>
  readonly objects: ObjectState
  /** Opens the stores of rekey.yaml for the length of the work. Rejects with CONFIG when the mapping carries no objects. */
  stores(): Promise<Stores>
}

export function operate<T>(config: Config, work: (operated: Operated) => Promise<T>): Promise<T> {
  return withDatabases(config, async (opened) => {
    const { slot, publication } = namesOf(config)
    const { url } = config.source
    const source: SourceState = {
      slotName: slot,
      publicationName: publication,
      async walEnd() {
        const sql = 'select (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end)::text'
        const [[lsn]] = await opened.source.query(sql)
        return parseLsn(lsn!)
      },
      slot: () => readSlot(url, slot),
      freeSlot: () => freeSlot(url, slot),
      dropSlot: () => dropSlot(url, slot),
      hasPublication: async () => (await readPublication(url, publication)) !== null,
      dropPublication: async () => void (await dropPublication(url, publication)),
      changes: () => changesAtSource(opened),
    }
    const { redis, pipeline, objects } = config
    const open: Stores[] = []
    try {
      return await work({
        opened, source, destination: destinationState(opened.destination.query, pipeline), objects: objectState(opened.destination.query, pipeline),
        lookedUp: (asking) => lookedUp(opened, asking),
        redisFacts: async () => (redis ? (await redisTools()).redisFacts(redis) : null),
        removeCopy: async () => (redis ? (await redisTools()).removeCopy(redis, { prefix: redis.prefix, pipeline }) : 'not there'),
        kafkaFacts: async () => (await kafkaTools()).askBrokers(opened),
        removeTopics: async () => (await kafkaTools()).removeMade(opened),
        async stores() {
          if (!objects || opened.mapping.stores.size === 0) throw new RekeyError('CONFIG', 'the mapping carries no objects')
          open.push(await openStores(objects, opened.mapping.stores.values()))
          return open.at(-1)!
        },
      })
    } finally {
      open.forEach((stores) => stores.close())
    }
  })
}

export interface PlanOptions {
  readonly samples: number
  /** Called for each block of rows that was planned. */
  readonly onBlock: (table: string, rows: number) => void
}

/** The dry run against both databases: what a run would do now. Rejects with MAPPING for a mapping that does not fit; writes nothing. */
export async function planRun({ opened, destination, stores }: Pick<Operated, 'opened' | 'destination' | 'stores'>, options: PlanOptions): Promise<PlanFile> {
  const { config, mapping, minters, catalogs, problems } = opened
  const errors = problems.filter((p) => p.severity === 'error')
  if (errors.length > 0) throw new RekeyError('MAPPING', errors.map((p) => `${p.place} ${p.where}: ${p.message}`).join('\n'))
  const { query } = opened.destination
  const begun = (await destination.checkpoint()) !== null
  const { source, close } = openSource({ url: config.source.url, ...namesOf(config), epoch: 0, copyConnections: 1 })
  try {
    const asked = config.objects && mapping.stores.size > 0 ? await stores() : null
    return await dryRun({
      ...(asked ? { sizeOf: async (store: string, key: string) => (await asked.source(store).head({ key, version: null }))?.size ?? null } : {}),
      keys: plannedKeys(query, begun ? config.pipeline : null),
      mapping, minters, catalogs, ...options, relations: relationsOf(catalogs.source, mapping), read: source.read,
      copy: (table, columns) => source.copy({ table, index: 0, after: null, upTo: null }, columns),
      match: (question) => matchRows(query, question, tableOf(catalogs.destination, question.table)),
      idMap: {
        find: async (entity, keys) => (begun ? findDecisions(query, config.pipeline, entity, keys) : new Map()),
        findIds: async (ids) => (begun ? findIds(query, config.pipeline, ids) : []),
      },
    })
  } finally {
    await close()
  }
}

export interface Looked {
  readonly session: SqlSession
  readonly catalog: Catalog
}

/** Both databases by URL alone, for the time before there is a configuration. */
export async function look<T>(
  urls: { readonly source: string; readonly destination: string }, work: (at: { source: Looked; destination: Looked }) => Promise<T>,
): Promise<T> {
  const open: SqlSession[] = []
  const side = async (which: 'source' | 'destination'): Promise<Looked> => {
    const session = await openSession(urls[which], which)
    open.push(session)
    return { session, catalog: await readCatalog(session.objects) }
  }
  try {
    return await work({ source: await side('source'), destination: await side('destination') })
  } finally {
    await Promise.all(open.map((session) => session.close()))
  }
}
