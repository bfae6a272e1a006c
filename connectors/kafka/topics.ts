import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, ConfigResourceTypes, ITopicConfig, Kafka } from 'kafkajs'
import { RekeyError } from '../../src/core/errors.ts'
import { type TopicFacts, topicProblems, topicSettings, type TopicWish } from '../../src/core/topic.ts'
import { kafkaError, withAdmin } from './client.ts'
import { topicId } from './topic-id.ts'

export type { TopicWish } from '../../src/core/topic.ts'

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

export interface TopicState {
  /** Another one when a topic of this name was deleted and made anew; null where it cannot be known, see topic-id.ts. */
  readonly id: string | null
  /** The offset of the oldest record, and that behind the newest. */
  readonly low: bigint
  readonly high: bigint
  /** The same of each partition, in order; `low` and `high` are those of the first. */
  readonly partitions: readonly { readonly low: bigint; readonly high: bigint }[]
}

/** Its records, or null when there is no such topic. Rejects with LOG_TOPIC when it would lose records or mix their order. */
export function readTopic(kafka: Kafka, wish: TopicWish): Promise<TopicState | null> {
  return withAdmin(kafka, `read topic ${wish.topic}`, async (admin) => {
    const facts = await describeTopic({ kafka, admin }, wish.topic)
    if (!facts) return null
    const problems = topicProblems(wish, facts).map(({ message }) => message)
    if (problems.length > 0) throw new RekeyError('LOG_TOPIC', `topic ${wish.topic}: ${problems.join('; ')}`)
    const offsets = [...(await admin.fetchTopicOffsets(wish.topic))].sort((a, b) => a.partition - b.partition)
    const partitions = offsets.map(({ low, high }) => ({ low: BigInt(low), high: BigInt(high) }))
    return { id: facts.id, ...partitions[0], partitions }
  })
}

/** Null when there is no such topic. Rejects with RekeyError. */
export async function describeTopic({ kafka, admin }: { readonly kafka: Kafka; readonly admin: Admin }, topic: string): Promise<TopicFacts | null> {
  const doing = `read topic ${topic}`
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] }).catch((error: unknown) => {
    const failed = kafkaError(error, doing)
    if (failed.code === 'LOG_TOPIC') return { topics: [] }
    throw failed
  })
  const found = topics.find((one) => one.name === topic)
  if (!found) return null
  const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: TOPIC, name: topic }] })
  return {
    id: await topicId(kafka, topic),
    partitions: found.partitions.length,
    replicas: Math.min(...found.partitions.map((one) => one.replicas.length)),
    leaderless: found.partitions.filter((one) => one.leader < 0).length,
    settings: new Map(resources.flatMap((one) => one.configEntries.map((entry) => [entry.configName, entry.configValue]))),
  }
}

const KNOWN_TRIES = 200
const KNOWN_EVERY_MS = 50

/** Makes the topic if there is none. Resolves with false when there was one. Rejects with LOG_TOPIC, PRIVILEGE. */
export function makeTopic(kafka: Kafka, wish: TopicWish): Promise<boolean> {
  return withAdmin(kafka, `make topic ${wish.topic}`, async (admin) => makeServed(admin, [newTopic(wish, (await admin.describeCluster()).brokers.length)]))
}

/**
 * Makes topics, and waits until they can be written and read. Resolves with false when one of them was there. Brokers hear of a topic a moment after the
 * controller has made it; until then they know of none, or do not lead it, and the library, which would wait by itself (`waitForLeaders`), gives up.
 */
export async function makeServed(admin: Admin, topics: ITopicConfig[]): Promise<boolean> {
  if (!(await admin.createTopics({ waitForLeaders: false, topics }))) return false
  const isServed = (topic: string): Promise<boolean> => admin.fetchTopicOffsets(topic).then(() => true, (error: unknown) => {
    if ((error as { retriable?: unknown }).retriable === true) return false
    throw error
  })
  let waiting = topics.map(({ topic }) => topic)
  for (let tries = 0; tries < KNOWN_TRIES; tries++) {
    const served = await Promise.all(waiting.map(isServed))
    waiting = waiting.filter((_, i) => !served[i])
    if (waiting.length === 0) return true
    await sleep(KNOWN_EVERY_MS)
  }
  throw new RekeyError('REMOTE', `topic ${waiting[0]} was made, but no broker serves it yet`)
}

/** How the topic is made. */
export function newTopic(wish: TopicWish, brokers: number): ITopicConfig {
  const copies = wish.replication ?? Math.min(3, brokers)
  const configEntries = [...topicSettings(wish, copies)].map(([name, value]) => ({ name, value }))
  return { topic: wish.topic, numPartitions: wish.partitions ?? 1, replicationFactor: copies, configEntries }
}
