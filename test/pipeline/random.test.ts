import { expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { random } from '../support/random.ts'
import { pair } from '../support/servers.ts'
import { DESTINATION_SQL, destinationWorkload, MAPPING, SOURCE_SQL, THEIRS_SQL, workload } from './workload.ts'

const servers = await pair({ source: 15, destination: 18 })
const first = random().seed
const seeds = Array.from({ length: Number(process.env['REKEY_SEEDS'] ?? 1) }, (_, i) => first + i)
const TRANSACTIONS = 120

/** What the destination's users have in rows of their own: nothing of ours may change it, apart from a bio that was empty. */
async function theirs(rig: Rig): Promise<unknown> {
  const tables = ['users', 'folders', 'docs', 'regions', 'memberships', 'cities', 'teams', 'players']
  const seen = await Promise.all(tables.map((table) => rig.destination.query(
    table === 'memberships'
    ? `select 'none' as d` : `select md5(string_agg((to_jsonb(t) - 'bio')::text, '|' order by id)) as d from ${table} t where id like '%theirs%'`)))
  return seen.flat()
}

const STARTS = ['before', 'middle', 'after'] as const
const runs = seeds.flatMap((seed) => STARTS.flatMap((start) => (['engine', 'set'] as const).map((checks) => ({ seed, start, checks }))))

test.each(runs)('seed $seed, begun $start the workload, checks: $checks', async ({ seed, start, checks }) => {
  const rig = await createRig({
    servers, sourceSql: SOURCE_SQL, destinationSql: DESTINATION_SQL, mapping: MAPPING,
    config: `checks: ${checks}\nsnapshot: { rowsPerChunk: 100 }\nbatch: { rows: ${1 + (seed % 3) * 40} }`,
  })
  const stop = new AbortController()
  try {
    await rig.destination.query(THEIRS_SQL)
    const work = workload({ url: rig.source.url, seed })
    if (start !== 'before') await work.run(TRANSACTIONS)
    const others = start === 'after' ? null : destinationWorkload(rig.destination.url, seed, stop.signal)
    const before = others ? null : await theirs(rig)
    const running = rig.start()
    if (start !== 'after') await work.run(TRANSACTIONS)
    await rig.caughtUp(running)
    stop.abort()
    await others
    await running.stop()
    expect(await rig.destination.query("select tbl, key, op, sqlstate, reason, change from rekey.parked where state <> 'done'")).toEqual([])
    expect(await rig.differences()).toEqual([])
    if (before) expect(await theirs(rig)).toEqual(before)
    for (const [table, totals] of Object.entries(running.latest()!.totals)) expect([table, closes(totals)]).toEqual([table, true])
    expect(work.committed).toBeGreaterThan(50)
  } finally {
    stop.abort()
    await rig.close()
  }
})

test('what piled up while nobody read is applied in large batches', async () => {
  const rig = await createRig({ servers, sourceSql: SOURCE_SQL, destinationSql: DESTINATION_SQL, mapping: MAPPING })
  try {
    await rig.destination.query(THEIRS_SQL)
    const work = workload({ url: rig.source.url, seed: first })
    await work.run(50)
    let running = rig.start()
    await rig.caughtUp(running)
    await running.stop()
    await work.run(700)
    running = rig.start()
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query("select tbl, key, op, sqlstate, reason from rekey.parked where state <> 'done'")).toEqual([])
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})
