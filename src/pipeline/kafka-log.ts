import { type ClientOptions, openClient } from '../../connectors/kafka/client.ts'
import { epochOf } from '../../connectors/kafka/header.ts'
import { kafkaReads, type ReadOptions } from '../../connectors/kafka/log.ts'
import { allParts } from '../../connectors/kafka/part-logs.ts'
import { changesTopic, makeTopic, readTopic, type TopicWish } from '../../connectors/kafka/topics.ts'
import { keepLetter } from '../../connectors/postgres-destination/dead-letters.ts'
import type { Config } from '../config/config.ts'
import { RekeyError } from '../core/errors.ts'
import { formatLsn, type Lsn } from '../core/lsn.ts'
import type { Checkpoint } from '../core/plan.ts'
import { relationsOf } from '../core/relations.ts'
import type { ChangeLog } from '../ports.ts'
import type { Bridge } from './bridge.ts'

export type KafkaConfig = NonNullable<Config['kafka']>

export function kafkaOf(config: Config): KafkaConfig {
  if (!config.kafka) throw new RekeyError('CONFIG', 'log: kafka needs kafka: { brokers: [...] }')
  return config.kafka
}

export function clientOf({ brokers, ssl, sasl }: KafkaConfig): ReturnType<typeof openClient> {
  const files: ClientOptions['ssl'] = ssl === true ? { ca: null, cert: null, key: null } : ssl === false ? null : ssl
  return openClient({ brokers, ssl: files, sasl: sasl ?? null })
}

export function prefixOf(config: Config): string {
  return kafkaOf(config).prefix ?? config.pipeline
}

export function topicOf(config: Config): TopicWish {
  const { batch, replication, partitions } = kafkaOf(config)
  return { topic: changesTopic(prefixOf(config)), batchBytes: batch, replication: replication ?? null, partitions }
}

/** Makes the topic of a run that begins, or takes the one that is there: what it holds of earlier runs is older than the new slot. */
export async function beginTopic(config: Config): Promise<void> {
  const kafka = clientOf(kafkaOf(config))
  if ((await readTopic(kafka, topicOf(config))) === null) await makeTopic(kafka, topicOf(config))
}

/**
 * May the topic still hold what the slot has let go of and the destination has not? One that is gone or empty does not. LOG_GAP then names
 * what is missing; when nothing is, the topic is made again. A hole in a topic that has records is found by reading it.
 */
export async function judgeTopic({ opened: { config }, events }: Bridge, { endLsn }: Checkpoint, confirmed: Lsn): Promise<void> {
  const kafka = clientOf(kafkaOf(config))
  const wish = topicOf(config)
  const state = await readTopic(kafka, wish)
  if (state && state.low < state.high) return
  if (confirmed > endLsn) {
    const what = state ? 'is empty' : 'is gone'
    throw new RekeyError('LOG_GAP', `topic ${wish.topic} ${what}; what the source committed from ${formatLsn(endLsn)} to ${formatLsn(confirmed)} cannot be read`)
  }
  if (state) return
  await makeTopic(kafka, wish)
  events.note({ level: 'warn', event: 'topic', text: `topic ${wish.topic} was gone and is made again; nothing of it was missing` })
}

/** What the topic has behind the checkpoint. */
export function readsFromKafka(bridge: Bridge, checkpoint: Checkpoint): Pick<ChangeLog, 'read' | 'ack'> {
  const options = readOptions(bridge, checkpoint)
  return kafkaOf(bridge.opened.config).partitions > 1 ? allParts(options, checkpoint) : kafkaReads({ ...options, start: checkpoint })
}

/** What all readers of a pipeline's topic have in common. */
export function readOptions({ opened, meter, events }: Pick<Bridge, 'opened' | 'meter' | 'events'>, checkpoint: Checkpoint): Omit<ReadOptions, 'start'> {
  const { config, mapping, catalogs } = opened
  const { foreign, format, keepsNulls } = kafkaOf(config)
  return {
    kafka: clientOf(kafkaOf(config)), topic: topicOf(config), group: `${prefixOf(config)}.rekey`, number: checkpoint.epoch,
    epoch: epochOf({ systemId: checkpoint.sourceSystem, timeline: checkpoint.sourceTimeline, pipeline: config.pipeline }),
    relations: relationsOf(catalogs.source, mapping), maxBytes: config.memory.queue, onRead: meter.consumed,
    debezium: format === 'debezium' ? { keepsNulls } : null,
    deadLetter: foreign === 'stop' ? null : async (letter) => {
      const headers = Object.entries(letter.headers ?? {}).flatMap(([name, value]) =>
        [value].flat().map((one) => [name, one === undefined ? '' : Buffer.from(one).toString('hex')]))
      await keepLetter(opened.destination.query, config.pipeline, { ...letter, headers: Object.fromEntries(headers) as Record<string, string> })
      meter.deadLetter()
      const where = `topic ${letter.topic}, partition ${letter.partition}, offset ${letter.offset}`
      events.note({ level: 'warn', event: 'dead-letter', text: `${where}: ${letter.reason}; it is kept in rekey.dead_letter` })
    },
  }
}
