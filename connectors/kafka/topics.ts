import type { Admin, ConfigResourceTypes, Kafka } from 'kafkajs'
import { RekeyError } from '../../src/core/errors.ts'
import { kafkaError, withAdmin } from './client.ts'

/** The protocol's number of this kind of resource; the library's own name of it is not exported to modules. */
export const TOPIC = 2 as ConfigResourceTypes

/** Kafka's longest name of a topic. */
const MAX_NAME = 249

/**
 * The topic of a pipeline: one partition, because one total order is what keeps foreign keys valid at every commit. A key per table or
 * row would keep the order of that table or row alone.
 */
export function changesTopic(prefix: string): string {
  return `${prefix}.changes`
}

/** Any text as a part of a topic's name: what is not allowed there becomes `_` (Debezium's AbstractTopicNamingStrategy). */
export function topicName(...parts: readonly string[]): string {
  return parts.join('.').replace(/[^A-Za-z0-9._-]/g, '_').slice(0, MAX_NAME)
}

export interface TopicWish {
  readonly topic: string
  /** A batch of this many bytes must be taken. */
  readonly batchBytes: number
  /** Null: as many as there are brokers, up to three. */
  readonly replication: number | null
  /** Default 1. It is what the topic is made with, and must be ever after. */
  readonly partitions?: number
}

export interface TopicState {
  /** The offset of the oldest record, and that behind the newest. */
  readonly low: bigint
  readonly high: bigint
  /** The same of each partition, in order; `low` and `high` are those of the first. */
  readonly partitions: readonly { readonly low: bigint; readonly high: bigint }[]
}

/** What a batch may be larger than its records by. */
const SLACK = 64 << 10

/** Its records, or null when there is no such topic. Rejects with LOG_TOPIC when it would lose records or mix their order. */
export function readTopic(kafka: Kafka, wish: TopicWish): Promise<TopicState | null> {
  return withAdmin(kafka, `read topic ${wish.topic}`, async (admin) => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [wish.topic] }).catch((error: unknown) => {
      const failed = kafkaError(error, `read topic ${wish.topic}`)
      if (failed.code === 'LOG_TOPIC') return { topics: [] }
      throw failed
    })
    const found = topics.find((one) => one.name === wish.topic)
    if (!found) return null
    const problems = [...partitionProblems(found.partitions.length, wish.partitions ?? 1), ...(await settingProblems(admin, wish))]
    if (problems.length > 0) throw new RekeyError('LOG_TOPIC', `topic ${wish.topic}: ${problems.join('; ')}`)
    const offsets = [...(await admin.fetchTopicOffsets(wish.topic))].sort((a, b) => a.partition - b.partition)
    const partitions = offsets.map(({ low, high }) => ({ low: BigInt(low), high: BigInt(high) }))
    return { ...partitions[0], partitions }
  })
}

function partitionProblems(partitions: number, wanted: number): string[] {
  if (partitions === wanted) return []
  return [wanted === 1 ? `it has ${partitions} partitions, of which one alone keeps the order` : `it has ${partitions} partitions and must have ${wanted}: rows have their places by that number`]
}

async function settingProblems(admin: Admin, { topic, batchBytes }: TopicWish): Promise<string[]> {
  const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: TOPIC, name: topic }] })
  const settings = new Map(resources.flatMap((one) => one.configEntries.map((entry) => [entry.configName, entry.configValue])))
  const wrong = (name: string, wanted: string): string[] =>
    settings.get(name) === wanted ? [] : [`its ${name} is ${settings.get(name)} and must be ${wanted}, or changes are removed before they are read`]
  const most = Number(settings.get('max.message.bytes'))
  return [
    ...wrong('cleanup.policy', 'delete'), ...wrong('retention.ms', '-1'), ...wrong('retention.bytes', '-1'),
    ...(most >= batchBytes + SLACK ? [] : [`its max.message.bytes is ${most}, less than kafka.batch needs (${batchBytes + SLACK})`]),
  ]
}

/** Makes the topic if there is none: it keeps everything until it is deleted. Rejects with LOG_TOPIC, PRIVILEGE. */
export function makeTopic(kafka: Kafka, { topic, batchBytes, replication, partitions = 1 }: TopicWish): Promise<void> {
  return withAdmin(kafka, `make topic ${topic}`, async (admin) => {
    const copies = replication ?? Math.min(3, (await admin.describeCluster()).brokers.length)
    const settings: Record<string, string> = {
      'cleanup.policy': 'delete', 'retention.ms': '-1', 'retention.bytes': '-1', 'max.message.bytes': String(Math.max(1_048_588, batchBytes + SLACK)),
      // An acknowledged record is then on two brokers at least, and one may be lost.
      ...(copies > 2 ? { 'min.insync.replicas': '2' } : {}),
    }
    const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
    await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: partitions, replicationFactor: copies, configEntries }] })
  })
}
