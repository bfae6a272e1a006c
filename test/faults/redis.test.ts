import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { entryCodec } from '../../connectors/redis/entry.ts'
import type { Decision } from '../../src/core/plan.ts'
import { cacheKey } from '../../src/pipeline/id-map.ts'
import { startProxy } from '../support/proxy.ts'
import { counts, type Counts, redisClient } from '../support/redis-client.ts'
import { createRig, type Rig, type Running } from '../support/rig.ts'
import { pair } from '../support/servers.ts'
import { startRedis } from '../support/services/redis.ts'

/** What an id map in Redis may suffer. The ledger decides in every case, so nothing wrong is ever written. */
const [servers, redis] = await Promise.all([pair({ source: 15, destination: 18 }), startRedis({ appendonly: 'no', 'enable-debug-command': 'local' })])
const client = await redisClient(redis.url)
afterAll(async () => {
  client.disconnect()
  await redis.stop()
})

const MAPPING = `
application: people
contexts: [{ name: all, tables: [users, notes] }]
entities: { users: { prefix: usr }, notes: { prefix: note, id: random } }
tables:
  users: { verdict: merge, on: [email] }
  notes: { columns: { user_id: { ref: users } } }
`
const TABLES = (id: string): string => `create table users (id ${id} primary key, email text not null unique);
  create table notes (id ${id} primary key, user_id ${id}, body text)`

let rig: Rig
let count: Counts
let running: Running | null

/** `compare`: how often the bridge looks after its copy. */
async function peopleRig(compare: string, url = redis.url): Promise<void> {
  count = counts()
  running = null
  rig = await createRig({
    servers, sourceSql: TABLES('bigint'), destinationSql: TABLES('text collate "C"'), mapping: MAPPING, events: { meter: count.events },
    config: `idMap: redis\nredis: { url: "${url}", compare: ${compare} }`,
  })
  await rig.destination.query("insert into users select 'theirs' || i, 'u' || i || '@x.org' from generate_series(1, 20) i")
  await rig.source.query("insert into users select i, 'u' || i || '@x.org' from generate_series(1, 40) i; insert into notes select i, i, 'n' from generate_series(1, 40) i")
}

async function start(): Promise<Running> {
  running = rig.start()
  await rig.caughtUp(running)
  return running
}

/** A bridge that has forgotten what it knew, and a copy that answers it. */
async function startAnew(): Promise<void> {
  await running?.stop()
  await start()
  await until(() => count.answers)
}

async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 15_000; !(await what()); await sleep(20)) if (Date.now() > end) throw new Error('it did not come to be')
}

const mapOf = (entity: string): string => `rekey:${rig.config.pipeline}:map:${entity}`
const filled = (): Promise<void> => until(async () => (await client.hget(`rekey:${rig.config.pipeline}:state`, 'full')) === '1')

/** How this pipeline itself would write it. */
async function forge(decision: Omit<Decision, 'rule' | 'evidence'>): Promise<void> {
  const [{ life }] = await rig.destination.query(`select life::text from rekey.ledger where pipeline = '${rig.config.pipeline}'`)
  const codec = entryCodec(cacheKey(rig.config, life!))
  await client.hset(mapOf(decision.entity), decision.key, codec.encode({ rule: '', evidence: '', ...decision }))
}

async function ids(): Promise<string> {
  return JSON.stringify(await rig.destination.query('select entity, old, new from rekey.id_map order by entity, old'))
}

async function agree(): Promise<void> {
  await rig.caughtUp(running!)
  expect(await rig.differences()).toEqual([])
  expect(await rig.destination.query("select tbl, key, reason from rekey.parked where state <> 'done'")).toEqual([])
}

afterEach(async () => {
  await running?.stop().catch(() => {})
  await rig.close()
  await client.flushall()
})

