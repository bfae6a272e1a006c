import { createRequire } from 'node:module'
import fc from 'fast-check'
import type { Message } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { crc32c } from '../../connectors/kafka/crc32c.ts'
import { checkVersion, installLean, packed } from '../../connectors/kafka/lean.ts'
import { recordBatch } from '../../connectors/kafka/record-batch.ts'
import type { NewRecord, TableRecord } from '../../connectors/kafka/record.ts'

const require = createRequire(import.meta.url)

interface Sent {
  readonly request: { readonly apiVersion: number; readonly encode: () => Promise<{ readonly buffer: Buffer }> }
}
interface Produce {
  readonly versions: readonly string[]
  readonly protocol: (of: { version: number }) => (options: object) => Sent
}
const produce = require('kafkajs/src/protocol/requests/produce') as Produce
const theirs = produce.protocol
const group = require('kafkajs/src/producer/groupMessagesPerPartition') as (of: object) => Record<string, unknown>
type Frame = (of: object) => Promise<{ readonly buffer: Buffer; size(): number }>
const theirFrame = require('kafkajs/src/protocol/request') as Frame
installLean()
const ourFrame = require('kafkajs/src/protocol/request') as Frame

beforeAll(() => void vi.useFakeTimers({ toFake: ['Date'], now: 1_700_000_000_123 }))
afterAll(() => void vi.useRealTimers())

/** The request that the library would send, by the way of its producer: grouped by partition, then encoded. */
async function requestOf(protocol: Produce['protocol'], version: number, topicMessages: readonly { topic: string; messages: Message[] }[], more: object): Promise<Buffer> {
  const topicData = topicMessages.map(({ topic, messages }) => {
    const grouped = group({ topic, partitionMetadata: [1, 2, 3], messages, partitioner: ({ message }: { message: Message }) => message.partition ?? (message.key?.length ?? 0) % 3 })
    return { topic, partitions: Object.entries(grouped).map(([partition, of]) => ({ partition: Number(partition), messages: of, firstSequence: 7 + Number(partition) })) }
  })
  const { request } = protocol({ version })({ acks: -1, timeout: 30_000, producerId: '-1', producerEpoch: 0, compression: 0, topicData, ...more })
  expect(request.apiVersion).toBe(version)
  return (await request.encode()).buffer
}

const bytes = fc.uint8Array({ maxLength: 300 }).map((of) => Buffer.from(of))
const large = fc.tuple(fc.integer({ min: 8_000, max: 200_000 }), fc.integer({ min: 0, max: 255 })).map(([length, byte]) => Buffer.alloc(length, byte))
const newRecord: fc.Arbitrary<NewRecord> = fc.record({
  key: fc.option(bytes), value: fc.oneof({ weight: 9, arbitrary: bytes }, { weight: 1, arbitrary: large }),
  headers: fc.record({ rekey: fc.oneof(fc.string({ maxLength: 90 }), fc.string({ unit: 'binary', maxLength: 40 })) }), partition: fc.nat(2),
})
const tableRecord: fc.Arbitrary<TableRecord> = fc.record({
  topic: fc.constantFrom('p.public.a', 'p.public.ü'), key: fc.option(bytes), value: fc.option(bytes),
  headers: fc.dictionary(fc.string({ maxLength: 20 }).filter((name) => !/^\d+$/.test(name) && name !== '__proto__'), bytes, { maxKeys: 3 }),
})
const producer = fc.record({
  producerId: fc.bigInt({ min: -1n, max: 2n ** 62n }).map(String), producerEpoch: fc.integer({ min: 0, max: 32_767 }), compression: fc.constantFrom(0, 1),
  transactionalId: fc.constantFrom(undefined, null),
})

const messageOf = (record: NewRecord | TableRecord): Message => ({
  key: record.key, value: record.value, headers: record.headers, ...('topic' in record ? {} : { partition: record.partition ?? 0 }),
})

function plain(records: readonly (NewRecord | TableRecord)[]): { topic: string; messages: Message[] }[] {
  const topics = new Map<string, Message[]>()
  for (const record of records) {
    const topic = 'topic' in record ? record.topic : 'p.changes'
    topics.set(topic, [...(topics.get(topic) ?? []), messageOf(record)])
  }
  return [...topics].map(([topic, messages]) => ({ topic, messages }))
}

