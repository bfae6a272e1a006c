import { type ClientOptions, openClient } from '../../connectors/kafka/client.ts'
import { epochOf } from '../../connectors/kafka/header.ts'
import { kafkaReads, type ReadOptions } from '../../connectors/kafka/log.ts'
import { allParts } from '../../connectors/kafka/part-logs.ts'
import { letterTopic, makeLetterTopic } from '../../connectors/kafka/dead-letters.ts'
import { holdsFrom } from '../../connectors/kafka/first-records.ts'
import { readerGroup } from '../../connectors/kafka/groups.ts'
import { makeTableTopics, tableTopics, type TableTopicsWish } from '../../connectors/kafka/table-topics.ts'
import { topicId } from '../../connectors/kafka/topic-id.ts'
import { changesTopic, makeTopic, readTopic, type TopicState, type TopicWish } from '../../connectors/kafka/topics.ts'
import { isKept, keepLetter } from '../../connectors/postgres-destination/dead-letters.ts'
import { notedTopicId, noteTopicId, noteTopics } from '../../connectors/postgres-destination/made-topics.ts'
import type { Config } from '../config/config.ts'
import { RekeyError } from '../core/errors.ts'
import { formatLsn, type Lsn } from '../core/lsn.ts'
import type { Checkpoint } from '../core/plan.ts'
import { relationsOf } from '../core/relations.ts'
import type { ChangeLog } from '../ports.ts'
import type { Bridge } from './bridge.ts'
import { capturedTables, type Opened } from './open.ts'

export type KafkaConfig = NonNullable<Config['kafka']>

export function kafkaOf(config: Config): KafkaConfig {
  if (!config.kafka) throw new RekeyError('CONFIG', 'log: kafka needs kafka: { brokers: [...] }')
  return config.kafka
}

export function clientOf({ brokers, ssl, sasl, codec }: KafkaConfig): ReturnType<typeof openClient> {
  const files: ClientOptions['ssl'] = ssl === true ? { ca: null, cert: null, key: null } : ssl === false ? null : ssl
  return openClient({ brokers, ssl: files, sasl: sasl ?? null, codec })
}

export function prefixOf(config: Config): string {
  return kafkaOf(config).prefix ?? config.pipeline
}

export function topicOf(config: Config): TopicWish {
  const { batch, replication, partitions } = kafkaOf(config)
  return { topic: changesTopic(prefixOf(config)), batchBytes: batch, replication: replication ?? null, partitions }
}

/** What is wished of the topics of tables; null where none are wanted. */
export function tableTopicsOf({ config, mapping }: Pick<Opened, 'config' | 'mapping'>): TableTopicsWish | null {
  const { topics, batch, replication } = kafkaOf(config)
  if (topics !== 'per-table') return null
  return { prefix: prefixOf(config), tables: capturedTables(mapping), replication: replication ?? null, batchBytes: batch }
}

/** The names of all topics that a run writes to. */
export function topicsUsed(opened: Pick<Opened, 'config' | 'mapping'>): string[] {
  const tables = tableTopicsOf(opened)
  const { deadLetterTopic } = kafkaOf(opened.config)
  return [topicOf(opened.config).topic, ...(tables ? tableTopics(tables) : []), ...(deadLetterTopic === undefined ? [] : [deadLetterTopic])]
}

/** Makes the topics of a run that begins, or takes those that are there: what they hold of earlier runs is older than the new slot. */
export async function beginTopics({ opened }: Bridge): Promise<void> {
  const { config } = opened
  const kafka = clientOf(kafkaOf(config))
  const state = await readTopic(kafka, topicOf(config))
  if (state === null) await makeNoted(opened, () => makeTopic(kafka, topicOf(config)))
  await noteId(opened, state?.id ?? (await topicId(kafka, topicOf(config).topic)))
  await beginOthers(opened)
}

async function noteId({ config, destination }: Opened, id: string | null): Promise<void> {
  if (id !== null) await noteTopicId(destination.query, config.pipeline, { topic: topicOf(config).topic, id })
}

async function makeNoted({ config, destination }: Opened, make: () => Promise<boolean>, topic = topicOf(config).topic): Promise<void> {
  if (await make()) await noteTopics(destination.query, config.pipeline, [topic])
}

/** Topics that are not read here. */
async function beginOthers(opened: Opened): Promise<void> {
  const { deadLetterTopic, replication } = kafkaOf(opened.config)
  if (deadLetterTopic !== undefined) await makeNoted(opened, () => makeLetterTopic(clientOf(kafkaOf(opened.config)), deadLetterTopic, replication ?? null), deadLetterTopic)
  await beginTableTopics(opened)
}

/** Capture would make them, too, and could not note them: it knows nothing of the destination. */
async function beginTableTopics(opened: Opened): Promise<void> {
  const wish = tableTopicsOf(opened)
  if (!wish) return
  const { made } = await makeTableTopics(clientOf(kafkaOf(opened.config)), wish)
  await noteTopics(opened.destination.query, opened.config.pipeline, made)
}

/**
 * May the topic still hold what the slot has let go of and the destination has not? One that is gone or empty does not; one that was made anew
 * does if its first records say so. LOG_GAP then names what is missing; when nothing is, a topic that is gone is made again, and another one is
 * taken. A hole in a topic that has records is found by reading it.
 */