describe('a copy that nobody looks after', () => {
  beforeEach(() => peopleRig('1h'))

  test('is asked before the ledger', async () => {
    await start()
    await filled()
    await startAnew()
    count.known.redis = 0
    await rig.source.query("insert into notes select i + 100, i, 'more' from generate_series(1, 40) i")
    await agree()
    expect(count.known.redis).toBe(40)
    expect(count.conflicts).toBe(0)
  })

  test('a wrong id that is written as our own is never committed', async () => {
    await start()
    await filled()
    await startAnew()
    const before = await ids()
    await forge({ entity: 'users', key: '7', id: 'usr_of_somebody_else', kind: 'merged' })
    await forge({ entity: 'users', key: '30', id: 'usr_of_somebody_else', kind: 'inserted' })
    await rig.source.query("insert into notes values (201, 7, 'seven'), (202, 30, 'thirty'), (203, 8, 'eight')")
    await agree()
    expect(count.conflicts).toBe(2)
    expect(await rig.destination.query("select 1 from notes where user_id = 'usr_of_somebody_else'")).toEqual([])
    expect(JSON.parse(before).length).toBe(JSON.parse(await ids()).length - 3)
    // It is right again in the copy, too.
    await until(async () => JSON.parse((await client.hget(mapOf('users'), '7')) ?? '{}').id === 'theirs7')
    await startAnew()
    await rig.source.query("insert into notes values (204, 7, 'again')")
    await agree()
    expect(count.conflicts).toBe(2)
  })

  test('a value of another hand, or of another key, is not believed', async () => {
    await start()
    await filled()
    await startAnew()
    const { 7: seven } = await client.hgetall(mapOf('users'))
    const edited = JSON.stringify({ ...JSON.parse(seven), id: 'theirs1' })
    await client.hset(mapOf('users'), { 7: edited, 8: seven, 9: 'nonsense', 10: '', 11: '{"id":1}' })
    await rig.source.query("insert into notes select i + 300, i, 'more' from generate_series(7, 12) i")
    await agree()
    expect(count.conflicts).toBe(5)
    await until(async () => (await client.hget(mapOf('users'), '7')) === seven)
  })

  test('an entry that was true once is refuted: gone, and dangling', async () => {
    await start()
    await rig.source.query("insert into notes values (401, 77, 'nobody yet'); insert into users values (50, 'fifty@x.org')")
    await agree()
    const old = await client.hgetall(mapOf('users'))
    expect(['77', '50'].map((key) => JSON.parse(old[key]).kind)).toEqual(['dangling', 'inserted'])
    await rig.source.query("insert into users values (77, 'came@x.org'); delete from users where id = 50")
    await agree()
    await startAnew()
    await client.hset(mapOf('users'), { 77: old['77'], 50: old['50'] })
    await rig.source.query("insert into users values (50, 'back@x.org'); insert into notes values (402, 50, 'x'), (403, 77, 'y')")
    await agree()
    expect(count.conflicts).toBe(2)
    const kinds = await rig.destination.query("select old, kind from rekey.id_map where entity = 'users' and old in ('50', '77') order by 1")
    expect(kinds).toEqual([{ old: '50', kind: 'inserted' }, { old: '77', kind: 'inserted' }])
  })

  test('the ledger of a pipeline that was removed is not met again', async () => {
    await start()
    await filled()
    await running!.stop()
    await rig.destination.query('drop schema rekey cascade; delete from notes; delete from users where id like $$usr%$$')
    await rig.source.query(`select pg_drop_replication_slot('rekey_${rig.config.pipeline}')`)
    count.known.redis = 0
    await start()
    await agree()
    expect(count.known.redis).toBe(0)
  })
})

