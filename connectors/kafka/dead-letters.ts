import type { IHeaders, Kafka, Producer } from 'kafkajs'
import { kafkaError, withAdmin } from './client.ts'
import type { DeadLetter } from './foreign.ts'
import { library } from './library.ts'
import { makeServed } from './topics.ts'

/** Makes the topic if there is none; false when there was one. It keeps records as long as the broker's default says. */
export function makeLetterTopic(kafka: Kafka, topic: string, replication: number | null): Promise<boolean> {
  return withAdmin(kafka, `make topic ${topic}`, async (admin) => {
    if ((await admin.listTopics()).includes(topic)) return false
    const replicationFactor = replication ?? Math.min(3, (await admin.describeCluster()).brokers.length)
    return makeServed(admin, [{ topic, numPartitions: 1, replicationFactor }])
  })
}

/** A producer that nobody has used for so long is closed: there may never be another letter. */
const IDLE_MS = 1_000

/**
 * Writes records that cannot be read to a topic, as they were, with the headers of Kafka Connect's dead letter queues (KIP-298) beside their own.
 * Resolves when all in-sync brokers have it; rejects with RekeyError. One that is met again may be written again.
 */
export function letterTopic(kafka: Kafka, { topic, pipeline }: { readonly topic: string; readonly pipeline: string }): (letter: DeadLetter) => Promise<void> {
  let producer: Producer | null = null
  let idle: NodeJS.Timeout | undefined
  const close = (): void => {
    void producer?.disconnect().catch(() => {})
    producer = null
  }
  return async (letter) => {
    clearTimeout(idle)
    try {
      if (!producer) {
        producer = kafka.producer({ allowAutoTopicCreation: false, createPartitioner: library().Partitioners.DefaultPartitioner })
        await producer.connect()
      }
      const headers = { ...letter.headers, ...connectHeaders(letter, pipeline) } as IHeaders
      await producer.send({ topic, acks: -1, messages: [{ key: letter.key, value: letter.value, headers }] })
    } catch (error) {
      close()
      throw kafkaError(error, `write to topic ${topic}`)
    }
    idle = setTimeout(close, IDLE_MS)
  }
}

/** The reason is ours and holds no value of the record. */
function connectHeaders({ topic, partition, offset, reason }: DeadLetter, pipeline: string): Record<string, string> {
  const values = {
    'topic': topic, 'partition': String(partition), 'offset': offset, 'connector.name': pipeline, 'task.id': '0', 'stage': 'VALUE_CONVERTER',
    'class.name': 'rekey', 'exception.class.name': 'LOG_RECORD', 'exception.message': reason, 'exception.stacktrace': '',
  }
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [`__connect.errors.${name}`, value]))
}