export async function judgeTopic({ opened, events }: Bridge, { endLsn }: Checkpoint, confirmed: Lsn): Promise<void> {
  const { config, destination: { query } } = opened
  await beginOthers(opened)
  const kafka = clientOf(kafkaOf(config))
  const wish = topicOf(config)
  const state = await readTopic(kafka, wish)
  const known = await notedTopicId(query, config.pipeline, wish.topic)
  const isOther = known !== null && state !== null && state.id !== null && state.id !== known
  if (confirmed > endLsn) {
    const what = await lossOf(opened, { state, isOther, endLsn })
    if (what !== null) {
      throw new RekeyError('LOG_GAP', `topic ${wish.topic} ${what}; what the source committed from ${formatLsn(endLsn)} to ${formatLsn(confirmed)} cannot be read`)
    }
  }
  const warn = (text: string): void => events.note({ level: 'warn', event: 'topic', text: `topic ${wish.topic} ${text}` })
  if (state === null) {
    await makeNoted(opened, () => makeTopic(kafka, wish))
    warn('was gone and is made again; nothing of it was missing')
  } else if (isOther) warn(`was deleted and made anew (its id is ${state.id}, and was ${known}); nothing of it was missing`)
  const id = state === null ? await topicId(kafka, wish.topic) : state.id
  if (id === null) events.note({ level: 'info', event: 'topic', text: `the id of topic ${wish.topic} is not known here; should it be made anew, its records tell` })
  await noteId(opened, id)
}

interface Judged {
  readonly state: TopicState | null
  readonly isOther: boolean
  readonly endLsn: Lsn
}

/** What happened to a topic that does not have everything behind this LSN; null for one that may have. */
async function lossOf({ config }: Opened, { state, isOther, endLsn }: Judged): Promise<string | null> {
  if (state === null) return 'is gone'
  if (state.low === state.high) return isOther ? 'was deleted and made anew, and is empty' : 'is empty'
  if (!isOther) return null
  if (state.partitions.some(({ low, high }) => low === high)) return 'was deleted and made anew'
  const { topic, partitions = 1 } = topicOf(config)
  const complete = kafkaOf(config).format !== 'debezium' && await holdsFrom(clientOf(kafkaOf(config)), { topic, partitions, group: readerGroup(prefixOf(config)) }, endLsn)
  return complete ? null : 'was deleted and made anew'
}

/** What the topic has behind the checkpoint. */
export function readsFromKafka(bridge: Bridge, checkpoint: Checkpoint): Pick<ChangeLog, 'read' | 'ack'> {
  const options = readOptions(bridge, checkpoint)
  const { partitions } = kafkaOf(bridge.opened.config)
  if (partitions === 1) return kafkaReads({ ...options, start: checkpoint })
  return allParts(options, Array.from({ length: partitions }, (_, partition) => ({ partition, start: checkpoint, offset: 0n })))
}

/** What all readers of a pipeline's topic have in common. */
export function readOptions({ opened, meter, events }: Pick<Bridge, 'opened' | 'meter' | 'events'>, checkpoint: Checkpoint): Omit<ReadOptions, 'start'> {
  const { config, mapping, catalogs } = opened
  const { foreign, format, keepsNulls } = kafkaOf(config)
  return {
    kafka: clientOf(kafkaOf(config)), topic: topicOf(config), group: readerGroup(prefixOf(config)), number: checkpoint.epoch,
    epoch: epochOf({ systemId: checkpoint.sourceSystem, timeline: checkpoint.sourceTimeline, pipeline: config.pipeline }),
    relations: relationsOf(catalogs.source, mapping), maxBytes: config.memory.queue, onRead: meter.consumed,
    debezium: format === 'debezium' ? { keepsNulls } : null,
    deadLetter: foreign === 'stop' ? null : deadLetters({ opened, meter, events }),
  }
}

/** Keeps what cannot be read, in the destination and, where that is wanted, in a topic for others. */
function deadLetters({ opened: { config, destination: { query } }, meter, events }: Pick<Bridge, 'opened' | 'meter' | 'events'>): NonNullable<ReadOptions['deadLetter']> {
  const { pipeline } = config
  const { deadLetterTopic } = kafkaOf(config)
  const put = deadLetterTopic === undefined ? null : letterTopic(clientOf(kafkaOf(config)), { topic: deadLetterTopic, pipeline })
  return async (letter) => {
    const headers = Object.entries(letter.headers ?? {}).flatMap(([name, value]) =>
      [value].flat().map((one) => [name, one === undefined ? '' : Buffer.from(one).toString('hex')]))
    if (put && !(await isKept(query, pipeline, letter))) await put(letter)
    await keepLetter(query, pipeline, { ...letter, headers: Object.fromEntries(headers) as Record<string, string> })
    meter.deadLetter()
    const where = `topic ${letter.topic}, partition ${letter.partition}, offset ${letter.offset}`
    events.note({ level: 'warn', event: 'dead-letter', text: `${where}: ${letter.reason}; it is kept in rekey.dead_letter` })
  }
}
