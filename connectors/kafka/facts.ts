import type { Admin, ConfigResourceTypes, ITopicConfig, Kafka } from 'kafkajs'
import type { AskedTopic, KafkaFacts, Refusal } from '../../src/core/check/kafka.ts'
import type { TopicWish } from '../../src/core/topic.ts'
import { kafkaError, withAdmin } from './client.ts'
import { isReader, newReader } from './groups.ts'
import { newTableTopic, tableTopics, type TableTopicsWish } from './table-topics.ts'
import { describeTopic, newTopic } from './topics.ts'

/** The protocol's number of this kind of resource. */
const BROKER = 4 as ConfigResourceTypes

export interface FactsWish {
  readonly changes: TopicWish
  /** Id of the topic of changes that was noted. */
  readonly knownId: string | null
  readonly tables: TableTopicsWish | null
  readonly group: string
}

/**
 * What brokers say of themselves and of the topics that a run would use. Nothing is made and nothing written: whether a topic could be made is asked
 * with the request's own `validate_only`, and whether we may write by asking for a producer's id. Rights to read and write one certain topic show only when it
 * is done.
 */
export async function kafkaFacts(open: () => Kafka, wish: FactsWish): Promise<KafkaFacts> {
  const nothing = { brokers: 0, requestBytes: null, topics: [], producer: null, group: null }
  try {
    const kafka = open()
    const facts = await withAdmin(kafka, 'connect to the brokers', (admin) => askAdmin({ kafka, admin }, wish))
    return { refusal: null, ...facts, producer: await refusalOf('begin a producer', () => beginProducer(kafka)) }
  } catch (error) {
    return { ...nothing, refusal: refusalFrom(error, 'connect to the brokers') }
  }
}

interface Asking {
  readonly kafka: Kafka
  readonly admin: Admin
}

async function askAdmin(asking: Asking, { changes, knownId, tables, group }: FactsWish): Promise<Omit<KafkaFacts, 'refusal' | 'producer'>> {
  const { admin } = asking
  const cluster = await admin.describeCluster()
  const brokers = cluster.brokers.length
  const topics = [await askTopic(asking, { wish: changes, kind: 'changes', knownId, made: newTopic(changes, brokers) })]
  for (const topic of tables ? tableTopics(tables) : []) {
    const wish = { topic, batchBytes: tables!.batchBytes, replication: tables!.replication }
    topics.push(await askTopic(asking, { wish, kind: 'table', knownId: null, made: newTableTopic(topic, wish, brokers) }))
  }
  return {
    brokers, topics, requestBytes: await requestBytes(admin, cluster.brokers.map((one) => String(one.nodeId))),
    group: await refusalOf(`use groups ${group}.*`, () => askGroup(admin, group)),
  }
}

async function askTopic(asking: Asking, { made, ...asked }: Pick<AskedTopic, 'wish' | 'kind' | 'knownId'> & { readonly made: ITopicConfig }): Promise<AskedTopic> {
  const { wish } = asked
  try {
    const facts = await describeTopic(asking, wish.topic)
    if (facts) return { ...asked, facts, refusal: null }
  } catch (error) {
    return { ...asked, facts: null, refusal: refusalFrom(error, `read topic ${wish.topic}`) }
  }
  const refusal = await refusalOf(`make topic ${wish.topic}`, () => asking.admin.createTopics({ validateOnly: true, waitForLeaders: false, topics: [made] }))
  return { ...asked, facts: null, refusal }
}

/** The smallest of the largest requests that brokers take; null where we may not ask. */
async function requestBytes(admin: Admin, nodes: readonly string[]): Promise<number | null> {
  try {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false, resources: nodes.map((name) => ({ type: BROKER, name, configNames: ['socket.request.max.bytes'] })) })
    const all = resources.flatMap((one) => one.configEntries.map((entry) => Number(entry.configValue))).filter((n) => n > 0)
    return all.length > 0 ? Math.min(...all) : null
  } catch {
    return null
  }
}

/** Asks as a reader would, and of groups of ours whether they may be looked at. */
async function askGroup(admin: Admin, group: string): Promise<void> {
  const { groups } = await admin.listGroups()
  const ours = groups.find(({ groupId }) => isReader(group, groupId))
  await admin.fetchOffsets({ groupId: ours?.groupId ?? newReader(group), topics: [] })
}

async function beginProducer(kafka: Kafka): Promise<void> {
  const producer = kafka.producer({ idempotent: true })
  try {
    await producer.connect()
  } finally {
    await producer.disconnect().catch(() => {})
  }
}

async function refusalOf(doing: string, work: () => Promise<unknown>): Promise<Refusal | null> {
  return work().then(() => null, (error: unknown) => refusalFrom(error, doing))
}

function refusalFrom(error: unknown, doing: string): Refusal {
  const { code, message } = kafkaError(error, doing)
  return { code, message }
}