describe('batches that are encoded as they fill', () => {
  test('are byte for byte those of the library, in every version of the request', async () => {
    await fc.assert(fc.asyncProperty(
      fc.array(fc.oneof({ weight: 3, arbitrary: newRecord }, { weight: 1, arbitrary: tableRecord }), { minLength: 1, maxLength: 40 }), producer,
      fc.constantFrom(3, 4, 5, 6, 7),
      async (records, head, version) => {
        const ours = packed('p.changes')
        for (const record of records) ours.add(record)
        const want = await requestOf(theirs, version, plain(records), head)
        const found = await requestOf(produce.protocol, version, ours.topicMessages(), head)
        expect(found.equals(want)).toBe(true)
        const sent = Buffer.from(found)
        // Sent once more after a failure, as another producer.
        const again = { ...head, producerId: '99', producerEpoch: 3 }
        expect((await requestOf(produce.protocol, version, ours.topicMessages(), again)).equals(await requestOf(theirs, version, plain(records), again))).toBe(true)
        // The first may still be on its way.
        expect(found.equals(sent)).toBe(true)
      }), { numRuns: 150 })
  })

  test('are those of the library when the memory was used before, and with thousands of records', async () => {
    const ours = packed('p.changes')
    const many = (count: number, text: string): NewRecord[] => Array.from({ length: count }, (_, i) => ({
      key: Buffer.from(`{"id":"${i}"}`), value: Buffer.from(text.repeat(i % 50)), headers: { rekey: `1.abc;5:0/1;${i};0` } }))
    for (const records of [many(9_000, 'äöü'), many(3, 'x'), many(70, '€')]) {
      ours.clear()
      for (const record of records) ours.add(record)
      const head = { producerId: '4711', producerEpoch: 2 }
      expect((await requestOf(produce.protocol, 7, ours.topicMessages(), head)).equals(await requestOf(theirs, 7, plain(records), head))).toBe(true)
    }
  })

  test('nothing is sent for a topic that got nothing since', () => {
    const ours = packed('p.changes')
    ours.add({ key: null, value: Buffer.from('x'), headers: { rekey: 'h' } })
    ours.clear()
    expect(ours.topicMessages()).toEqual([])
  })

  test('have the head of a request that the library gives them', async () => {
    expect(ourFrame).not.toBe(theirFrame)
    for (const topic of ['t', 'ü'.repeat(124)]) {
      const ours = packed(topic)
      ours.add({ key: null, value: Buffer.from('x'), headers: { rekey: 'h' } })
      const topicData = (messages: unknown): object[] => [{ topic, partitions: [{ partition: 0, firstSequence: 0, messages }] }]
      const [{ messages }] = ours.topicMessages()
      const [grouped] = Object.values(group({ topic, partitionMetadata: [1], messages, partitioner: () => 0 }))
      const of = (of: object[]): object => ({
        correlationId: 77, clientId: 'rekey', request: produce.protocol({ version: 7 })({ acks: -1, timeout: 30_000, producerId: '5', producerEpoch: 0, compression: 0, topicData: of }).request })
      const want = await theirFrame(of(topicData([{ key: null, value: Buffer.from('x'), headers: { rekey: 'h' } }])))
      for (const frame of [ourFrame, theirFrame]) expect((await frame(of(topicData(grouped)))).buffer.equals(want.buffer)).toBe(true)
      expect((await ourFrame(of(topicData([{ key: null, value: Buffer.from('x'), headers: { rekey: 'h' } }])))).buffer.equals(want.buffer)).toBe(true)
    }
  })

  test('messages of others are encoded by the library', async () => {
    const messages = [{ key: 'k', value: 'v', headers: { a: ['1', '2'] }, timestamp: '5' }]
    expect(await requestOf(produce.protocol, 7, [{ topic: 't', messages }], {})).toEqual(await requestOf(theirs, 7, [{ topic: 't', messages }], {}))
  })

  test('a length of each size of number is written as it should', async () => {
    for (const length of [0, 63, 64, 8_191, 8_192, 1_048_575, 1_048_576]) {
      const batch = recordBatch(16)
      batch.add({ key: null, value: Buffer.alloc(length, 1), headers: {} })
      const sealed = await batch.seal({ compression: 'none', timestamp: 0, producerId: -1n, producerEpoch: 0, firstSequence: 0 })
      expect(sealed.length, `${length}`).toBe(sealed.readInt32BE(8) + 12)
    }
  })
})

test('another version of the library is refused, and the one that fits is pinned', () => {
  const { version } = require('kafkajs/package.json') as { version: string }
  const { dependencies } = require('../../package.json') as { dependencies: Record<string, string> }
  expect(dependencies['kafkajs']).toBe(version)
  expect(() => checkVersion(version)).not.toThrow()
  expect(() => checkVersion('2.3.0')).toThrow(expect.objectContaining({ code: 'CONFIG' }) as Error)
})

test('CRC-32C of known texts (RFC 3720, appendix B.4), wherever they lie in memory', () => {
  const known: readonly (readonly [Buffer, number])[] = [
    [Buffer.alloc(32), 0x8a9136aa], [Buffer.alloc(32, 0xff), 0x62a8ab43], [Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
    [Buffer.from('123456789'), 0xe3069283], [Buffer.alloc(0), 0],
  ]
  for (const [text, crc] of known) {
    for (let shift = 0; shift < 8; shift++) {
      const memory = Buffer.alloc(64, 0x55)
      text.copy(memory, shift)
      expect(crc32c(memory, shift, shift + text.length)).toBe(crc)
    }
  }
})
