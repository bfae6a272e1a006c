import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { directLog } from '../../connectors/direct/log.ts'
import { openClient, withAdmin } from '../../connectors/kafka/client.ts'
import { encoder } from '../../connectors/kafka/encode.ts'
import { type AppendOptions, kafkaAppends, kafkaReads } from '../../connectors/kafka/log.ts'
import { allParts } from '../../connectors/kafka/part-logs.ts'
import { spread } from '../../connectors/kafka/spread.ts'
import { makeTopic, readTopic } from '../../connectors/kafka/topics.ts'
import { type Route, router } from '../../src/core/route.ts'
import type { ChangeLog } from '../../src/ports.ts'
import type { Transaction } from '../../src/core/change.ts'
import { insertOf, relation, transaction } from '../support/core-literals.ts'
import { startKafka } from '../support/services/kafka.ts'

const rows = relation('rows', ['id', 'text'])

/** A transaction that ends at this LSN, with a row of about so many bytes. */
const at = (lsn: number, bytes = 10): Transaction =>
  transaction([insertOf(rows, [String(lsn), 'x'.repeat(bytes)])], { commitLsn: BigInt(lsn), endLsn: BigInt(lsn) + 1n, bytes })

async function settled(promise: Promise<unknown>, ms = 20): Promise<boolean> {
  let done = false
  void promise.then(() => (done = true))
  await sleep(ms)
  return done
}

async function until(true_: () => boolean): Promise<void> {
  for (const begun = Date.now(); !true_(); await sleep(2)) if (Date.now() - begun > 20_000) throw new Error('waited too long')
}

type Make = (options: { readonly maxBytes: number }) => Promise<ChangeLog>

/** Everything that a change log promises, whatever keeps it. `make` gives an empty log that holds about so many bytes in memory. */
function changeLogContract(name: string, make: Make): void {
  describe(name, () => {
    it('gives what was appended, in order and once', async () => {
      const log = await make({ maxBytes: 50 })
      const stop = new AbortController()
      const seen: bigint[] = []
      const reading = (async () => {
        for await (const some of log.read(stop.signal)) {
          expect(some.length).toBeGreaterThan(0)
          seen.push(...some.map((t) => t.commitLsn))
          if (seen.length % 7 === 0) await sleep(0)
        }
      })()
      for (let i = 1; i <= 300; i += 3) await log.append([at(i, i % 20), at(i + 1, 0), at(i + 2, 7)])
      await until(() => seen.length >= 300)
      stop.abort()
      await reading
      expect(seen).toEqual(Array.from({ length: 300 }, (_, i) => BigInt(i + 1)))
    })

    it('takes a transaction that is larger than itself', async () => {
      const log = await make({ maxBytes: 10 })
      const appended = log.append([at(1, 100_000)])
      const stop = new AbortController()
      const reader = log.read(stop.signal)[Symbol.asyncIterator]()
      expect((await reader.next()).value.map((t: Transaction) => t.commitLsn)).toEqual([1n])
      await appended
      stop.abort()
      expect((await reader.next()).done).toBe(true)
    })

    it('fragments come in order, each once', async () => {
      const log = await make({ maxBytes: 1_000 })
      const part = (first: number, last: boolean): Transaction => ({ ...at(5), first, last, endLsn: last ? 6n : 0n })
      const stop = new AbortController()
      const seen: Transaction[] = []
      const reading = (async () => {
        for await (const some of log.read(stop.signal)) seen.push(...some)
      })()
      for (const t of [part(0, false), part(1, false), part(2, true), at(9)]) await log.append([t])
      await until(() => seen.at(-1)?.commitLsn === 9n)
      stop.abort()
      await reading
      const changes = seen.filter((t) => t.commitLsn === 5n).flatMap((t) => t.changes.map((_, i) => t.first + i))
      expect([changes, seen.filter((t) => t.last).map((t) => t.endLsn)]).toEqual([[0, 1, 2], [6n, 10n]])
    })

    it('a reader that waits ends when its signal aborts, and so does one that begins too late', async () => {
      const log = await make({ maxBytes: 100 })
      const stop = new AbortController()
      const next = log.read(stop.signal)[Symbol.asyncIterator]().next()
      expect(await settled(next)).toBe(false)
      stop.abort()
      expect((await next).done).toBe(true)
      await log.append([at(1)])
      expect((await log.read(stop.signal)[Symbol.asyncIterator]().next()).done).toBe(true)
    })

    it('the next reader goes on where the last one stopped', async () => {
      const log = await make({ maxBytes: 100 })
      const stop = new AbortController()
      const first = log.read(stop.signal)[Symbol.asyncIterator]()
      await log.append([at(1)])
      expect((await first.next()).value[0].commitLsn).toBe(1n)
      stop.abort()
      expect((await first.next()).done).toBe(true)
      await log.append([at(2)])
      const again = new AbortController()
      const second = log.read(again.signal)[Symbol.asyncIterator]()
      expect((await second.next()).value.map((t: Transaction) => t.commitLsn)).toEqual([2n])
      again.abort()
      expect((await second.next()).done).toBe(true)
    })

    it('what was appended, read and acknowledged is durable; what is never goes back', async () => {
      const log = await make({ maxBytes: 100 })
      expect(log.durable()).toBe(0n)
      await log.append([at(5), at(6)])
      const stop = new AbortController()
      const reader = log.read(stop.signal)[Symbol.asyncIterator]()
      for (let read = 0; read < 2;) read += (await reader.next()).value.length
      expect(log.durable()).toBeLessThanOrEqual(7n)
      log.ack(7n)
      await until(() => log.durable() === 7n)
      log.ack(6n)
      expect(log.durable()).toBe(7n)
      stop.abort()
      expect((await reader.next()).done).toBe(true)
    })

    it('nothing of a transaction of which only fragments are there is durable', async () => {
      const log = await make({ maxBytes: 10_000 })
      await log.append([at(1), { ...at(5), last: false, endLsn: 0n }])
      const stop = new AbortController()
      const reader = log.read(stop.signal)[Symbol.asyncIterator]()
      expect((await reader.next()).value[0].commitLsn).toBe(1n)
      log.ack(2n)
      await until(() => log.durable() === 2n)
      await sleep(50)
      expect(log.durable()).toBe(2n)
      stop.abort()
      expect((await reader.next()).done).toBe(true)
    })
  })
}

