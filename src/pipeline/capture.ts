import { encoder } from '../../connectors/kafka/encode.ts'
import { epochOf } from '../../connectors/kafka/header.ts'
import { kafkaAppends } from '../../connectors/kafka/log.ts'
import { spread } from '../../connectors/kafka/spread.ts'
import { readTopic, type TopicWish } from '../../connectors/kafka/topics.ts'
import { openSession, type SqlSession } from '../../connectors/postgres/session.ts'
import { publicationWatch } from '../../connectors/postgres-source/publication.ts'
import { freeSlot, readSlot } from '../../connectors/postgres-source/slot.ts'
import { openSource } from '../../connectors/postgres-source/source.ts'
import { capture } from '../capture.ts'
import { readCatalog } from '../prepare/catalog.ts'
import { every, sleep } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { readMapping } from '../config/mapping-files.ts'
import { tableOf, type Catalog } from '../core/catalog.ts'
import { RekeyError } from '../core/errors.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Checkpoint } from '../core/plan.ts'
import { rootsOf } from '../core/roots.ts'
import { type Route, router } from '../core/route.ts'
import { judgeSlot, type SlotState } from '../core/slot-health.ts'
import type { Point } from '../failpoint.ts'
import { allOf, type Meter } from '../meter.ts'
import type { Note } from '../progress.ts'
import { version } from '../version.ts'
import { startHeartbeat } from './heartbeat.ts'
import { clientOf, kafkaOf, prefixOf, topicOf } from './kafka-log.ts'
import { namesOf } from './open.ts'
import { again, passes } from './retry.ts'
import { tablesOf } from './table-topics.ts'

export interface CaptureRole {
  readonly config: Config
  readonly meter: Pick<Meter, 'capturing' | 'read' | 'failed' | 'waiting'>
  /** Has the source asked how it is, over this session. */
  readonly watch: (session: SqlSession) => Partial<Meter>
  readonly note: (note: Note) => void
  readonly point: Point
  readonly takeover: boolean
}

/**
 * From the slot to the topic, until the signal aborts; knows nothing of the destination. The slot is made by whoever begins the run: until
 * then it is waited for. Servers that go away are waited for. Resolves when everything that was read is in the topic. Rejects with RekeyError.
 */
export async function runCapture(role: CaptureRole, signal: AbortSignal): Promise<void> {
  const session = await openSession(role.config.source.url, 'source')
  const watching = role.watch(session)
  const meter = allOf([role.meter, watching])
  try {
    let begun = false
    const seen: Seen = { topicId: null }
    await again({
      retry: role.config.retry, signal, mayPass: (error) => begun && (signal.aborted || passes(error)),
      waits(error) {
        meter.waiting(error)
        role.note({ level: 'warn', event: 'restart', text: `capture begins again where the slot is: ${error.message}` })
      },
    }, async () => {
      const catalog = await readCatalog(session.objects)
      const state = await slotOf(role, { catalog, known: begun }, signal)
      if (state === null) return
      begun = true
      meter.capturing(state.confirmed)
      await captureOnce(role, { session, catalog, state, seen }, signal)
    })
  } finally {
    watching.stop?.()
    await session.close()
  }
}

/** The slot when it can be read; null when the signal came first. Rejects with what makes it unreadable. */
async function slotOf({ config, note, takeover }: CaptureRole, { catalog, known }: { catalog: Catalog; known: boolean }, signal: AbortSignal):
Promise<(SlotState & { readonly confirmed: Lsn }) | null> {
  const { slot: name } = namesOf(config)
  if (takeover && !known) await freeSlot(config.source.url, name)
  for (let tries = 0, told = false; !signal.aborted; await sleep(250, signal)) {
    const state = await readSlot(config.source.url, name)
    const health = judgeSlot(state, { endLsn: null, sourceSystem: state.systemId, sourceTimeline: state.timeline, database: catalog.database })
    if (health.state === 'ok') return { ...state, confirmed: state.slot!.confirmedLsn! }
    // While a slot is being made, it has an owner and nothing to begin with.
    const making = state.slot !== null && state.slot.activePid !== null && state.slot.confirmedLsn === null
    if ((health.state === 'missing' || making) && !known) {
      if (!told) note({ level: 'info', event: 'waiting', text: `waits for slot ${name}, which \`rekey run --role deliver\` makes` })
      told = true
    // The walsender of a reader that was killed needs a moment to notice.
    } else if (health.state !== 'in use' || ++tries >= 20) throw new RekeyError(health.code, health.message)
  }
  return null
}

