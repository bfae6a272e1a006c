import { createRequire } from 'node:module'
import fc from 'fast-check'
import type { Message } from 'kafkajs'
import { describe, expect, test } from 'vitest'
import { installLean } from '../../connectors/kafka/lean.ts'

const require = createRequire(import.meta.url)

interface Answer {
  readonly responses: readonly { readonly topicName: string; readonly partitions: readonly { readonly partition: number; readonly messages: readonly { offset: string }[] }[] }[]
}
interface Fetch {
  readonly protocol: (of: { version: number }) => (options: object) => { readonly response: { readonly decode: (raw: Buffer) => Promise<Answer> } }
}
const fetch = require('kafkajs/src/protocol/requests/fetch') as Fetch
const theirs = fetch.protocol
const Record = require('kafkajs/src/protocol/recordBatch/record/v0') as (of: object) => unknown
const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0') as { RecordBatch: (of: object) => Promise<{ readonly buffer: Buffer }> }
const Batch = require('kafkajs/src/consumer/batch') as new (topic: string, offset: string, partition: object) => { readonly messages: unknown[]; lastOffset(): string }
installLean()

const decode = (protocol: Fetch['protocol'], raw: Buffer, version = 11): Promise<Answer> => protocol({ version })({ topics: [] }).response.decode(raw)

interface Made {
  readonly messages: readonly Message[]
  readonly compression: number
  /** More bits of the batch's attributes: 8 for the time of the append, 16 for a transaction, 32 for control. */
  readonly bits: number
  readonly producerId: string
}

/** Batches one after the other as a broker has them. */
async function stored(batches: readonly Made[], first: number): Promise<Buffer> {
  const out: Buffer[] = []
  let offset = BigInt(first)
  for (const { messages, compression, bits, producerId } of batches) {
    const firstTimestamp = 1_700_000_000_000
    const records = messages.map((message, i) => Record({ ...message, offsetDelta: i, timestampDelta: Number(message.timestamp ?? firstTimestamp) - firstTimestamp }))
    const { buffer } = await RecordBatch({ compression, records, firstTimestamp, maxTimestamp: firstTimestamp + 5, producerId, producerEpoch: 1, firstSequence: 3, lastOffsetDelta: records.length - 1 })
    const bytes = Buffer.from(buffer)
    bytes.writeBigInt64BE(offset, 0)
    bytes.writeInt16BE(bytes.readInt16BE(21) | bits, 21)
    out.push(bytes)
    offset += BigInt(messages.length) + 2n
  }
  return Buffer.concat(out)
}

const int16 = (n: number): Buffer => { const b = Buffer.alloc(2); b.writeInt16BE(n); return b }
const int32 = (n: number): Buffer => { const b = Buffer.alloc(4); b.writeInt32BE(n); return b }
const int64 = (n: number | bigint): Buffer => { const b = Buffer.alloc(8); b.writeBigInt64BE(BigInt(n)); return b }

/** The answer to Fetch, version 11 (Kafka's protocol guide). */
function answer(partitions: readonly { readonly records: Buffer; readonly aborted: readonly [string, number][] }[]): Buffer {
  const parts = partitions.flatMap(({ records, aborted }, i) => [
    int32(i), int16(0), int64(900), int64(899), int64(2), int32(aborted.length || -1), ...aborted.flatMap(([id, at]) => [int64(BigInt(id)), int64(at)]), int32(-1),
    int32(records.length), records])
  return Buffer.concat([int32(0), int16(0), int32(0), int32(1), int16(Buffer.byteLength('tö')), Buffer.from('tö'), int32(partitions.length), ...parts])
}

const bytes = fc.uint8Array({ maxLength: 200 }).map((of) => Buffer.from(of))
const message: fc.Arbitrary<Message> = fc.record({
  key: fc.option(bytes), value: fc.option(bytes),
  headers: fc.oneof(fc.record({ rekey: fc.string({ maxLength: 80 }) }), fc.dictionary(fc.string({ maxLength: 9 }).filter((name) => name !== '__proto__'), fc.oneof(bytes, fc.array(bytes, { minLength: 2, maxLength: 3 })), { maxKeys: 3 })),
}, { requiredKeys: ['key', 'value', 'headers'] }).chain((of) => fc.option(fc.integer({ min: -(2 ** 40), max: 2 ** 40 }), { nil: undefined })
  .map((later): Message => (later === undefined ? of : { ...of, timestamp: String(1_700_000_000_000 + later) })))
const made: fc.Arbitrary<Made> = fc.record({
  messages: fc.array(message, { minLength: 1, maxLength: 8 }), compression: fc.constantFrom(0, 0, 1), bits: fc.constantFrom(0, 0, 0, 8, 16, 32, 48), producerId: fc.constantFrom('-1', '77', '78'),
})

describe('batches that were fetched', () => {
  test('are decoded as the library decodes them, and give its consumer the same messages from any offset on', async () => {
    await fc.assert(fc.asyncProperty(
      fc.array(made, { maxLength: 5 }), fc.array(made, { maxLength: 2 }), fc.nat(90), fc.nat(40), fc.array(fc.tuple(fc.constantFrom('77', '78'), fc.nat(30)), { maxLength: 2 }),
      async (batches, others, cut, from, aborted) => {
        const whole = await stored(batches, 5)
        // Of less than a batch's first 17 bytes the library's decoder makes an error; brokers send none.
        const kept = whole.length - cut < 17 ? whole.length : whole.length - cut
        const raw = answer([{ records: whole.subarray(0, kept), aborted: aborted.sort((a, b) => a[1] - b[1]) }, { records: await stored(others, 0), aborted: [] }])
        const [want, found] = [await decode(theirs, raw), await decode(fetch.protocol, raw)]
        expect(found).toEqual(want)
        for (const [i, partition] of want.responses[0].partitions.entries()) {
          const [one, two] = [partition, found.responses[0].partitions[i]].map((of) => new Batch('tö', String(from), of))
          expect(two.messages).toEqual(one.messages)
          expect(two.lastOffset()).toBe(one.lastOffset())
        }
      }), { numRuns: 200 })
  })

  test('of a compression that is not known are left to the library, with its error', async () => {
    const records = await stored([{ messages: [{ key: null, value: Buffer.from('x') }], compression: 0, bits: 3, producerId: '-1' }], 0)
    await expect(decode(fetch.protocol, answer([{ records, aborted: [] }]))).rejects.toMatchObject({ name: 'KafkaJSNotImplemented' })
  })

  test('that are shorter than they say are an error, not silence', async () => {
    const records = await stored([{ messages: [{ key: null, value: Buffer.from('x') }], compression: 0, bits: 0, producerId: '-1' }], 0)
    records.writeInt32BE(1_000, 57)
    await expect(decode(fetch.protocol, answer([{ records, aborted: [] }]))).rejects.toBeInstanceOf(RangeError)
  })

  test('an answer of another version is decoded by the library', async () => {
    const raw = Buffer.concat([int32(9), int32(0)])
    expect(await decode(fetch.protocol, raw, 4)).toEqual(await decode(theirs, raw, 4))
  })
})
