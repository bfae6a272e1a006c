import { expect, test } from 'vitest'
import { openSession } from '../../connectors/postgres/session.ts'
import { destinationState } from '../../connectors/postgres-destination/state.ts'
import { partitionFor } from '../../src/core/route.ts'
import { type Child, startChild } from '../support/child.ts'
import { client } from '../support/database.ts'
import { drained } from '../support/drained.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'
import { ROOTS_DESTINATION_SQL, ROOTS_MAPPING, ROOTS_SOURCE_SQL } from './roots-workload.ts'

/** Partitions that are brought to one point and stay there for a while. */
const [servers, broker] = await Promise.all([pair({ source: 16, destination: 17 }), startKafka()])
const WAITING = "select tbl, key, reason from rekey.parked where state not in ('done', 'waived')"

function rootsRig(partitions: number, more = ''): Promise<Rig> {
  return createRig({
    servers, sourceSql: ROOTS_SOURCE_SQL, destinationSql: ROOTS_DESTINATION_SQL, mapping: ROOTS_MAPPING,
    config: `log: kafka\nkafka: { brokers: ['${broker.bootstrap}'], partitions: ${partitions} }\n${more}`,
  })
}

const begun = (rig: Rig): Promise<void> =>
  expect.poll(async () => (await rig.destination.query('select from rekey.lane').catch(() => [])).length).toBeGreaterThan(0)

test('parked rows are tried again while one partition is behind, which misses nothing by it', async () => {
  const rig = await rootsRig(2)
  const running = rig.start()
  const blocker = await client(rig.destination.url)
  try {
    await rig.source.query("insert into people select i, 'p' || i, null, 1 from generate_series(1, 20) i")
    await begun(rig)
    await rig.caughtUp(running)
    // It has one of that name, so all are brought to one point before the row is parked.
    await rig.destination.query("insert into people values ('theirs', 'nobody', null, 1)")
    await rig.source.query("insert into people values (21, 'nobody', null, 1)")
    await expect.poll(async () => (await rig.destination.query(WAITING)).length).toBe(1)
    await expect.poll(() => running.notes.some(({ event }) => event === 'part')).toBe(true)
    // A lock keeps the second partition where it is, and the first one goes on.
    const [held, free] = [1, 0].map((wanted) => Array.from({ length: 20 }, (_, i) => i + 1).find((id) => partitionFor(`public.people\n${id}`, 2) === wanted)!)
    await blocker.query('begin')
    await blocker.query(`select from people where name = 'p${held}' for update`)
    await rig.source.query(`update people set version = 2 where id = ${held}; update people set version = 2 where id = ${free}`)
    await expect.poll(() => rig.destination.query(`select version from people where name = 'p${free}'`)).toEqual([{ version: '2' }])
    await rig.destination.query("delete from people where id = 'theirs'; update rekey.parked set state = 'retry' where state = 'waiting'")
    await expect.poll(async () => (await rig.destination.query(WAITING)).length).toBe(0)
    await blocker.query('rollback')
    await rig.caughtUp(running)
    expect(await rig.differences()).toEqual([])
  } finally {
    await blocker.end()
    await running.stop().catch(() => {})
    await rig.close()
  }
}, 60_000)

