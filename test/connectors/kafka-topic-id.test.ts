import { createRequire } from 'node:module'
import { afterAll, describe, expect, test } from 'vitest'
import { openClient } from '../../connectors/kafka/client.ts'
import { kafkaFacts } from '../../connectors/kafka/facts.ts'
import { metadataExchange, topicId } from '../../connectors/kafka/topic-id.ts'
import { makeTopic, readTopic } from '../../connectors/kafka/topics.ts'
import { judgeKafka } from '../../src/core/check/kafka.ts'
import { administered } from '../support/kafka-rig.ts'
import { startKafka } from '../support/services/kafka.ts'

const frame = createRequire(import.meta.url)('kafkajs/src/protocol/request') as (of: object) => Promise<{ readonly buffer: Buffer }>
const hex = (...pieces: string[]): Buffer => Buffer.from(pieces.join('').replaceAll(' ', ''), 'hex')
const text = (of: string): string => Buffer.from(of).toString('hex')

/** Written down by hand from Kafka's MetadataRequest.json and MetadataResponse.json, version 10. */
describe('the question for the id of a topic', () => {
  test('has these bytes', async () => {
    const { request } = metadataExchange('p.changes')
    const { buffer } = await frame({ request, correlationId: 7, clientId: 'rekey' })
    expect(buffer.toString('hex')).toBe(hex(
      '00000030', '0003 000a', '00000007', '0005', text('rekey'), '00', '02', '00'.repeat(16), '0a', text('p.changes'), '00', '00 00 00', '00').toString('hex'))
  })

  test('has a length of two bytes for a long name', async () => {
    const { buffer } = await metadataExchange('t'.repeat(249)).request.encode()
    expect(buffer.subarray(0, 20).toString('hex')).toBe(hex('00 02', '00'.repeat(16), 'fa01').toString('hex'))
    expect(buffer.length).toBe(2 + 16 + 2 + 249 + 5)
  })

  const ID = '3f2a'.repeat(8)
  const answer = (topics: string): Buffer => hex(
    // Tagged fields that nobody knows, the time of a throttle, two brokers (one in a rack), cluster and controller.
    '01 05 02 abcd', '00000009', '03', '00000001', '03', text('b1'), '00002384', '00', '00', '00000002', '03', text('b2'), '00002385', '03', text('r1'), '00',
    '05', text('clus'), '00000001', topics)

  test.each([
    ['a topic', `02 0000 03 ${text('ab')} ${ID} 00 01 80000000 00 80000000 00`, Buffer.from(ID, 'hex').toString('base64url')],
    ['one that is not there', `02 0003 03 ${text('ab')} ${'00'.repeat(16)} 00 01 80000000 00 80000000 00`, null],
    ['an answer without topics', '01 80000000 00', null],
  ])('understands the answer of %s', async (_, topics, id) => {
    const { response } = metadataExchange('ab')
    const decoded = await response.decode(answer(topics))
    expect(decoded.clientSideThrottleTime).toBe(9)
    expect(await response.parse(decoded)).toBe(id)
  })

  test('tells a refusal by its code', async () => {
    const { response } = metadataExchange('ab')
    await expect(response.parse(await response.decode(answer(`02 001d 03 ${text('ab')} ${'00'.repeat(16)} 00 01 80000000 00`)))).rejects.toMatchObject({ type: 'TOPIC_AUTHORIZATION_FAILED' })
  })
})

const broker = await startKafka()
afterAll(() => broker.stop())

describe('the id of a topic', () => {
  const client = (codec: 'lean' | 'kafkajs' = 'lean') => openClient({ brokers: [broker.bootstrap], ssl: null, sasl: null, codec })
  const wish = { topic: 'ids.changes', batchBytes: 1 << 19, replication: null }

  test('stays as long as the topic does, and is another one of a topic that is made anew', async () => {
    expect(await topicId(client(), wish.topic)).toBeNull()
    await makeTopic(client(), wish)
    const first = await topicId(client(), wish.topic)
    expect(first).toMatch(/^[\w-]{22}$/)
    await administered(broker, (admin) => admin.createPartitions({ topicPartitions: [{ topic: wish.topic, count: 3 }] }))
    await makeTopic(client(), { ...wish, topic: 'ids.other' })
    expect(await topicId(client(), wish.topic)).toBe(first)
    expect((await readTopic(client(), { ...wish, partitions: 3 }))?.id).toBe(first)
    expect(await topicId(client(), 'ids.other')).not.toBe(first)
    await administered(broker, (admin) => admin.deleteTopics({ topics: [wish.topic] }))
    await expect.poll(() => topicId(client(), wish.topic)).toBeNull()
    await makeTopic(client(), wish)
    expect(await topicId(client(), wish.topic)).toMatch(/^[\w-]{22}$/)
    expect(await topicId(client(), wish.topic)).not.toBe(first)
  })

  test('is compared by check with the one that was noted', async () => {
    const facts = (knownId: string | null) => kafkaFacts(() => client(), { changes: wish, knownId, tables: null, group: 'ids.rekey' })
    const judged = async (knownId: string | null) => judgeKafka({ brokers: ['127.0.0.1:1'], tls: false, sasl: null, facts: await facts(knownId) })
    const anew = expect.objectContaining({ severity: 'warning', code: 'KAFKA_TOPIC_ANEW', message: expect.stringContaining('and was AAAA') as string }) as unknown
    expect(await judged('AAAA')).toContainEqual(anew)
    for (const known of [null, await topicId(client(), wish.topic)]) expect(await judged(known)).not.toContainEqual(anew)
  })

  test('is not asked for where the library is left as it is', async () => {
    await makeTopic(client(), { ...wish, topic: 'ids.plain' })
    expect((await readTopic(client('kafkajs'), { ...wish, topic: 'ids.plain' }))?.id).toBeNull()
  })
})
