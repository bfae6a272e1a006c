import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Totals } from '../../src/core/plan.ts'
import { closes } from '../../src/core/totals.ts'
import { DESTINATION_SQL, destinationWorkload, MAPPING, SOURCE_SQL, THEIRS_SQL, workload } from '../pipeline/workload.ts'
import { type Child, startChild } from '../support/child.ts'
import { client } from '../support/database.ts'
import { drained, ledger } from '../support/drained.ts'
import { startPostgres, type Server } from '../support/postgres.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
import { random } from '../support/random.ts'
import { startKafka } from '../support/services/kafka.ts'
import { startRedis } from '../support/services/redis.ts'
import type { Served } from '../support/services/serve.ts'
import { createRig, type Rig } from '../support/rig.ts'

/**
 * `npm run soak -- --minutes N --seed S [--log kafka]`: both databases are worked on all the time while the bridge and both servers are killed,
 * connections
 * are cut and frozen, and locks are held at the destination, at random. At the end everything is left in peace, and then every row must be
 * where the oracle wants it, every total must close, and no decision may have changed. Prints the seed, what was done, and the verdict.
 */
const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' }, seed: { type: 'string' },
  checks: { type: 'string', default: 'set' }, log: { type: 'string', default: 'direct' } } })
const chance = random(values.seed === undefined ? {} : { seed: Number(values.seed) })
const until = Date.now() + Number(values.minutes) * 60_000
const LIMIT_MIB = 300

const done: Record<string, number> = {}
const count = (what: string): void => {
  done[what] = (done[what] ?? 0) + 1
}

const source = await startPostgres({ major: 16 })
const destination = await startPostgres({ major: 18 })
const overKafka = values.log === 'kafka'
// Both are killed as well; the ledger is read through Redis then.
const broker = overKafka ? await startKafka() : null
const redis = overKafka ? await startRedis() : null
const links = { source: await startProxy({ host: '127.0.0.1', port: source.port }),
  destination: await startProxy({ host: '127.0.0.1', port: destination.port }) }
const rig = await createRig({
  servers: { source, destination }, sourceSql: SOURCE_SQL, destinationSql: DESTINATION_SQL, mapping: MAPPING,
  through: { source: (url) => links.source.through(url), destination: (url) => links.destination.through(url) },
  config: `checks: ${values.checks}\nsnapshot: { rowsPerChunk: 500 }\nbatch: { rows: 200 }\n${broker && redis
    ? `log: kafka\nkafka: { brokers: ['${broker.bootstrap}'] }\nidMap: redis\nredis: { url: '${redis.url}' }` : ''}`,
})

let rss = 0
const faults: string[] = []
let known = new Map<string, string>()

async function keeps(): Promise<void> {
  const now = await ledger(rig).catch(() => new Map<string, string>())
  if (now.size < known.size) return
  const changed = [...known].filter(([key, id]) => now.get(key) !== id)
  if (changed.length > 0) faults.push(`decisions changed: ${changed.slice(0, 3).map(([key]) => key).join(', ')}`)
  known = now
}

/** Holds rows of the destination for a while, as a long statement of its own application does. */
async function holdLocks(at: Rig): Promise<void> {
  const session = await client(at.destination.url)
  try {
    await session.query('begin')
    await session.query(chance.pick(['lock table docs in share row exclusive mode', "select 1 from users for update",
      "select 1 from folders order by id limit 20 for update"]))
    await sleep(chance.int(50, 1_500))
  } catch {
    // It was the one to give way in a deadlock, or its server went: both are part of the exercise.
  } finally {
    await session.end().catch(() => {})
  }
}

async function outage(server: Pick<Server, 'kill' | 'restart'> | Served): Promise<void> {
  await server.kill()
  await sleep(chance.int(50, 800))
  await server.restart()
}

const links_ = [links.source, links.destination] as const
const frozen = async (link: Proxy): Promise<void> => {
  link.freeze()
  await sleep(chance.int(100, 3_000))
  link.thaw()
}

