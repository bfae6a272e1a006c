import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import type { Totals } from '../../src/core/plan.ts'
import { DESTINATION_SQL, MAPPING, SOURCE_SQL, THEIRS_SQL, workload } from '../pipeline/workload.ts'
import { type Child, startChild } from '../support/child.ts'
import { drained, ledger } from '../support/drained.ts'
import { random } from '../support/random.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })
const chance = random()

async function rigWith(more = ''): Promise<Rig> {
  const rig = await createRig({
    servers, sourceSql: SOURCE_SQL, destinationSql: DESTINATION_SQL, mapping: MAPPING,
    config: `snapshot: { rowsPerChunk: 100 }\nbatch: { rows: 50 }\n${more}`,
  })
  await rig.destination.query(THEIRS_SQL)
  return rig
}

/** No decision is ever taken back: what was known before a crash is known after it, under the same id. */
async function keeps(rig: Rig, known: Map<string, string>): Promise<Map<string, string>> {
  const now = await ledger(rig)
  expect([...known].filter(([key, id]) => now.get(key) !== id)).toEqual([])
  return now
}

/** Chunks that are done, with the transaction that did them: a chunk that was done once is never done again. */
async function chunks(rig: Rig): Promise<Map<string, string>> {
  const rows = await rig.destination.query("select tbl, pass::text as pass, index::text as index, xmin::text as x from rekey.chunk where rows is not null").catch(() => [])
  return new Map(rows.map((row) => [`${row.tbl}/${row.pass}/${row.index}`, row.x!]))
}

/** The slot is not ahead of the checkpoint: what it lets go of is committed at the destination. */
async function confirmsCommitted(rig: Rig): Promise<void> {
  const [{ confirmed }] = await rig.source.query(`select confirmed_flush_lsn::text as confirmed from pg_replication_slots where slot_name = 'rekey_${rig.config.pipeline}'`)
  expect(await rig.destination.query(`select end_lsn::text as at from rekey.checkpoint where end_lsn < '${confirmed}'`)).toEqual([])
}

async function settled(rig: Rig, child: Child): Promise<void> {
  let over: string | undefined
  void child.ended.then(() => (over = child.lines.slice(-3).join(' | ')))
  await drained(rig, { seconds: 200, failed: () => over })
  child.kill('SIGTERM')
  expect(await child.ended).toEqual({ code: 0, signal: null })
  expect(await rig.destination.query("select tbl, key, op, sqlstate, reason, change from rekey.parked where state <> 'done'")).toEqual([])
  expect(await rig.differences()).toEqual([])
  const [{ totals }] = await rig.destination.query('select totals::text as totals from rekey.checkpoint')
  for (const [table, one] of Object.entries(JSON.parse(totals!) as Record<string, Totals>)) expect([table, closes(one)]).toEqual([table,
    true])
}

const COPYING = ['snap.chunk_read=kill@1', 'snap.chunk_written=kill@1', 'apply.mid=kill@3', 'snap.chunk_read=kill@4',
  'apply.committed=kill@3', 'snap.chunk_written=kill@4']
const STREAMING = ['apply.begin', 'apply.committed', 'decode.tx_end', 'produce.acked',
  'slot.before_ack'].flatMap((name) => [`${name}=kill@1`, `${name}=kill@7`]).concat('slot.acked=kill@7')

test('killed at every place, once early and once late, while it copies and while it streams', async () => {
  const rig = await rigWith()
  const stop = new AbortController()
  const work = workload({ url: rig.source.url, seed: chance.seed, pause: 10 })
  await rig.source.query("insert into users select i, 'x' || i || '@x.org', 'x' || i, null, null, 0 from generate_series(2000, 3500) i")
  await work.run(60)
  const busy = work.run(1e9, stop.signal)
  let known = new Map<string, string>()
  let done = new Map<string, string>()
  try {
    for (const failpoints of [...COPYING, ...STREAMING]) {
      const child = startChild(rig.config, { failpoints })
      expect([failpoints, await child.ended, child.lines.filter((line) => line.startsWith('failed'))]).toEqual([failpoints,
        { code: null, signal: 'SIGKILL' }, []])
      await confirmsCommitted(rig)
      known = await keeps(rig, known)
      const now = await chunks(rig)
      expect([...done].filter(([chunk, by]) => now.get(chunk) !== by)).toEqual([])
      done = now
    }
    expect(done.size).toBeGreaterThan(10)
    stop.abort()
    await busy
    await settled(rig, startChild(rig.config))
    await keeps(rig, known)
  } finally {
    stop.abort()
    await busy
    await rig.close()
  }
}, 400_000)

test('killed at random times under load', async () => {
  const rig = await rigWith('checks: set')
  const stop = new AbortController()
  const work = workload({ url: rig.source.url, seed: chance.seed + 1, pause: 10 })
  await work.run(100)
  const busy = work.run(1e9, stop.signal)
  let known = new Map<string, string>()
  try {
    for (let i = 0; i < Number(process.env['REKEY_KILLS'] ?? 6); i++) {
      const child = startChild(rig.config)
      await child.reached(i < 2 ? 'snapshot' : 'stream')
      await sleep(chance.int(0, 600))
      child.kill('SIGKILL')
      expect([(await child.ended).signal, child.lines.filter((line) => line.startsWith('failed'))]).toEqual(['SIGKILL', []])
      known = await keeps(rig, known)
    }
    stop.abort()
    await busy
    await settled(rig, startChild(rig.config))
  } finally {
    stop.abort()
    await busy
    await rig.close()
  }
}, 120_000)

test('SIGTERM under load: what is under way is finished, exit code 0, and it goes on from there', async () => {
  const rig = await rigWith()
  const stop = new AbortController()
  const work = workload({ url: rig.source.url, seed: chance.seed + 2, pause: 10 })
  const busy = work.run(1e9, stop.signal)
  try {
    for (let i = 0; i < 2; i++) {
      const child = startChild(rig.config)
      await child.reached('stream')
      await sleep(300)
      const began = Date.now()
      child.kill('SIGTERM')
      expect(await child.ended).toEqual({ code: 0, signal: null })
      expect(Date.now() - began).toBeLessThan(10_000)
    }
    stop.abort()
    await busy
    await settled(rig, startChild(rig.config))
  } finally {
    stop.abort()
    await busy
    await rig.close()
  }
}, 60_000)
