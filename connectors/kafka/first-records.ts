import type { Kafka } from 'kafkajs'
import { RekeyError } from '../../src/core/errors.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import { kafkaError } from './client.ts'
import { newReader } from './groups.ts'
import { lsnIn, parseHeader } from './header.ts'
import { type StoredRecord, Unreadable } from './record.ts'

/** How long the brokers may take to give the first record of each partition. */
const WAIT_MS = 20_000

export interface FirstRecords {
  readonly topic: string
  readonly partitions: number
  /** Beginning of the names of reader groups. */
  readonly group: string
}

/**
 * Whether a topic of ours has everything that was committed behind this LSN, by the first record of each partition: it says from where on its
 * partition is complete. False for one that says nothing. For a topic that has records in every partition. Rejects with RekeyError.
 */
export async function holdsFrom(kafka: Kafka, of: FirstRecords, endLsn: Lsn): Promise<boolean> {
  return (await firstRecords(kafka, of)).every((record) => isCompleteFrom(record, endLsn))
}

function isCompleteFrom({ headers }: StoredRecord, endLsn: Lsn): boolean {
  const value = headers?.['rekey']
  if (value === undefined || Array.isArray(value)) return false
  try {
    const { seq, from } = parseHeader(value)
    return seq === 0 && from !== '' && lsnIn(from) <= endLsn
  } catch (error) {
    if (error instanceof Unreadable) return false
    throw error
  }
}

async function firstRecords(kafka: Kafka, { topic, partitions, group }: FirstRecords): Promise<StoredRecord[]> {
  const consumer = kafka.consumer({ groupId: newReader(group), allowAutoTopicCreation: false, maxWaitTimeInMs: 250, retry: { restartOnFailure: async () => false } })
  const first = new Map<number, StoredRecord>()
  let timer: NodeJS.Timeout | undefined
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(() => reject(new RekeyError('REMOTE', `the brokers give no record of topic ${topic}`)), WAIT_MS)
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
      const read = async (): Promise<void> => {
        await consumer.connect()
        await consumer.subscribe({ topic, fromBeginning: true })
        await consumer.run({
          autoCommit: false,
          async eachBatch({ batch }) {
            if (!first.has(batch.partition) && batch.messages.length > 0) first.set(batch.partition, batch.messages[0])
            if (first.size === partitions) resolve()
          },
        })
      }
      read().catch(reject)
    })
    return [...first.values()]
  } catch (error) {
    throw kafkaError(error, `read topic ${topic}`)
  } finally {
    clearTimeout(timer)
    await consumer.disconnect().catch(() => {})
  }
}
