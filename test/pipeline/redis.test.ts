import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import { random } from '../support/random.ts'
import { counts, redisClient } from '../support/redis-client.ts'
import { createRig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'
import { startRedis } from '../support/services/redis.ts'
import { DESTINATION_SQL, destinationWorkload, MAPPING, SOURCE_SQL, THEIRS_SQL, workload } from './workload.ts'

const [servers, redis] = await Promise.all([pair({ source: 16, destination: 17 }), startRedis()])
const client = await redisClient(redis.url)
afterAll(async () => {
  client.disconnect()
  await redis.stop()
})

const { seed } = random()
/** Merged users, and ids of chance that are nowhere but in the ledger. */
const WITH_CHANCE = MAPPING.replace('folders: { prefix: fld }', 'folders: { prefix: fld, id: random }').replace('docs: { prefix: doc }', 'docs: { prefix: doc, id: random }')

test.each(['engine', 'set'] as const)('the random workload with the id map in Redis, emptied again and again (checks: %s)', async (checks) => {
  const count = counts()
  const rig = await createRig({
    servers, sourceSql: SOURCE_SQL, destinationSql: DESTINATION_SQL, mapping: WITH_CHANCE, events: { meter: count.events },
    config: `checks: ${checks}\nidMap: redis\nredis: { url: "${redis.url}", compare: 50ms }\nsnapshot: { rowsPerChunk: 100 }`,
  })
  const stop = new AbortController()
  const flushing = (async () => {
    while (!stop.signal.aborted) {
      await sleep(150)
      await client.flushall()
    }
  })()
  try {
    await rig.destination.query(THEIRS_SQL)
    const work = workload({ url: rig.source.url, seed })
    await work.run(60)
    const others = destinationWorkload(rig.destination.url, seed, stop.signal)
    let running = rig.start()
    await work.run(60)
    // Each start forgets what was in memory, so that Redis is asked.
    for (let again = 0; again < 3; again++) {
      await rig.caughtUp(running)
      await running.stop()
      running = rig.start()
      await work.run(40)
    }
    await rig.caughtUp(running)
    stop.abort()
    await Promise.all([others, flushing])
    await running.stop()
    expect(await rig.destination.query("select tbl, key, op, sqlstate, reason, change from rekey.parked where state <> 'done'")).toEqual([])
    expect(await rig.differences()).toEqual([])
    for (const [table, totals] of Object.entries(running.latest()!.totals)) expect([table, closes(totals)]).toEqual([table, true])
    expect(count.known.redis).toBeGreaterThan(0)
    expect(count.rebuilds).toBeGreaterThan(3)
  } finally {
    stop.abort()
    await rig.close()
  }
})

test('record: all keeps every pair of rows that are at the destination, also computed ones, for others to read', async () => {
  const tables = ['people', 'places', 'things']
  const table = (id: string): string => tables.map((name) => `create table ${name} (id ${id} primary key, name text not null)`).join('; ')
  const rig = await createRig({
    servers, sourceSql: table('bigint'), destinationSql: `${table('text collate "C"')}; insert into people values ('there', 'n1')`,
    mapping: `
application: pairs
contexts: [{ name: all, tables: [people, places, things] }]
entities: { people: { prefix: per }, places: { prefix: pla }, things: { prefix: thi, form: opaque } }
tables: { people: { verdict: merge, on: [name] } }
`,
    config: `idMap: redis\nredis: { url: "${redis.url}", compare: 50ms, record: all }\nbatch: { rows: 500 }\nmemory: { transaction: 64KiB }`,
  })
  const at = `rekey:${rig.config.pipeline}`
  const sorted = (ids: readonly (string | null)[]): string => JSON.stringify(ids.map(String).sort((a, b) => (a < b ? -1 : 1)))
  const pairs = async (table: string): Promise<string> => sorted(Object.values(await client.hgetall(`${at}:pairs:${table}`)))
  const ids = async (table: string): Promise<string> => sorted((await rig.destination.query(`select id from ${table}`)).map((row) => row.id))
  const recorded = async (): Promise<void> => {
    for (const table of ['places', 'things']) {
      const end = Date.now() + 20_000
      while ((await pairs(table)) !== (await ids(table)) && Date.now() < end) await sleep(20)
      expect(await pairs(table)).toBe(await ids(table))
    }
  }
  const add = (from: number, to: number): Promise<unknown> =>
    rig.source.query(tables.map((name) => `insert into ${name} select i, 'n' || i from generate_series(${from}, ${to}) i`).join('; '))
  try {
    await add(-3, 5_000)
    const running = rig.start()
    await rig.caughtUp(running)
    await recorded()
    // Few rows come with their commit; a transaction in fragments is read again after it.
    await add(5_001, 5_010)
    await rig.caughtUp(running)
    await recorded()
    await add(10_000, 14_000)
    await rig.caughtUp(running)
    await recorded()
    await rig.source.query('update places set id = 99999 where id = 1')
    await rig.caughtUp(running)
    expect(await client.hget(`${at}:pairs:places`, '99999')).toBe((await rig.destination.query('select max(id) as id from places'))[0].id)
    await client.flushall()
    await recorded()
    // Those that are decided are entries of the ledger.
    expect(JSON.parse((await client.hget(`${at}:map:people`, '1'))!)).toMatchObject({ id: 'there', kind: 'merged' })
    expect(await client.exists(`${at}:pairs:people`)).toBe(0)
    await running.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})
