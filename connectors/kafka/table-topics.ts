import type { Admin, Kafka } from 'kafkajs'
import { RekeyError } from '../../src/core/errors.ts'
import { nameOf, type TableName } from '../../src/core/relation.ts'
import { withAdmin } from './client.ts'
import { tableTopic } from './table-records.ts'
import { TOPIC } from './topics.ts'

export interface TableTopicsWish {
  readonly prefix: string
  readonly tables: readonly TableName[]
  readonly replication: number | null
  /** A batch of this many bytes must be taken. */
  readonly batchBytes: number
}

/** Records of tables are never cut, because other readers could not join them; below the largest request that a broker takes (100 MiB). */
const LARGEST = 64 << 20
const SLACK = 64 << 10

/**
 * Makes the topics of tables that have none: how long they keep records is the broker's default, for they are for others. Resolves with the
 * largest record that each takes. Rejects with CONFIG for two tables that would share a topic, and with LOG_TOPIC, PRIVILEGE.
 */
export function makeTableTopics(kafka: Kafka, wish: TableTopicsWish): Promise<Map<string, number>> {
  const topics = new Map<string, TableName>()
  for (const table of wish.tables) {
    const topic = tableTopic(wish.prefix, table)
    const other = topics.get(topic)
    if (other) throw new RekeyError('CONFIG', `${nameOf(other)} and ${nameOf(table)} would both go to topic ${topic}`)
    topics.set(topic, table)
  }
  const names = [...topics.keys()]
  return withAdmin(kafka, 'make the topics of tables', async (admin) => {
    const there = new Set(await admin.listTopics())
    const missing = names.filter((topic) => !there.has(topic))
    if (missing.length > 0) {
      const replicationFactor = wish.replication ?? Math.min(3, (await admin.describeCluster()).brokers.length)
      const configEntries = [{ name: 'max.message.bytes', value: String(LARGEST + SLACK) }]
      await admin.createTopics({ waitForLeaders: true, topics: missing.map((topic) => ({ topic, replicationFactor, configEntries })) })
    }
    return limitsOf(admin, names, wish.batchBytes)
  })
}

async function limitsOf(admin: Admin, names: readonly string[], batchBytes: number): Promise<Map<string, number>> {
  if (names.length === 0) return new Map()
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false, resources: names.map((name) => ({ type: TOPIC, name, configNames: ['max.message.bytes'] })) })
  const limits = new Map(resources.map((one) => [one.resourceName, Number(one.configEntries[0]?.configValue) - SLACK]))
  const small = names.filter((name) => !(limits.get(name)! >= batchBytes))
  if (small.length > 0) {
    throw new RekeyError('LOG_TOPIC', `max.message.bytes of ${small.join(', ')} is less than kafka.batch needs (${batchBytes + SLACK})`)
  }
  return limits
}