interface Seen {
  /** Of the topic that this process has written to. */
  topicId: string | null
}

interface Reading {
  readonly seen: Seen
  readonly session: SqlSession
  readonly catalog: Catalog
  readonly state: SlotState & { readonly confirmed: Lsn }
}

async function captureOnce({ config, meter, note, point }: CaptureRole, { session, catalog, state, seen }: Reading, signal: AbortSignal): Promise<void> {
  const kafka = clientOf(kafkaOf(config))
  const topic = topicOf(config)
  await sameTopic(kafka, { topic, seen })
  const { batch, compression, codec } = kafkaOf(config)
  const encode = encoder({
    name: prefixOf(config), database: catalog.database, version: version(), epoch: epochOf({ ...state, pipeline: config.pipeline }),
    primaryKey: (relation) => tableOf(catalog, relation)?.primaryKey?.columns ?? [], partBytes: batch >> 1, now: Date.now,
  })
  const route = await routeOf(config, catalog)
  const log = kafkaAppends({
    kafka, topic: topic.topic, batchBytes: batch, compression, codec, from: state.confirmed, tables: await tablesOf(config, { session, catalog, note }), encode,
    ...(route ? { spread: spread({ ...route, encode, from: state.confirmed }) } : {}),
  })
  const open = openSource({ url: config.source.url, ...namesOf(config), epoch: 0, queueBytes: config.memory.transaction })
  const stop = new AbortController()
  const ended = AbortSignal.any([signal, stop.signal])
  const beat = startHeartbeat(session, { marker: null, everyMs: config.heartbeat, signal: ended, look: publicationWatch(session.objects, namesOf(config).publication) })
  const tasks = [
    // What the brokers have is safe, so the slot need not keep it.
    capture({ source: open.source, log, after: state.confirmed - 1n, retainMs: 0, onRead: meter.read, point, now: () => performance.now(), every }, ended),
    beat.done,
  ]
  try {
    await Promise.all(tasks)
  } catch (error) {
    meter.failed('decode', error)
    throw error
  } finally {
    stop.abort()
    await Promise.allSettled(tasks)
    await log.close()
    await open.close()
  }
}

/** What this process has written may be gone with the topic that it wrote to: who delivers can tell, at its start. */
async function sameTopic(kafka: ReturnType<typeof clientOf>, { topic, seen }: { readonly topic: TopicWish; readonly seen: Seen }): Promise<void> {
  const found = await readTopic(kafka, topic)
  if (found === null) throw new RekeyError('LOG_TOPIC', `there is no topic ${topic.topic}`)
  if (seen.topicId !== null && found.id !== null && found.id !== seen.topicId) {
    const hint = 'Start deliver, which says whether something is missing, then capture.'
    throw new RekeyError('LOG_TOPIC', `topic ${topic.topic} was deleted and made anew under way (its id is ${found.id}, and was ${seen.topicId})`, { hint })
  }
  seen.topicId = found.id ?? seen.topicId
}

/** Null where one partition has everything. Rejects with MAPPING when the mapping does not say where a row belongs. */
async function routeOf(config: Config, catalog: Catalog): Promise<{ readonly route: Route; readonly partitions: number } | null> {
  const { partitions } = kafkaOf(config)
  if (partitions === 1) return null
  const { source } = await readMapping(config.mapping)
  const { roots, problems } = rootsOf(source, catalog)
  if (problems.length > 0) throw new RekeyError('MAPPING', problems.map((p) => `${p.where}: ${p.message}`).join('\n'))
  return { route: router(roots, partitions), partitions }
}

/** What a capture that has ended says of itself: it has applied nothing. */
export function capturedUpTo(commitLsn: Lsn): Checkpoint {
  return {
    epoch: 0, commitLsn, endLsn: commitLsn, convergeLsn: 0n, phase: 'stream', totals: {}, mappingDigest: '', sourceSystem: '', sourceTimeline: 0,
  }
}
