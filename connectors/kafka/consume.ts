import type { Consumer, EachBatchPayload, Kafka } from 'kafkajs'
import { kafkaError, withAdmin } from './client.ts'
import { newReader, readersOf } from './groups.ts'
import type { StoredRecord } from './record.ts'

export interface ReaderOptions {
  readonly topic: string
  /** The beginning of the names of groups, see groups.ts. */
  readonly group: string
  /** The topic's records: where it begins and ends. */
  readonly low: bigint
  readonly high: bigint
  /** Takes records in order; `atEnd` when there was none behind them. Resolves when there is room for more. An error ends the reader. */
  readonly take: (records: readonly StoredRecord[], at: { readonly partition: number; readonly atEnd: boolean }) => Promise<void>
  readonly failed: (error: Error) => void
}

export interface Reader {
  /** Reads again from the topic's beginning. */
  rewind(): void
  /** Remembers where the next reader may begin. It is a hint: what is in the destination decides. */
  remember(offset: string): void
  close(): Promise<void>
}

const FETCH_BYTES = 1 << 20
/** How long a fetch waits for something to come, and so a reader that ends. */
const WAIT_MS = 500
const REMEMBER_MS = 1_000

/** Reads the topic from where the last reader was, as far as that is known. Rejects with RekeyError. */
export async function openReader(kafka: Kafka, options: ReaderOptions): Promise<Reader> {
  const { topic, low } = options
  const hint = await withAdmin(kafka, 'read the groups', async (admin) => {
    const ours = await readersOf(admin, options.group)
    const known = await Promise.all(ours.map((groupId) => admin.fetchOffsets({ groupId, topics: [topic] })))
    const offsets = known.flatMap((one) => one.flatMap((at) => at.partitions.filter((p) => p.partition === 0).map((p) => BigInt(p.offset))))
    // One that is in use refuses, and so does one that is not ours.
    await Promise.all(ours.map((groupId) => admin.deleteGroups([groupId]).catch(() => {})))
    return offsets.reduce((most, at) => (at > most ? at : most), low)
  })
  const start = hint > options.high || hint < low ? low : hint
  const consumer = kafka.consumer({
    groupId: newReader(options.group), allowAutoTopicCreation: false, maxWaitTimeInMs: WAIT_MS,
    maxBytesPerPartition: FETCH_BYTES, maxBytes: FETCH_BYTES, sessionTimeout: 30_000,
    retry: { restartOnFailure: async () => false },
  })
  consumer.on(consumer.events.CRASH, ({ payload }) => options.failed(kafkaError(payload.error, `read topic ${topic}`)))
  let next: string | null = null
  let remembered = ''
  const commit = async (): Promise<void> => {
    if (next === null || next === remembered) return
    remembered = next
    await consumer.commitOffsets([{ topic, partition: 0, offset: next }]).catch(() => {})
  }
  try {
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({ autoCommit: false, eachBatchAutoResolve: true, eachBatch: (payload) => eachBatch(payload, options) })
    consumer.seek({ topic, partition: 0, offset: String(start) })
  } catch (error) {
    await consumer.disconnect().catch(() => {})
    throw kafkaError(error, `read topic ${topic}`)
  }
  const timer = setInterval(() => void commit(), REMEMBER_MS)
  return {
    rewind: () => seekTo(consumer, topic, low),
    remember: (offset) => (next = offset),
    async close() {
      clearInterval(timer)
      await commit()
      await consumer.disconnect().catch(() => {})
    },
  }
}

function seekTo(consumer: Consumer, topic: string, offset: bigint): void {
  consumer.seek({ topic, partition: 0, offset: String(offset) })
}

/** The library waits for it, and would repeat it after an error. */
async function eachBatch({ batch, heartbeat, isRunning, isStale }: EachBatchPayload, options: ReaderOptions): Promise<void> {
  if (!isRunning() || isStale() || batch.messages.length === 0) return
  const atEnd = BigInt(batch.lastOffset()) + 1n >= BigInt(batch.highWatermark)
  // While there is no room, the group must hear of us.
  const timer = setInterval(() => void heartbeat().catch(() => {}), 3_000)
  try {
    await options.take(batch.messages, { partition: batch.partition, atEnd })
  } catch (error) {
    options.failed(error as Error)
  } finally {
    clearInterval(timer)
  }
}
