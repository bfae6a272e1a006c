import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { drained } from '../support/drained.ts'
import { random } from '../support/random.ts'
import { redisClient, counts } from '../support/redis-client.ts'
import { createRig, type Running } from '../support/rig.ts'
import { pair } from '../support/servers.ts'
import { startKafka } from '../support/services/kafka.ts'
import { startRedis } from '../support/services/redis.ts'

const [servers, broker, redis] = await Promise.all([pair({ source: 16, destination: 17 }), startKafka(), startRedis()])
const { int, chance } = random()
const TABLES = (id: string): string => `create table users (id ${id} primary key, email text not null unique);
  create table notes (id ${id} primary key, user_id ${id} not null references users, body text); create index on notes (user_id);`
const MAPPING = `
application: people
contexts: [{ name: all, tables: [users, notes] }]
entities: { users: { prefix: usr }, notes: { prefix: note, id: random } }
tables:
  users: { verdict: merge, on: [email] }
  notes: { root: user_id }
`

test('several deliver processes share one Redis, which is emptied, killed and comes back under way', async () => {
  const count = counts()
  const rig = await createRig({
    servers, sourceSql: `${TABLES('bigint')} alter table notes replica identity full`, destinationSql: TABLES('text collate "C"'), mapping: MAPPING, events: { meter: count.events },
    // So little memory that Redis is asked.
    config: `log: kafka\nkafka: { brokers: ['${broker.bootstrap}'], partitions: 4 }\nidMap: redis\nredis: { url: "${redis.url}", compare: 200ms }\nmemory: { ledger: 64KiB }\nbatch: { rows: 50 }`,
  })
  await rig.destination.query("insert into users select 'theirs' || i, 'u' || i || '@x.org' from generate_series(1, 3000, 3) i")
  await rig.source.query("insert into users select i, 'u' || i || '@x.org' from generate_series(1, 2000) i; insert into notes select i, i, 'n' from generate_series(1, 200) i")
  const client = await redisClient(redis.url)
  const stop = new AbortController()
  const running: Running[] = [rig.start({ role: 'capture' })]
  let n = 2_000
  const work = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const statements = Array.from({ length: 8 }, () => {
        n++
        if (chance(0.3)) return `insert into users values (${n}, 'u${n}@x.org'); insert into notes values (${n}, ${n}, 'with its user')`
        if (chance(0.2)) return `delete from notes where id = ${int(1, n)}`
        return `insert into notes values (${n}, ${int(1, 2_000)}, 'n'); update notes set body = 'b${n}' where id = ${int(1, n)}`
      })
      await rig.source.query(statements.join(';'))
      await sleep(60)
    }
  }
  const filled = async (): Promise<boolean> => (await client.hget(`rekey:${rig.config.pipeline}:state`, 'full')) === '1'
  try {
    for (let i = 0; i < 3; i++) running.push(rig.start({ role: 'deliver' }))
    await expect.poll(() => running.slice(1).every((one) => one.notes.some((note) => note.event === 'partition'))).toBe(true)
    const working = work()
    await expect.poll(filled).toBe(true)
    await sleep(1_000)
    await client.flushall()
    await expect.poll(filled).toBe(true)
    await redis.kill()
    await sleep(1_000)
    await redis.restart()
    await expect.poll(() => filled().catch(() => false)).toBe(true)
    await sleep(1_000)
    // How long that takes depends on what else the machine does.
    await expect.poll(() => count.known.redis).toBeGreaterThan(100)
    stop.abort()
    await working
    await drained(rig, { seconds: 60 })
    expect(await rig.differences()).toEqual([])
    expect(await rig.destination.query("select tbl, key, reason from rekey.parked where state <> 'done'")).toEqual([])
    // What the copy says at rest is what the ledger says, or that it is to be asked.
    const entries = await rig.destination.query("select entity, old, new from rekey.id_map where kind <> 'gone' and entity = 'notes'")
    expect(entries.length).toBeGreaterThan(200)
    const said = await client.hmget(`rekey:${rig.config.pipeline}:map:notes`, ...entries.map((one) => one.old!))
    const wrong = entries.filter(({ new: id }, i) => said[i] !== null && !said[i].startsWith('?') && !said[i].includes(id!))
    expect(wrong).toEqual([])
    expect(said.filter((one) => one !== null && !one.startsWith('?')).length).toBeGreaterThan(entries.length / 2)
    expect([count.conflicts, count.rebuilds]).toEqual([0, expect.toSatisfy((n: number) => n >= 3, 'filled three times')])
    expect(count.known.redis).toBeGreaterThan(100)
  } finally {
    stop.abort()
    client.disconnect()
    await Promise.all(running.map((one) => one.stop().catch(() => {})))
    await rig.close()
    await Promise.all([redis.stop(), broker.stop()])
  }
}, 150_000)