test('what was sent behind a transaction that goes alone waits for other partitions, though both have to be done again', async () => {
  const rig = await rootsRig(2, 'batch: { rows: 1 }')
  const [here, there] = [0, 1].map((wanted) => Array.from({ length: 20 }, (_, i) => i + 1).find((id) => partitionFor(`public.projects\n${id}`, 2) === wanted)!)
  const running = rig.start()
  const blocker = await client(rig.destination.url)
  try {
    await rig.source.query(`insert into people values (1, 'p', null, 1); insert into projects values (${here}, 1, 't', 1), (${there}, 1, 't', 1);
      insert into tasks values (12, ${there}, 1, null, 12, 'b', 1), (20, ${here}, 1, null, 20, 'b', 1), (21, ${there}, 1, null, 21, 'b', 1)`)
    await begun(rig)
    await rig.caughtUp(running)
    await blocker.query('begin')
    await blocker.query('select from tasks where code = 20 for update')
    // It goes from one partition to the other, with a row that is locked; then one goes in the other partition, and comes again in this one.
    await rig.source.query(`begin; update tasks set project_id = ${here}, version = 2 where id = 21; update tasks set version = 2 where id = 20; commit`)
    await rig.source.query('delete from tasks where id = 12')
    await rig.source.query(`insert into tasks values (12, ${here}, 1, null, 12, 'b', 2)`)
    const waits = "select from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'rekey%'"
    await expect.poll(async () => (await rig.destination.query(waits)).length).toBe(1)
    // Longer than it waits for a lock.
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    await blocker.query('rollback')
    await rig.caughtUp(running)
    expect(await rig.destination.query(WAITING)).toEqual([])
    expect(await rig.differences()).toEqual([])
  } finally {
    await blocker.end()
    await running.stop().catch(() => {})
    await rig.close()
  }
}, 60_000)

test('where every transaction has rows of two roots that need each other, or rows pass a filter late, one process works for all, and when it dies another one', async () => {
  const rig = await rootsRig(4)
  const session = await openSession(rig.config.destination.url, 'destination')
  const children: Child[] = []
  const start = (role: 'capture' | 'deliver'): Child => {
    const child = startChild(rig.config, { role })
    children.push(child)
    return child
  }
  const said = (text: RegExp): number => children.flatMap(({ lines }) => lines.filter((line) => text.test(line))).length
  const circles = async (from: number, to: number): Promise<void> => {
    for (let i = from; i < to; i++) {
      const late = i % 10 === 0 ? `; update papers set shown = 1 where id = ${i}` : ''
      await rig.source.query(`begin; insert into people values (${i}, 'p${i}', ${i}, 1); insert into projects values (${i}, ${i}, 't', 1); commit${late}`)
    }
  }
  try {
    // Papers that pass their filter late, of which the stream does not have all: they are read at the source meanwhile.
    await rig.source.query("insert into papers select i, null, 0, (select string_agg(md5(i::text || j), '') from generate_series(1, 100) j), 1 from generate_series(0, 1500, 10) i")
    start('capture')
    start('deliver')
    start('deliver')
    await Promise.all(children.slice(1).map((child) => child.heard(/: takes partition \d/)))
    await circles(0, 100)
    const { united } = destinationState(session.query, rig.config.pipeline)
    await expect.poll(united).not.toBe(null)
    const working = circles(100, 1_500)
    // Who leads is killed while it does.
    const by = await united()
    const leads = children.find(({ lines }) => lines.some((line) => line.includes(`partition ${by} brings all`)))!
    leads.kill('SIGKILL')
    start('deliver')
    await working
    await drained(rig, { seconds: 60 })
    expect(await rig.differences()).toEqual([])
    expect(await rig.destination.query(WAITING)).toEqual([])
    expect(await rig.destination.query('select count(*)::text as n from papers')).toEqual([{ n: '150' }])
    // They part when there is nothing more to do, and go on by themselves.
    await expect.poll(united, { timeout: 60_000 }).toBe(null)
    await rig.source.query("insert into people select i, 'p' || i, null, 1 from generate_series(2001, 2100) i")
    await drained(rig)
    expect(await rig.differences()).toEqual([])
    expect(said(/ brings all partitions/)).toBeLessThan(12)
  } catch (error) {
    for (const child of children) console.error(child.pid, child.lines.filter((line) => !line.startsWith('at ')).slice(-15), child.lines.at(-1))
    console.error(await rig.destination.query('select partition, writer, commit_lsn, updated_at from rekey.lane order by 1').catch(String))
    throw error
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await Promise.all(children.map((child) => child.ended))
    await session.close()
    await rig.close()
  }
}, 150_000)
