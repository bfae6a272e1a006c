import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { redisCache, type RedisCache, type RedisCacheOptions } from '../../connectors/redis/cache.ts'
import { redisFacts } from '../../connectors/redis/facts.ts'
import type { Decision } from '../../src/core/plan.ts'
import { redisClient } from '../support/redis-client.ts'
import { startRedis } from '../support/services/redis.ts'

const redis = await startRedis({ appendonly: 'no' })
const client = await redisClient(redis.url)
const opened: RedisCache[] = []

afterAll(async () => {
  client.disconnect()
  await redis.stop()
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()))
  await client.flushall()
})

function open(more: Partial<RedisCacheOptions> = {}): RedisCache {
  const cache = redisCache({ url: redis.url, prefix: 'test', pipeline: 'p', key: Buffer.from('key'), generation: 'one', timeoutMs: 1_000, ...more })
  opened.push(cache)
  return cache
}

async function filled(more: Partial<RedisCacheOptions> = {}): Promise<RedisCache> {
  const cache = open(more)
  while ((await cache.state()) !== 'empty') await sleep(5)
  await cache.filled()
  return cache
}

const entry = (key: string, more: Partial<Decision> = {}): Decision => ({ entity: 'users', key, id: `usr_${key}`, kind: 'inserted', rule: '', evidence: '', ...more })
const idsOf = async (cache: RedisCache, ...keys: string[]): Promise<string[]> => [...(await cache.find('users', keys)).entries.values()].map((d) => d.id)

describe('the copy', () => {
  test('says nothing before it was filled, nor when another process fills it', async () => {
    const first = open()
    while ((await first.state()) !== 'empty') await sleep(5)
    first.keep([entry('1')])
    expect(await idsOf(first, '1')).toEqual([])
    const second = open()
    await sleep(100)
    expect(await second.state()).toBe('away')
    await first.filled()
    expect(await idsOf(first, '1')).toEqual(['usr_1'])
    expect(await second.state()).toBe('full')
    expect(await idsOf(second, '1')).toEqual(['usr_1'])
  })

  test('what was read before a commit does not come back after it, whoever read it', async () => {
    const [writer, reader] = [await filled(), open()]
    while ((await reader.state()) !== 'full') await sleep(5)
    writer.keep([entry('1', { kind: 'dangling' })])
    await writer.flushed()
    // Another process looks, and asks the ledger what is absent; meanwhile a commit changes one of these and makes the other.
    const before = await reader.find('users', ['1', '2'])
    expect([...before.entries.keys()]).toEqual(['1'])
    writer.keep([entry('2'), entry('1', { replaces: true })])
    await writer.flushed()
    before.learn([entry('2', { id: 'usr_old' })])
    await reader.flushed()
    expect(await idsOf(writer, '1', '2')).toEqual(['usr_2'])
    // The mark of the change gives way to what the ledger said after it, and not after the next change.
    const after = await reader.find('users', ['1'])
    writer.keep([entry('1', { kind: 'gone', replaces: true })])
    await writer.flushed()
    after.learn([entry('1')])
    await reader.flushed()
    expect(await idsOf(reader, '1')).toEqual([])
    const last = await reader.find('users', ['1'])
    last.learn([entry('1', { kind: 'gone' })])
    await reader.flushed()
    expect((await writer.find('users', ['1'])).entries.get('1')?.kind).toBe('gone')
  })

  test('values of another ledger, entity or key are foreign, and pipelines and prefixes do not meet', async () => {
    const foreign: string[] = []
    const cache = await filled({ onForeign: (entity) => foreign.push(entity) })
    cache.keep([entry('1'), entry('1', { entity: 'groups' })])
    await cache.flushed()
    const value = (await client.hget('test:p:map:users', '1'))!
    await client.hset('test:p:map:users', { 2: value })
    await client.hset('test:p:map:groups', { 1: value })
    expect(await idsOf(cache, '1', '2')).toEqual(['usr_1'])
    expect((await cache.find('groups', ['1'])).entries.size).toBe(0)
    expect(foreign).toEqual(['users', 'groups'])
    const [pipeline, prefix] = [await filled({ pipeline: 'q', key: Buffer.from('q') }), await filled({ prefix: 'other' })]
    expect([...await idsOf(pipeline, '1'), ...await idsOf(prefix, '1')]).toEqual([])
    // Under the same names, with another key: as if it were absent, and no harm to who has it.
    await client.hset('test:q:map:users', { 1: value })
    expect(await idsOf(pipeline, '1')).toEqual([])
    expect(await idsOf(cache, '1')).toEqual(['usr_1'])
  })

  test('another ledger of the same name empties it', async () => {
    const old = await filled()
    old.keep([entry('1')])
    await old.flushed()
    await old.close()
    const cache = open({ generation: 'two', key: Buffer.from('another') })
    while ((await cache.state()) !== 'empty') await sleep(5)
    expect(await client.keys('test:p:*')).toEqual(['test:p:filling'])
  })

  test('a process beside it does not fill it, and tells what it knows', async () => {
    const reader = open({ fills: false })
    await sleep(100)
    expect(await reader.state()).toBe('away')
    const cache = await filled()
    cache.keep([entry('1')])
    await cache.flushed()
    expect(await reader.state()).toBe('full')
    const found = await reader.find('users', ['1', '2'])
    found.learn([entry('2')])
    await reader.drop('users', ['1'])
    await reader.flushed()
    expect(await idsOf(cache, '1', '2')).toEqual(['usr_2'])
    await client.flushall()
    expect(await reader.state()).toBe('away')
    expect(await client.keys('*')).toEqual([])
  })

  test('a server without room refuses entries, and changes are taken back all the same', async () => {
    const cache = await filled()
    cache.keep([entry('1', { kind: 'dangling' })])
    await cache.flushed()
    await client.config('SET', 'maxmemory', '1')
    try {
      cache.keep([entry('2'), entry('1', { replaces: true })])
      await cache.flushed()
      await sleep(50)
      expect(await client.hgetall('test:p:map:users')).toEqual({})
      expect(await cache.state()).toBe('full')
    } finally {
      await client.config('SET', 'maxmemory', '0')
    }
  })

  test('100,000 keys in one look-up, a thousand a command', async () => {
    const cache = await filled()
    const entries = Array.from({ length: 100_000 }, (_, i) => entry(String(i)))
    for (let i = 0; i < entries.length; i += 20_000) expect(await cache.compare(entries.slice(i, i + 20_000))).toEqual({ added: 20_000, differing: [] })
    const before = Number(/cmdstat_hmget:calls=(\d+)/.exec(await client.info('commandstats'))![1])
    expect((await cache.find('users', entries.map((d) => d.key))).entries.size).toBe(100_000)
    expect(Number(/cmdstat_hmget:calls=(\d+)/.exec(await client.info('commandstats'))![1]) - before).toBe(100)
  })
})

test('what a server says of itself', async () => {
  expect(await redisFacts({ url: redis.url })).toMatchObject({ policy: 'noeviction', role: 'master' })
  expect(await redisFacts({ url: 'redis://127.0.0.1:1' })).toBeNull()
})
