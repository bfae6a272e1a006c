import type { EachBatchPayload, Kafka } from 'kafkajs'
import type { Transaction } from '../../src/core/change.ts'
import { RekeyError } from '../../src/core/errors.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import { assemble, type AssembleOptions, type Assembler } from './assemble.ts'
import type { Place } from './chain.ts'
import { kafkaError } from './client.ts'
import { addTo, type DeadLetter, gapWatch } from './foreign.ts'
import { newReader } from './groups.ts'
import { readTopic, type TopicWish } from './topics.ts'

export interface PartsOptions extends Omit<AssembleOptions, 'start' | 'wholes'> {
  readonly kafka: Kafka
  readonly topic: TopicWish
  /** Beginning of the names of reader groups: each reader is one of its own, so that none waits for another. */
  readonly group: string
  /** Which partitions, from which place on, and where in the log that may be: a hint. */
  readonly starts: readonly { readonly partition: number; readonly start: Place; readonly offset: bigint }[]
  /** What may wait in a partition's queue, about. */
  readonly maxBytes: number
  readonly deadLetter: ((record: DeadLetter) => Promise<void>) | null
}

/** What was read of one partition and not yet taken. */
export interface Part {
  readonly partition: number
  /** Whoever takes some removes them. */
  queue: Transaction[]
  /** Commit up to which everything that the partition has was put into the queue. */
  reached(): Lsn
  /** Where reading may begin again behind this end LSN, for what was taken. */
  offsetBehind(endLsn: Lsn): bigint
}

export interface Parts {
  readonly parts: readonly Part[]
  /** Resolves with true when something came since; with false when it was stopped. Rejects with what ended it. */
  changed(): Promise<boolean>
  stop(): void
  close(): Promise<void>
}

const FETCH_BYTES = 1 << 20
const WAIT_MS = 250

/** Reads partitions side by side, each with its own chain. A partition whose queue is full is not read until there is room. */
export async function openParts(options: PartsOptions): Promise<Parts> {
  const { kafka, topic } = options
  const state = await readTopic(kafka, topic)
  if (state === null) throw new RekeyError('LOG_TOPIC', `there is no topic ${topic.topic}`)
  const all = state.partitions.map((_, partition) => partition)
  let failure: Error | null = null
  let stopped = false
  let news = false
  let wake: () => void = () => {}
  const hear = (): void => {
    news = true
    wake()
  }
  const fail = (error: Error): void => {
    failure ??= error
    hear()
  }
  const consumer = kafka.consumer({
    groupId: newReader(options.group), allowAutoTopicCreation: false, maxWaitTimeInMs: WAIT_MS,
    maxBytesPerPartition: FETCH_BYTES, sessionTimeout: 30_000, retry: { restartOnFailure: async () => false },
  })
  const seek = (partition: number, offset: bigint): void => consumer.seek({ topic: topic.topic, partition, offset: String(offset) })
  const pause = (partitions: readonly number[]): void => consumer.pause([{ topic: topic.topic, partitions: [...partitions] }])
  const parts = new Map(options.starts.map(({ partition, start }) => [partition, openPart(partition, { ...options, start })]))
  const eachBatch = async ({ batch, heartbeat }: EachBatchPayload): Promise<void> => {
    const part = parts.get(batch.partition)
    if (stopped || failure || batch.messages.length === 0) return
    if (batch.partition >= all.length) return fail(new RekeyError('LOG_TOPIC', `topic ${topic.topic} has more partitions than it had`))
    if (!part) return
    try {
      for (const record of batch.messages) await addTo(part.assembler, record, { topic: topic.topic, partition: batch.partition, isOurs: true, deadLetter: options.deadLetter })
      part.collect()
      if (part.gaps.mustRewind(BigInt(batch.lastOffset()) + 1n >= BigInt(batch.highWatermark))) seek(batch.partition, state.partitions[batch.partition].low)
      else if (part.waiting() >= options.maxBytes) {
        pause([batch.partition])
        part.paused = true
      }
      hear()
      await heartbeat()
    } catch (error) {
      fail(kafkaError(error, `read topic ${topic.topic}`))
    }
  }
  consumer.on(consumer.events.CRASH, ({ payload }) => fail(kafkaError(payload.error, `read topic ${topic.topic}`)))
  try {
    await consumer.connect()
    await consumer.subscribe({ topic: topic.topic, fromBeginning: true })
    await consumer.run({ autoCommit: false, eachBatchAutoResolve: true, eachBatch })
    pause(all.filter((partition) => !parts.has(partition)))
    for (const { partition, offset } of options.starts) {
      const { low, high } = state.partitions[partition]
      seek(partition, offset < low || offset > high ? low : offset)
    }
  } catch (error) {
    await consumer.disconnect().catch(() => {})
    throw kafkaError(error, `read topic ${topic.topic}`)
  }
  return {
    parts: [...parts.values()],
    async changed() {
      const emptied = [...parts.values()].filter((part) => part.paused && part.waiting() < options.maxBytes / 2)
      for (const part of emptied) part.paused = false
      if (emptied.length > 0) consumer.resume([{ topic: topic.topic, partitions: emptied.map((part) => part.partition) }])
      while (!news && !stopped && !failure) await new Promise<void>((resolve) => (wake = resolve))
      news = false
      if (stopped) return false
      if (failure) throw failure
      return true
    },
    stop() {
      stopped = true
      wake()
    },
    close: () => consumer.disconnect().catch(() => {}),
  }
}

interface OpenPart extends Part {
  readonly assembler: Assembler
  readonly gaps: ReturnType<typeof gapWatch>
  paused: boolean
  collect(): void
  waiting(): number
}

function openPart(partition: number, options: AssembleOptions & { readonly topic: TopicWish }): OpenPart {
  const assembler = assemble({ ...options, wholes: true })
  let marks: { readonly end: Lsn; readonly offset: bigint }[] = []
  let offset = 0n
  // Not what the assembler has: a batch of records may be half read.
  let reached = options.start.commitLsn
  const part: OpenPart = {
    partition, assembler, queue: [], paused: false,
    gaps: gapWatch(assembler, `${options.topic.topic}, partition ${partition},`),
    reached: () => reached,
    waiting: () => part.queue.reduce((sum, t) => sum + t.bytes, 0),
    collect() {
      const taken = assembler.take()
      reached = assembler.place().commitLsn
      if (taken.length === 0) return
      for (const t of taken) part.queue.push(t)
      const behind = assembler.offset()
      if (behind !== null) marks.push({ end: assembler.place().endLsn, offset: BigInt(behind) })
    },
    offsetBehind(endLsn) {
      const passed = marks.filter(({ end }) => end <= endLsn)
      if (passed.length > 0) offset = passed.at(-1)!.offset
      marks = marks.slice(passed.length)
      return offset
    },
  }
  return part
}
