import type { Admin, ITopicConfig, Kafka } from 'kafkajs'
import { RekeyError } from '../../src/core/errors.ts'
import { nameOf, type TableName } from '../../src/core/relation.ts'
import { BATCH_SLACK } from '../../src/core/topic.ts'
import { withAdmin } from './client.ts'
import { tableTopic } from './table-records.ts'
import { makeServed, TOPIC } from './topics.ts'

export interface TableTopicsWish {
  readonly prefix: string
  readonly tables: readonly TableName[]
  readonly replication: number | null
  /** A batch of this many bytes must be taken. */
  readonly batchBytes: number
}

/** Records of tables are never cut, because other readers could not join them; below the largest request that a broker takes (100 MiB). */
const LARGEST = 64 << 20

/** The topics of these tables. Throws CONFIG for two tables that would share one. */
export function tableTopics({ prefix, tables }: Pick<TableTopicsWish, 'prefix' | 'tables'>): string[] {
  const topics = new Map<string, TableName>()
  for (const table of tables) {
    const topic = tableTopic(prefix, table)
    const other = topics.get(topic)
    if (other) throw new RekeyError('CONFIG', `${nameOf(other)} and ${nameOf(table)} would both go to topic ${topic}`)
    topics.set(topic, table)
  }
  return [...topics.keys()]
}

/**
 * Makes the topics of tables that have none: how long they keep records is the broker's default, for they are for others. Resolves with those
 * that it made, and the largest record that each takes. Rejects with CONFIG for two tables that would share a topic, and with LOG_TOPIC, PRIVILEGE.
 */
export async function makeTableTopics(kafka: Kafka, wish: TableTopicsWish): Promise<{ readonly made: readonly string[]; readonly limits: Map<string, number> }> {
  const names = tableTopics(wish)
  return withAdmin(kafka, 'make the topics of tables', async (admin) => {
    const there = new Set(await admin.listTopics())
    const missing = names.filter((topic) => !there.has(topic))
    if (missing.length > 0) {
      const brokers = (await admin.describeCluster()).brokers.length
      await makeServed(admin, missing.map((topic) => newTableTopic(topic, wish, brokers)))
    }
    return { made: missing, limits: await limitsOf(admin, names, wish.batchBytes) }
  })
}

/** How such a topic is made. */
export function newTableTopic(topic: string, { replication }: Pick<TableTopicsWish, 'replication'>, brokers: number): ITopicConfig {
  const configEntries = [{ name: 'max.message.bytes', value: String(LARGEST + BATCH_SLACK) }]
  return { topic, replicationFactor: replication ?? Math.min(3, brokers), configEntries }
}

async function limitsOf(admin: Admin, names: readonly string[], batchBytes: number): Promise<Map<string, number>> {
  if (names.length === 0) return new Map()
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false, resources: names.map((name) => ({ type: TOPIC, name, configNames: ['max.message.bytes'] })) })
  const limits = new Map(resources.map((one) => [one.resourceName, Number(one.configEntries[0]?.configValue) - BATCH_SLACK]))
  const small = names.filter((name) => !(limits.get(name)! >= batchBytes))
  if (small.length > 0) {
    throw new RekeyError('LOG_TOPIC', `max.message.bytes of ${small.join(', ')} is less than kafka.batch needs (${batchBytes + BATCH_SLACK})`)
  }
  return limits
}
