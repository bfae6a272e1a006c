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