describe('a copy that is looked after', () => {
  beforeEach(() => peopleRig('100ms'))

  test('a differing value is found without being used, and put right', async () => {
    await start()
    await filled()
    const right = await client.hget(mapOf('users'), '3')
    await forge({ entity: 'users', key: '3', id: 'usr_wrong', kind: 'merged' })
    await client.hdel(mapOf('users'), '4')
    await until(async () => (await client.hget(mapOf('users'), '3')) === right && (await client.hexists(mapOf('users'), '4')) === 1)
    expect(count.conflicts).toBe(1)
  })

  test('FLUSHALL: it is filled anew', async () => {
    await start()
    await filled()
    const before = await ids()
    await client.flushall()
    await until(() => count.rebuilds === 2)
    expect(await client.hlen(mapOf('users'))).toBe(40)
    await rig.source.query("update users set email = email || '.new'; update notes set body = 'changed'")
    await agree()
    expect(await ids()).toBe(before)
  })

  test('a restart from an old dump: what it holds is thrown away and filled anew', async () => {
    await start()
    await rig.source.query("insert into notes values (401, 77, 'nobody yet')")
    await agree()
    await filled()
    await client.call('save')
    await rig.source.query("insert into users values (77, 'came@x.org'); delete from users where id = 40")
    await agree()
    await redis.kill()
    await redis.restart()
    await until(() => count.rebuilds === 2)
    await running!.stop()
    await redis.kill()
    await redis.restart()
    expect(JSON.parse((await client.hget(mapOf('users'), '77'))!).kind).toBe('dangling')
    await start()
    await until(() => count.rebuilds === 3)
    expect(JSON.parse((await client.hget(mapOf('users'), '77'))!).kind).toBe('inserted')
    await startAnew()
    await rig.source.query("insert into notes values (402, 77, 'x'), (403, 40, 'y')")
    await agree()
    expect(count.conflicts).toBe(0)
  })

  test('without it the ledger answers, and what changed meanwhile is not told wrongly afterwards', async () => {
    await start()
    await filled()
    await redis.kill()
    await rig.source.query("insert into users values (60, 'sixty@x.org'); insert into notes values (501, 60, 'x'), (502, 1, 'y'); delete from users where id = 39")
    await agree()
    expect(count.silences).toBeGreaterThan(0)
    await running!.stop()
    await start()
    await rig.source.query("insert into notes values (503, 60, 'x')")
    await agree()
    await redis.restart()
    await filled()
    await until(async () => (await client.hlen(mapOf('users'))) === 41)
    await rig.source.query("insert into notes values (504, 60, 'x'), (505, 39, 'y')")
    await agree()
    expect(count.conflicts).toBe(0)
  })
})

test('a server that hangs is not waited for', async () => {
  const proxy = await startProxy(redis)
  try {
    await peopleRig('100ms', proxy.through(redis.url))
    await start()
    await filled()
    await startAnew()
    proxy.freeze()
    const began = performance.now()
    await rig.source.query("insert into notes values (601, 5, 'x'); delete from users where id = 38")
    await agree()
    expect(performance.now() - began).toBeLessThan(5_000)
    proxy.thaw()
    proxy.cut()
    await until(async () => (await client.hget(mapOf('users'), '38'))?.includes('inserted') !== true)
    await rig.source.query("insert into notes values (602, 38, 'x')")
    await agree()
    expect(count.conflicts).toBe(0)
  } finally {
    await running?.stop().catch(() => {})
    await proxy.close()
  }
})

test('a server that evicts: what goes is asked of the ledger', async () => {
  const small = await startRedis({ appendonly: 'no', 'maxmemory-policy': 'allkeys-lru' })
  const crowd = await redisClient(small.url)
  try {
    const used = Number(/used_memory:(\d+)/.exec(await crowd.info('memory'))![1])
    await crowd.config('SET', 'maxmemory', used + 3_000_000)
    await peopleRig('100ms', small.url)
    await start()
    await rig.source.query("insert into users select i, 'u' || i || '@x.org' from generate_series(1001, 4000) i; insert into notes select i, i, 'n' from generate_series(1001, 4000) i")
    await agree()
    const before = await ids()
    for (let round = 0; round < 4; round++) {
      const others = crowd.pipeline()
      for (let i = 0; i < 200; i++) others.set(`others ${round} ${i}`, 'x'.repeat(4_000))
      await others.exec()
      await running!.stop()
      await start()
      await rig.source.query(`update notes set user_id = 1 + (id + ${round}) % 40 where id > 1000`)
      await agree()
    }
    expect(Number(/evicted_keys:(\d+)/.exec(await crowd.info('stats'))![1])).toBeGreaterThan(100)
    expect(await ids()).toBe(before)
    expect(count.conflicts).toBe(0)
  } finally {
    crowd.disconnect()
    await running?.stop().catch(() => {})
    await small.stop()
  }
})
