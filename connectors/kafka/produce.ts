import type { Kafka, Producer } from 'kafkajs'
import type { Lsn } from '../../src/core/lsn.ts'
import { kafkaError } from './client.ts'
import { packed } from './lean.ts'
import { library } from './library.ts'
import { messages, type Outgoing } from './outgoing.ts'
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
  /** Who encodes the batches: see lean.ts. */
  readonly codec: 'lean' | 'kafkajs'
  /** Records that go at the end of each batch. Without any, and nothing written, no batch is sent. */
  readonly closing?: () => readonly NewRecord[]
}

interface Batch {
  readonly records: Outgoing
  count: number
  bytes: number
  end: Lsn | null
}

/** What a record costs beside its key, its value and its header. */
const RECORD_BYTES = 32

function sizeOf(record: NewRecord | TableRecord): number {
  const header = 'topic' in record ? 0 : record.headers.rekey.length
  return (record.value?.length ?? 0) + (record.key?.length ?? 0) + header + RECORD_BYTES
}

/**
 * Writes to the topic, and to topics of tables where records name them, one batch at a time: a batch that follows another may never be
 * there without it, and one that failed may be there after all. So after a failure nothing more is sent; the next writer begins again at what
 * is certain, and readers drop repetitions.
 */
export function writer(kafka: Kafka, options: WriterOptions): Writer {
  const { topic, batchBytes } = options
  const { CompressionTypes, Partitioners } = library()
  const compression = options.compression === 'gzip' ? CompressionTypes.GZIP : CompressionTypes.None
  let producer: Promise<Producer> | null = null
  const empty = (): Batch => ({ records: options.codec === 'lean' ? packed(topic) : messages(topic), count: 0, bytes: 0, end: null })
  let filling = empty()
  let spare = empty()
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
  // At once: the first batch should not wait for it. An error is the first batch's.
  connected().catch(() => {})
  const add = (record: NewRecord | TableRecord, size: number): void => {
    filling.records.add(record)
    filling.count++
    filling.bytes += size
  }
  const send = async (batch: Batch): Promise<void> => {
    await (await connected()).sendBatch({ acks: -1, compression, topicMessages: batch.records.topicMessages() })
    if (batch.end !== null) durable = batch.end
    batch.records.clear()
    spare = Object.assign(batch, { count: 0, bytes: 0, end: null })
  }
  const flush = (): void => {
    if (sending || failure) return
    for (const record of options.closing?.() ?? []) add(record, sizeOf(record))
    if (filling.count === 0) return
    const batch = filling
    filling = spare
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
        if (filling.count > 0 && filling.bytes + size > batchBytes) {
          while (sending) await sending
          flush()
        }
        if (failure) throw failure
        add(record, size)
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
