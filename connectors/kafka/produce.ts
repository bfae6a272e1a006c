import type { Kafka, Message, Producer } from 'kafkajs'
import type { Lsn } from '../../src/core/lsn.ts'
import { kafkaError } from './client.ts'
import { library } from './library.ts'
import type { NewRecord, TableRecord } from './record.ts'

export interface Writer {
  /** Resolves when a batch that had to go before these has gone. Rejects with RekeyError when one has failed: this writer is done then. */
  write(records: readonly (NewRecord | TableRecord)[], endLsn: Lsn | null): Promise<void>
  /** Sends what is there, unless something is on its way: what is there then follows it. */
  flush(): void
  /** End LSN of the newest transaction that the brokers have, and everything before it. */
  durable(): Lsn
  /** Resolves when everything written is there, or has failed. */
  close(): Promise<void>
}

export interface WriterOptions {
  readonly topic: string
  readonly batchBytes: number
  readonly compression: 'none' | 'gzip'
  /** Records that go at the end of each batch. Without any, and nothing written, no batch is sent. */
  readonly closing?: () => readonly NewRecord[]
}

interface Batch {
  readonly records: (NewRecord | TableRecord)[]
  bytes: number
  end: Lsn | null
}

/** What a record costs beside its key, its value and its header. */
const RECORD_BYTES = 32

function sizeOf(record: NewRecord | TableRecord): number {
  const header = 'topic' in record ? 0 : record.headers.rekey.length
  return (record.value?.length ?? 0) + (record.key?.length ?? 0) + header + RECORD_BYTES
}

/** In the pipeline's topic the record says its partition; in those of tables the key chooses. */
function byTopic(records: Batch['records'], own: string): { topic: string; messages: Message[] }[] {
  const topics = new Map<string, Message[]>()
  for (const record of records) {
    const [topic, partition] = 'topic' in record ? [record.topic, {}] : [own, { partition: record.partition ?? 0 }]
    let messages = topics.get(topic)
    if (!messages) topics.set(topic, (messages = []))
    messages.push({ key: record.key, value: record.value, headers: record.headers, ...partition })
  }
  return [...topics].map(([topic, messages]) => ({ topic, messages }))
}

/**
 * Writes to the topic, and to topics of tables where records name them, one batch at a time: a batch that follows another may never be there without it, and one that failed may be
 * there after all. So after a failure nothing more is sent; the next writer begins again at what is certain, and readers drop repetitions.
 */
export function writer(kafka: Kafka, options: WriterOptions): Writer {
  const { topic, batchBytes } = options
  const { CompressionTypes, Partitioners } = library()
  const compression = options.compression === 'gzip' ? CompressionTypes.GZIP : CompressionTypes.None
  let producer: Promise<Producer> | null = null
  let filling: Batch = { records: [], bytes: 0, end: null }
  let sending: Promise<void> | null = null
  let failure: Error | null = null
  let durable: Lsn = 0n

  const connected = (): Promise<Producer> => (producer ??= (async () => {
    const made = kafka.producer({
      idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false, createPartitioner: Partitioners.DefaultPartitioner,
    })
    await made.connect()
    return made
  })())
  const send = async ({ records, end }: Batch): Promise<void> => {
    await (await connected()).sendBatch({ acks: -1, compression, topicMessages: byTopic(records, topic) })
    if (end !== null) durable = end
  }
  const flush = (): void => {
    if (sending || failure) return
    for (const record of options.closing?.() ?? []) filling.records.push(record)
    if (filling.records.length === 0) return
    const batch = filling
    filling = { records: [], bytes: 0, end: null }
    sending = send(batch).catch((error: unknown) => {
      failure = kafkaError(error, `write to topic ${topic}`)
    }).then(() => {
      sending = null
      flush()
    })
  }
  return {
    async write(records, endLsn) {
      for (const record of records) {
        const size = sizeOf(record)
        if (filling.records.length > 0 && filling.bytes + size > batchBytes) {
          while (sending) await sending
          flush()
        }
        if (failure) throw failure
        filling.records.push(record)
        filling.bytes += size
      }
      if (endLsn !== null) filling.end = endLsn
    },
    flush,
    durable: () => durable,
    async close() {
      flush()
      while (sending) await sending
      await producer?.then((made) => made.disconnect()).catch(() => {})
    },
  }
}