changeLogContract('the log of a single process', async (options) => directLog(options))

describe('the log of a single process is the slot itself', () => {
  it('is bounded: append waits while it is full, and goes on when it was read', async () => {
    const log = directLog({ maxBytes: 100 })
    expect(await settled(log.append([at(1, 99)]))).toBe(true)
    const waiting = log.append([at(2, 1)])
    expect(await settled(waiting)).toBe(false)
    const stop = new AbortController()
    const reader = log.read(stop.signal)[Symbol.asyncIterator]()
    const read: bigint[] = []
    while (read.length < 2) read.push(...(await reader.next()).value.map((t: Transaction) => t.commitLsn))
    expect(await settled(waiting)).toBe(true)
    expect(read).toEqual([1n, 2n])
    expect(await settled(log.append([at(3, 99)]))).toBe(true)
    stop.abort()
  })

  it('nobody reads ahead: what the consumer did not ask for stays in the log', async () => {
    const log = directLog({ maxBytes: 30 })
    const reader = log.read(new AbortController().signal)[Symbol.asyncIterator]()
    await log.append([at(1, 5)])
    await reader.next()
    void log.append([at(2, 20)])
    expect(await settled(log.append([at(3, 20)]))).toBe(false)
  })

  it('nothing is durable before it was acknowledged', async () => {
    const log = directLog({ maxBytes: 100 })
    await log.append([at(5), at(6)])
    await log.read(new AbortController().signal)[Symbol.asyncIterator]().next()
    expect(log.durable()).toBe(0n)
    log.ack(2n ** 63n)
    expect(log.durable()).toBe(2n ** 63n)
  })
})

const broker = await startKafka()
const kafka = openClient({ brokers: [broker.bootstrap], ssl: null, sasl: null, codec: 'lean' })
const EPOCH = '1.abc'

type Writing = Pick<AppendOptions, 'codec' | 'compression'>

