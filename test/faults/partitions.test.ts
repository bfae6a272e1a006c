import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { operate } from '../../src/pipeline/operate.ts'
import { readStatus } from '../../src/cli/status.ts'
import { failureOf, parked } from '../support/accident.ts'
import { client } from '../support/database.ts'
import { createRig, type Rig, type Running } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** The source gets tables and partitions, and loses some, while the bridge runs or is stopped. What cannot be followed is said. */
const servers = await pair({ source: 15, destination: 18 })

const BOUNDS = (from: number): string => `for values from (${from}) to (${from + 100})`
const SOURCE = `create table events (id bigint not null, at integer not null, note text, big text, primary key (id, at)) partition by range (at);
  create table events_0 partition of events ${BOUNDS(0)}; create table events_1 partition of events ${BOUNDS(100)};
  insert into events select i, i, 'n' from generate_series(1, 150) i`

async function eventsRig(): Promise<Rig> {
  return createRig({
    servers, sourceSql: SOURCE, destinationSql: 'create table events (id text collate "C", at integer, note text, big text, primary key (id, at))',
    mapping: 'application: p\ncontexts: [{ name: all, tables: [events] }]\nentities: { events.id: { prefix: evt } }',
  })
}

async function withRig(work: (rig: Rig) => Promise<void>): Promise<void> {
  const rig = await eventsRig()
  try {
    await work(rig)
  } finally {
    await rig.close()
  }
}

async function begun(rig: Rig): Promise<Running> {
  const running = rig.start()
  await rig.caughtUp(running)
  return running
}

async function agrees(rig: Rig, running: Running): Promise<void> {
  await rig.caughtUp(running)
  await running.stop()
  expect(await parked(rig)).toEqual([])
  expect(await rig.differences()).toEqual([])
}

const warnings = (rig: Rig): Promise<readonly string[]> => operate(rig.config, async (operated) => (await readStatus(operated, rig.config)).warnings)

async function told(running: Running, part: string): Promise<string[]> {
  const texts = (): string[] => running.notes.filter((n) => n.level === 'warn' && n.text.includes(part)).map((n) => n.text)
  for (const end = Date.now() + 10_000; texts().length === 0 && Date.now() < end;) await Promise.race([running.ended, sleep(50)])
  return texts()
}

/** Made beside, with rows, as they are loaded in bulk; some of a transaction that begins before and ends after others. */
const LOADED = `create table loaded (id bigint not null, at integer not null, note text, big text);
  insert into loaded select i, 200 + i, 'loaded' from generate_series(201, 240) i; alter table loaded alter column big set storage external;
  update loaded set big = repeat('x', 5000) where id < 210`
const ATTACH = `alter table events attach partition loaded ${BOUNDS(400)}`

/** As the hint has it. */
const MEND = 'begin; alter table only "public"."events" replica identity full; alter table only "public"."loaded" replica identity full; ' +
  'update only "public"."loaded" set "id" = "id"; alter table only "public"."events" replica identity default; alter table only "public"."loaded" replica identity default; commit;'

