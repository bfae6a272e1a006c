import type { Kafka } from 'kafkajs'
import type { Transaction } from '../../src/core/change.ts'
import { RekeyError } from '../../src/core/errors.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import { takePart } from '../../src/core/pending.ts'
import type { Relation } from '../../src/core/relation.ts'
import type { ChangeLog } from '../../src/ports.ts'
import { assemble } from './assemble.ts'
import type { Place } from './chain.ts'
import { openReader, type Reader } from './consume.ts'
import { debeziumAssemble } from './debezium-assemble.ts'
import type { Encode } from './encode.ts'
import { addTo, type DeadLetter, gapWatch } from './foreign.ts'
import { writer, type Writer, type WriterOptions } from './produce.ts'
import type { Spread } from './spread.ts'
import type { TableRecords } from './table-records.ts'
import { readTopic, type TopicWish } from './topics.ts'

export interface AppendOptions extends Omit<WriterOptions, 'closing'> {
  readonly kafka: Kafka
  readonly encode: Encode
  /** What goes to the topics of tables, where there are any. It is durable together with the rest. */
  readonly tables?: TableRecords | null
  /** Set where changes go to several partitions. */
  readonly spread?: Spread
  /** The source gives all that was committed from here on: the log says so. */
  readonly from: Lsn
}

export interface ReadOptions {
  readonly kafka: Kafka
  readonly topic: TopicWish
  /** Beginning of the names of reader groups. */
  readonly group: string
  readonly epoch: string
  readonly number: number
  readonly start: Place
  readonly relations: ReadonlyMap<string, Relation>
  readonly maxBytes: number
  /** Null: such a record ends the reader with LOG_RECORD. Else it is put aside, and what is missing then is noticed by what follows. */
  readonly deadLetter: ((record: DeadLetter) => Promise<void>) | null
  readonly onRead: (transactions: readonly Transaction[]) => void
  /** The records are those of a stock Debezium connector and not of our encoder. */
  readonly debezium?: { readonly keepsNulls: boolean } | null
}

/**
 * The writing half of a topic as the change log: what is appended is durable when all in-sync brokers have it. After an error it is done; the
 * next one begins where the source is.
 */
export function kafkaAppends(options: AppendOptions): Pick<ChangeLog, 'append' | 'durable'> & {
  /** Resolves when everything that was appended is there, or cannot be any more. */
  close(): Promise<void>
} {
  const { spread } = options
  const out: Writer = writer(options.kafka, { ...options, ...(spread ? { closing: spread.marks } : {}) })
  let { from } = options
  return {
    async append(transactions) {
      for (const transaction of transactions) {
        if (options.tables) await out.write(options.tables(transaction), null)
        const records = spread ? spread.records(transaction) : options.encode(transaction, from)
        if (transaction.last) from = transaction.endLsn
        await out.write(records, transaction.last ? transaction.endLsn : null)
      }
      out.flush()
    },
    durable: out.durable,
    close: out.close,
  }
}

/**
 * The reading half. Offsets are hints only; the records themselves tell what was read already and whether something is missing. Any number
 * of readers may come, one after the other.
 */
export function kafkaReads(options: ReadOptions): Pick<ChangeLog, 'read' | 'ack'> {
  let place = options.start
  let reading: Reading | null = null
  return {
    async *read(signal) {
      if (signal.aborted) return
      const current = await beginReading(options, place)
      reading = current
      signal.addEventListener('abort', current.stop)
      try {
        if (signal.aborted) current.stop()
        for (;;) {
          const taken = await current.next()
          if (taken === null) return
          const last = taken.findLast((t) => t.last)
          if (last) place = { commitLsn: last.commitLsn, endLsn: last.endLsn }
          options.onRead(taken)
          yield taken
        }
      } finally {
        signal.removeEventListener('abort', current.stop)
        current.stop()
        reading = null
        await current.close()
      }
    },
    ack: (lsn) => reading?.ack(lsn),
  }
}

/** One reader and the queue that it fills. */
interface Reading {
  /** Null when it was stopped. Rejects with what ended it. */
  next(): Promise<Transaction[] | null>
  ack(lsn: Lsn): void
  stop: () => void
  close(): Promise<void>
}

async function beginReading(read: ReadOptions, start: Place): Promise<Reading> {
  const { kafka, topic } = read
  const state = await readTopic(kafka, topic)
  if (state === null) throw new RekeyError('LOG_TOPIC', `there is no topic ${topic.topic}`)
  if (read.debezium && state.low > 0n) {
    throw new RekeyError('LOG_GAP', `topic ${topic.topic} begins at offset ${state.low}: records were removed, and a connector's do not say which`)
  }
  const assembler = read.debezium ? debeziumAssemble({ ...read, ...read.debezium, start }) : assemble({ ...read, start })
  const queue: Transaction[] = []
  let bytes = 0
  /** Which offset is behind which end LSN, for what was handed over and not acknowledged. */
  let marks: { readonly end: Lsn; readonly offset: string }[] = []
  let failure: Error | null = null
  let stopped = false
  let wakeReader: () => void = () => {}
  let wakeWriter: () => void = () => {}
  const gaps = gapWatch(assembler, topic.topic)
  const wake = (): void => {
    wakeReader()
    wakeWriter()
  }
  const put = (taken: readonly Transaction[]): void => {
    if (taken.length === 0) return
    for (const t of taken) {
      queue.push(t)
      bytes += t.bytes
    }
    const offset = assembler.offset()
    if (offset !== null) marks.push({ end: assembler.place().endLsn, offset })
    wakeReader()
  }
  const reader: Reader = await openReader(kafka, {
    topic: topic.topic, group: read.group, ...state,
    async take(records, { partition, atEnd }) {
      for (const record of records) {
        if (stopped) return
        await addTo(assembler, record, { topic: topic.topic, partition, isOurs: partition === 0, deadLetter: read.deadLetter })
      }
      put(assembler.take())
      if (gaps.mustRewind(atEnd)) reader.rewind()
      while (bytes >= read.maxBytes && !stopped && !failure) await new Promise<void>((resolve) => (wakeWriter = resolve))
    },
    failed(error) {
      failure ??= error
      wake()
    },
  })
  return {
    async next() {
      for (;;) {
        if (stopped) return null
        if (failure) throw failure
        if (queue.length > 0) break
        await new Promise<void>((resolve) => (wakeReader = resolve))
      }
      const { taken, size } = takePart(queue, read.maxBytes / 4)
      bytes -= size
      wakeWriter()
      return taken
    },
    ack(lsn) {
      const done = marks.filter(({ end }) => end <= lsn)
      if (done.length === 0) return
      marks = marks.slice(done.length)
      reader.remember(done.at(-1)!.offset)
    },
    stop() {
      stopped = true
      wake()
    },
    close: () => reader.close(),
  }
}
