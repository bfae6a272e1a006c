import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import { createRig, type Rig } from '../test/support/rig.ts'
import { startRedis } from '../test/support/services/redis.ts'
import { sampleCpu } from './cpu.ts'
import { machineOf, openPlace } from './servers.ts'

/**
 * What the id map costs: the same stream of rows that refer to merged users, with the ledger alone, with Redis before it, and with every
 * computed pair recorded. `fits`: all users stay in memory; `small`: hardly any, so nearly every reference is looked up.
 */
const USERS = 50_000
const ROWS = 400_000
const MODES = ['ledger', 'redis', 'record all'] as const
const MEMORIES = { fits: '64MiB', small: '1MiB' } as const
const SIZES = ['fits', 'small'] as const
const RUNS = 3

interface Measured {
  readonly mode: (typeof MODES)[number]
  readonly memory: keyof typeof MEMORIES
  readonly rowsPerSecond: number
  /** Per 100,000 rows. */
  readonly cpuSeconds: { readonly rekey: number; readonly destination: number; readonly redis: number }
}

const SQL = (id: string): string => `create table users (id ${id} primary key, email text not null unique);
  create table events (id ${id} primary key, user_id ${id} not null references users, note text)`
const MAPPING = `
application: bench
contexts: [{ name: all, tables: [users, events] }]
entities: { users: { prefix: usr }, events: { prefix: evt } }
tables: { users: { verdict: merge, on: [email] } }
`

type Place = Awaited<ReturnType<typeof openPlace>>

async function measure(place: Place, url: string, { mode, memory }: Pick<Measured, 'mode' | 'memory'>): Promise<Measured> {
  const redis = mode === 'ledger' ? '' : `idMap: redis\nredis: { url: "${url}", record: ${mode === 'record all' ? 'all' : 'exceptions'} }\n`
  const rig = await createRig({
    servers: place, sourceSql: SQL('bigint'), destinationSql: SQL('text collate "C"'), mapping: MAPPING,
    config: `${redis}checks: set\nmemory: { ledger: ${MEMORIES[memory]} }`,
  })
  const client = new Redis(url)
  try {
    await rig.source.query(`insert into users select i, 'u' || i from generate_series(1, ${USERS}) i`)
    await rig.destination.query(`insert into users select 'theirs' || i, 'u' || i from generate_series(1, ${USERS}, 2) i`)
    await carry(rig)
    for (let from = 0; from < ROWS; from += 1_000) {
      await rig.source.query(`insert into events select i, 1 + (i * 7919::bigint) % ${USERS}, 'note ' || i from generate_series(${from}, ${from + 999}) i`)
    }
    const before = await cpuOf(client)
    const cpu = sampleCpu({ source: place.source.pid, destination: place.destination.pid, exclude: new Set() })
    const [own, began] = [process.cpuUsage(), performance.now()]
    await carry(rig)
    const [{ user, system }, seconds] = [process.cpuUsage(own), (performance.now() - began) / 1e3]
    const used = cpu.stop()
    const per = (total: number): number => round(total / (ROWS / 100_000))
    const differences = await rig.differences()
    if (differences.length > 0) throw new Error(`${mode}: ${differences.length} rows differ`)
    return {
      mode, memory, rowsPerSecond: Math.round(ROWS / seconds),
      cpuSeconds: { rekey: per((user + system) / 1e6), destination: per(used?.destination ?? 0), redis: per((await cpuOf(client)) - before) },
    }
  } finally {
    client.disconnect()
    await rig.close()
  }
}

/** A run from its start until everything is applied. */
async function carry(rig: Rig): Promise<void> {
  const running = rig.start()
  await rig.caughtUp(running)
  await running.stop()
}

async function cpuOf(client: Redis): Promise<number> {
  const info = await client.info('cpu')
  return ['used_cpu_user', 'used_cpu_sys'].reduce((sum, name) => sum + Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0), 0)
}

const round = (n: number): number => Math.round(n * 100) / 100

const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]

const place = await openPlace(15)
const redis = await startRedis({ appendonly: 'no' })
try {
  const runs: Measured[] = []
  for (let run = 0; run < RUNS; run++) {
    for (const memory of SIZES) for (const mode of MODES) runs.push(await measure(place, redis.url, { mode, memory }))
  }
  const medians = SIZES.flatMap((memory) => MODES.map((mode) => {
    const own = runs.filter((run) => run.mode === mode && run.memory === memory)
    const of = (take: (run: Measured) => number): number => median(own.map(take))
    const [rekey, destination, redis] = (['rekey', 'destination', 'redis'] as const).map((name) => of((r) => r.cpuSeconds[name]))
    const cpuSeconds = { rekey, destination, redis }
    return { memory, mode, rowsPerSecond: of((r) => r.rowsPerSecond), cpuSeconds }
  }))
  const at = new Date().toISOString().slice(0, 10)
  const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), 'results', 'id-map')
  await mkdir(folder, { recursive: true })
  const file = path.join(folder, `${at}.json`)
  const machine = await machineOf(place.source)
  await writeFile(file, `${JSON.stringify({ at, machine, users: USERS, rows: ROWS, runs: RUNS, medians }, null, 2)}\n`)
  console.log('| memory.ledger | id map | rows/s | CPU s per 100,000 rows: rekey | destination | Redis |\n| --- | --- | ---: | ---: | ---: | ---: |')
  for (const { memory, mode, rowsPerSecond, cpuSeconds } of medians) {
    console.log(`| ${memory} | ${mode} | ${rowsPerSecond} | ${cpuSeconds.rekey} | ${cpuSeconds.destination} | ${cpuSeconds.redis} |`)
  }
} finally {
  await redis.stop()
  await place.close()
}
process.exit()