const accidents: readonly { readonly what: string; readonly weight: number; run(child: Child): Promise<void> }[] = [
  { what: 'bridge killed', weight: 10, run: async (child) => child.kill('SIGKILL') },
  { what: 'bridge stopped in order', weight: 2, run: async (child) => child.kill('SIGTERM') },
  { what: 'source killed', weight: 2, run: () => outage(source) },
  { what: 'destination killed', weight: 2, run: () => outage(destination) },
  ...(broker ? [{ what: 'broker killed', weight: 2, run: () => outage(broker) }] : []),
  ...(redis ? [{ what: 'Redis killed', weight: 2, run: () => outage(redis) }] : []),
  { what: 'connections cut', weight: 3, run: async () => chance.pick(links_).cut() },
  { what: 'connections frozen', weight: 2, run: () => frozen(chance.pick(links_)) },
  { what: 'locks held', weight: 3, run: () => holdLocks(rig) },
]
const bag = accidents.flatMap((accident) => Array.from({ length: accident.weight }, () => accident))

await rig.destination.query(THEIRS_SQL)
const stop = new AbortController()
// Slow enough that the bridge, which begins anew all the time, can keep up: what is asked here is safety, not speed.
const work = workload({ url: rig.source.url, seed: chance.seed, sessions: 2, ids: 60, pause: 25 })
await work.run(60)
const busy = Promise.all([work.run(1e9, stop.signal), destinationWorkload(rig.destination.url, chance.seed, stop.signal)])
let failed: string | null = null
const start = (): Child => {
  const child = startChild(rig.config)
  void child.ended.then(() => {
    rss = Math.max(rss, child.rss)
    const why = child.lines.findLast((line) => line.startsWith('failed'))
    // A start may meet a server that is down, or its own predecessor that the server has not missed yet.
    if (why !== undefined && !/^failed (REMOTE|SLOT_IN_USE|RUNNING)/.test(why)) failed = why
  })
  return child
}

let child = start()
while (Date.now() < until && failed === null) {
  await sleep(chance.int(200, 3_500))
  const accident = chance.pick(bag)
  count(accident.what)
  await accident.run(child).catch((error: unknown) => faults.push(`${accident.what}: ${String(error)}`))
  const ended = await Promise.race([child.ended.then(() => true), sleep(100).then(() => false)])
  if (ended) {
    await keeps()
    child = start()
  }
  if (Object.values(done).reduce((a, b) => a + b,
    0) % 25 === 0) console.log(`${new Date().toISOString()} ${JSON.stringify(done)}, ${work.committed} transactions, peak ${Math.round(rss / 2 ** 20)} MiB`)
}
stop.abort()
await busy
if (await Promise.race([child.ended.then(() => true), sleep(0).then(() => false)])) child = start()
let over: string | undefined
void child.ended.then(() => (over = child.lines.slice(-3).join(' | ')))
try {
  await drained(rig, { seconds: 900, failed: () => over })
  await keeps()
  child.kill('SIGTERM')
  await child.ended
  rss = Math.max(rss, child.rss)
  const differences = await rig.differences()
  if (differences.length > 0) faults.push(`${differences.length} differences: ${differences.slice(0,
    3).map((d) => `${d.table} ${d.key} ${d.what}`).join('; ')}`)
  const parked = await rig.destination.query(`select tbl, op, sqlstate, reason, count(*)::text as n, min(commit_lsn)::text as first
    from rekey.parked where state <> 'done' and not behind group by 1, 2, 3, 4 order by min(commit_lsn)`)
  for (const row of parked) faults.push(`parked: ${row.n} of ${row.tbl}, ${row.op}, ${row.sqlstate} ${row.reason}, from ${row.first}`)
  const [{ totals }] = await rig.destination.query('select totals::text as totals from rekey.checkpoint')
  for (const [table, one] of Object.entries(JSON.parse(totals!) as Record<string,
    Totals>)) if (!closes(one)) faults.push(`the totals of ${table} do not close`)
} catch (error) {
  faults.push(String(error))
}
if (failed !== null) faults.push(failed)
if (rss / 2 ** 20 > LIMIT_MIB) faults.push(`peak memory ${Math.round(rss / 2 ** 20)} MiB`)
console.log(`seed ${chance.seed}; ${values.minutes} minutes; ${JSON.stringify(done)}; ${work.committed} source transactions; peak ${Math.round(rss / 2 ** 20)} MiB`)
console.log(faults.length === 0 ? 'passed: equal to the oracle, totals close, no decision changed' : `FAILED: ${faults.join(' | ')}`)
child.kill('SIGKILL')
for (const link of links_) await link.close()
await rig.close().catch(() => {})
await source.stop()
await destination.stop()
await broker?.stop()
await redis?.stop()
process.exitCode = faults.length === 0 ? 0 : 1