const kafkaLogOf = (writing: Writing) => async ({ maxBytes }: { readonly maxBytes: number }): Promise<ChangeLog> => {
  const prefix = `t${randomBytes(4).toString('hex')}`
  const topic = { topic: `${prefix}.changes`, batchBytes: 1 << 19, replication: null }
  await makeTopic(kafka, topic)
  const encode = encoder({ name: prefix, database: 'd', version: '0', epoch: EPOCH, primaryKey: () => [], partBytes: 1 << 18, now: Date.now })
  const { append, durable } = kafkaAppends({ kafka, topic: topic.topic, batchBytes: topic.batchBytes, ...writing, encode, from: 0n })
  const { read, ack } = kafkaReads({
    kafka, topic, group: `${prefix}.rekey`, epoch: EPOCH, number: 1, start: { commitLsn: 0n, endLsn: 1n },
    relations: new Map([['public.rows', rows]]), maxBytes, deadLetter: null, onRead: () => {},
  })
  return { append, durable, read, ack }
}

changeLogContract('the log in Kafka', kafkaLogOf({ codec: 'lean', compression: 'none' }))
changeLogContract('the log in Kafka, compressed', kafkaLogOf({ codec: 'lean', compression: 'gzip' }))
changeLogContract('the log in Kafka, encoded by the library', kafkaLogOf({ codec: 'kafkajs', compression: 'none' }))

interface Spreading {
  readonly maxBytes: number
  readonly route?: Route
}

/** Written to three partitions and read as one. */
async function spreadLogOf({ maxBytes, route }: Spreading): Promise<ChangeLog> {
  const prefix = `t${randomBytes(4).toString('hex')}`
  const topic = { topic: `${prefix}.changes`, batchBytes: 1 << 19, replication: null, partitions: 3 }
  await makeTopic(kafka, topic)
  const encode = encoder({ name: prefix, database: 'd', version: '0', epoch: EPOCH, primaryKey: () => [], partBytes: 1 << 18, now: Date.now })
  const byKey = router(new Map([['public.rows', { of: 'public.rows', column: null, key: ['id'], alone: false }]]), 3)
  const { append, durable } = kafkaAppends({
    kafka, topic: topic.topic, batchBytes: topic.batchBytes, compression: 'none', codec: 'lean', encode, from: 0n,
    spread: spread({ partitions: 3, route: route ?? byKey, encode, from: 0n }),
  })
  const { read, ack } = allParts({
    kafka, topic, group: `${prefix}.rekey`, epoch: EPOCH, number: 1, relations: new Map([['public.rows', rows]]), maxBytes, deadLetter: null, onRead: () => {},
  }, [0, 1, 2].map((partition) => ({ partition, start: { commitLsn: 0n, endLsn: 1n }, offset: 0n })))
  return { append, durable, read, ack }
}

changeLogContract('the log in Kafka over three partitions', spreadLogOf)

it('the log in Kafka over three partitions keeps the order of what each partition gives at once', async () => {
  const route: Route = ({ commitLsn, changes }) => new Map([[Number(commitLsn) % 3, changes]])
  const log = await spreadLogOf({ maxBytes: 1 << 20, route })
  // All of it is there before it is read.
  await log.append(Array.from({ length: 3_000 }, (_, i) => at(i + 1)))
  await until(() => log.durable() >= 3_001n)
  const stop = new AbortController()
  const seen: bigint[] = []
  for await (const some of log.read(stop.signal)) {
    seen.push(...some.map((t) => t.commitLsn))
    if (seen.length >= 3_000) stop.abort()
  }
  expect(seen).toEqual(Array.from({ length: 3_000 }, (_, i) => BigInt(i + 1)))
})

describe('the log in Kafka over three partitions keeps its number', () => {
  it('a topic of another number of partitions is refused', async () => {
    const topic = { topic: `t${randomBytes(4).toString('hex')}.changes`, batchBytes: 1 << 19, replication: null, partitions: 3 }
    await makeTopic(kafka, topic)
    expect((await readTopic(kafka, topic))?.partitions.length).toBe(3)
    await withAdmin(kafka, 'add a partition', (admin) => admin.createPartitions({ topicPartitions: [{ topic: topic.topic, count: 4 }] }))
    await expect(readTopic(kafka, topic)).rejects.toMatchObject({ code: 'LOG_TOPIC' })
    await expect(readTopic(kafka, { ...topic, partitions: 1 })).rejects.toMatchObject({ code: 'LOG_TOPIC' })
  })
})