describe('partitions', () => {
  test('that are made while the bridge runs or is stopped are followed', () => withRig(async (rig) => {
    const running = await begun(rig)
    const session = await client(rig.source.url)
    await session.query(`begin; create table events_2 partition of events ${BOUNDS(200)}; insert into events values (300, 201, 'a'); savepoint s;
      insert into events_2 values (301, 202, 'b'); release s; commit; create table events_3 partition of events ${BOUNDS(300)} partition by range (at);
      create table events_3a partition of events_3 ${BOUNDS(300)}; insert into events values (302, 303, 'c')`)
    await rig.caughtUp(running)
    await sleep(1_100)
    await running.stop()
    await session.query(`create table events_4 partition of events ${BOUNDS(400)}; insert into events values (304, 404, 'd'); update events set at = 405 where id = 300`)
    await session.end()
    await agrees(rig, rig.start())
    expect(await warnings(rig)).toEqual([])
  }))

  test.each(['while the bridge runs', 'while it is stopped'])('that are attached with rows %s stop it, until the rows were written again', (when) => withRig(async (rig) => {
    let running = await begun(rig)
    if (when === 'while it is stopped') await running.stop()
    await rig.source.query(LOADED)
    await rig.source.query(`${ATTACH}; insert into events values (500, 450, 'after')`)
    if (when === 'while it is stopped') running = rig.start()
    const said = 'public.loaded was attached to public.events with rows that are in no stream'
    for (const one of [running, rig]) {
      const { code, exit, message, hint } = await failureOf('start' in one ? one.start() : one)
      expect({ code, exit, message }).toEqual({ code: 'PUBLICATION', exit: 5, message: said })
      expect(hint).toContain(MEND)
    }
    expect((await warnings(rig)).join()).toContain(`${said}; at the source: ${MEND}`)
    await rig.source.query(MEND)
    await agrees(rig, rig.start())
    expect(await warnings(rig)).toEqual([])
  }))

  test('an attached one that was rewritten still lacks its rows; with none, it is followed', () => withRig(async (rig) => {
    const running = await begun(rig)
    await rig.source.query(LOADED)
    await rig.source.query(ATTACH)
    await failureOf(running)
    await rig.source.query('vacuum full loaded')
    expect((await failureOf(rig.start())).code).toBe('PUBLICATION')
    await rig.source.query('delete from loaded')
    await agrees(rig, rig.start())
  }))

  test('that are detached or dropped keep their rows at the destination, which is said; one that comes back is another', () => withRig(async (rig) => {
    const running = await begun(rig)
    await rig.source.query('alter table events detach partition events_1; delete from events_1 where id = 120')
    const gone = 'public.events_1 of public.events was detached or dropped at the source: its rows stay at the destination as they were; delete them there if they are not wanted'
    expect(await told(running, 'detached')).toEqual([gone])
    expect(await told(running, 'events_1 is new')).toHaveLength(1)
    await rig.source.query("insert into events values (700, 7, 'goes on')")
    await rig.caughtUp(running)
    expect(await rig.destination.query('select count(*)::text as n from events where at >= 100')).toEqual([{ n: '51' }])
    expect((await warnings(rig)).filter((text) => text === gone)).toHaveLength(1)
    await rig.source.query(`alter table events attach partition events_1 ${BOUNDS(100)}`)
    const said = 'public.events_1 was detached from public.events and attached again: what was changed in it meanwhile is in no stream'
    expect(await failureOf(running)).toMatchObject({ code: 'PUBLICATION', exit: 5, message: said })
    expect(await failureOf(rig.start())).toMatchObject({ code: 'PUBLICATION', exit: 5, message: said })
    expect(await warnings(rig)).toEqual([said, gone])
  }))

  test('that write no log are refused, before a run and under it', () => withRig(async (rig) => {
    const running = await begun(rig)
    await rig.source.query(`create unlogged table quick partition of events ${BOUNDS(400)}; insert into events values (800, 401, 'q')`)
    expect(await failureOf(running)).toMatchObject({ code: 'PUBLICATION', message: expect.stringContaining('public.quick') as string })
    expect(await failureOf(rig.start())).toMatchObject({ code: 'SCHEMA_CHANGED', message: expect.stringContaining('public.quick, a partition of events, is unlogged') as string })
    await rig.source.query('alter table quick set logged')
    const { message, hint } = await failureOf(rig.start())
    expect(message).toBe('public.quick was attached to public.events with rows that are in no stream')
    await rig.source.query(hint.slice(hint.indexOf('begin;')))
    await agrees(rig, rig.start())
  }))
})

test('a new table is told while the bridge runs, and needs a verdict at the next start', () => withRig(async (rig) => {
  const running = await begun(rig)
  await rig.source.query('create table extra (id bigint primary key); insert into extra values (1)')
  const [text] = await told(running, 'public.extra')
  expect(text).toContain('needs verdict: skip')
  expect((await warnings(rig)).join()).toContain('the next start is refused: public.extra: public.extra is in the source, and the mapping does not say what becomes of it')
  await running.stop()
  expect(await failureOf(rig.start())).toMatchObject({ code: 'SCHEMA_CHANGED', exit: 5, message: expect.stringContaining('public.extra') as string })
}))

test('partitions whose replica identity is not their root\'s are refused, before a run and under it', () => withRig(async (rig) => {
  await rig.source.query('alter table only events replica identity full; alter table only events_0 replica identity full')
  expect(await failureOf(rig.start())).toMatchObject({ code: 'MAPPING', message: expect.stringContaining('public.events_1, a partition of events, has another replica identity') as string })
  await rig.source.query('alter table only events_1 replica identity full')
  const running = await begun(rig)
  await rig.source.query(`create table events_2 partition of events ${BOUNDS(200)}; insert into events values (900, 201, 'a')`)
  const { code, message, hint } = await failureOf(running)
  expect({ code, message }).toEqual({ code: 'PUBLICATION', message: 'public.events_2 has not the replica identity FULL, as its root public.events has: old rows are told as whole that are not' })
  await rig.source.query(hint.slice(hint.indexOf('alter table')))
  await rig.source.query("update events set note = 'b' where at > 150")
  await agrees(rig, rig.start())
}))
