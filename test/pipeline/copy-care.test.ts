import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import type { Totals } from '../../src/core/plan.ts'
import { parked } from '../support/accident.ts'
import { client } from '../support/database.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** Chunks of the initial copy that hold a row which cannot be written. */
const servers = await pair({ source: 15, destination: 18 })

async function totalsOf(rig: Rig): Promise<Record<string, Totals>> {
  const [{ totals }] = await rig.destination.query('select totals::text as totals from rekey.checkpoint')
  return JSON.parse(totals!) as Record<string, Totals>
}

/** What waits is tried again until nothing waits any more. */
async function retried(rig: Rig, ended: Promise<void>): Promise<void> {
  await rig.destination.query("update rekey.parked set state = 'retry' where state = 'waiting'")
  for (const end = Date.now() + 20_000; Date.now() < end && (await parked(rig)).length > 0;) await Promise.race([ended, sleep(50)])
  expect(await parked(rig)).toEqual([])
  expect(await rig.differences()).toEqual([])
}

test('a chunk that waits for a lock while its bad row is found holds no other worker up', async () => {
  const schema = (key: string,
    more: string): string => `create table slow (id ${key} primary key, name text unique, amount integer ${more});
    create table swift (id ${key} primary key, slow_no integer);`
  const rig = await createRig({
    servers, sourceSql: schema('bigint', ''), destinationSql: schema('text', 'check (amount > 0)'),
    mapping: 'application: care\ncontexts: [{ name: all, tables: [slow, swift] }]\nentities: { slow: { prefix: slo }, swift: { prefix: swi } }',
    config: 'snapshot: { workers: 2, rowsPerChunk: 100 }',
  })
  const theirs = await client(rig.destination.url)
  try {
    await rig.source.query(`insert into slow select i, 'n' || i, i - 1 from generate_series(1, 40) i;
      insert into swift select i, i from generate_series(1, 2000) i; analyze`)
    await theirs.query(`begin; insert into slow values ('theirs', 'n40', 1)`)
    const running = rig.start({ point: async (name) => void (name === 'snap.chunk_written' && await sleep(50)) })
    const copied = async (): Promise<string> => {
      const [row] = await rig.destination.query(`select count(*) filter (where rows is not null and tbl = 'public.swift') || ' of ' ||
        count(*) filter (where tbl = 'public.swift') || ', ' || count(*) filter (where rows is not null and tbl = 'public.slow') as n
        from rekey.chunk`).catch(() => [])
      return row?.n ?? ''
    }
    for (const end = Date.now() + 7_000; Date.now() < end
      && !(await copied()).startsWith('20 of');) await Promise.race([running.ended, sleep(50)])
    expect(await copied()).toBe('20 of 20, 0')
    await theirs.query('rollback')
    await rig.caughtUp(running)
    expect(await parked(rig)).toEqual([{ tbl: 'public.slow', key: '1', op: 'insert', sqlstate: '23514', behind: 'f', state: 'waiting' }])
    await rig.destination.query('alter table slow drop constraint slow_amount_check')
    await retried(rig, running.ended)
    await running.stop()
  } finally {
    await theirs.end()
    await rig.close()
  }
}, 60_000)

test('rows that fail in the first pass and in the second are parked once, and totals close', async () => {
  const schema = (key: string, more: string): string => `
    create table people (id ${key} primary key, email text not null unique, boss_id ${key} references people, amount integer ${more});
    create table a (id ${key} primary key, b_id ${key}, amount integer ${more});
    create table b (id ${key} primary key, a_id ${key} references a);
    alter table a add foreign key (b_id) references b;`
  const rig = await createRig({
    // One at a time: whether the second pass of `a` comes before or after that of `b` decides which rows wait behind which.
    servers, sourceSql: schema('bigint', ''), destinationSql: schema('text', 'check (amount > 0)'), config: 'snapshot: { workers: 1 }',
    mapping: `
application: care
contexts: [{ name: all, tables: [people, a, b] }]
entities: { people: { prefix: peo }, a: { prefix: aaa }, b: { prefix: bbb } }
tables: { people: { verdict: merge, on: [email], columns: { boss_id: { keep: source } } } }`,
  })
  try {
    await rig.destination.query(`insert into people values ('theirs', 'p3@x', null, 5)`)
    await rig.source.query(`begin; set constraints all deferred;
      insert into people values (1, 'p1@x', null, 1), (2, 'p2@x', null, 0), (3, 'p3@x', 2, 1), (4, 'p4@x', 2, 1), (5, 'p5@x', 1, 1), (6, 'p6@x', 5, 1);
      insert into a select i, null, case i when 3 then 0 else 1 end from generate_series(1, 10) i; insert into b select i, i from generate_series(1, 10) i;
      update a set b_id = 11 - id; commit`)
    const running = rig.start()
    await rig.caughtUp(running)
    const waiting = (await parked(rig)).map(({ tbl, key, sqlstate, behind }) => `${tbl} ${key} ${sqlstate} ${behind}`).sort()
    expect(waiting).toEqual([
      'public.a 3 23514 f', 'public.b 3 RK003 t', 'public.people 2 23514 f', 'public.people 3 RK003 t', 'public.people 4 RK003 t',
    ])
    const totals = await totalsOf(rig)
    for (const [table, one] of Object.entries(totals)) expect([table, closes(one)]).toEqual([table, true])
    expect(totals).toMatchObject({
      'public.people': { read: 6, inserted: 3, merged: 0, parked: 3 }, 'public.a': { read: 10, inserted: 9, parked: 1 },
      'public.b': { read: 10, inserted: 9, parked: 1 },
    })
    await rig.destination.query('alter table a drop constraint a_amount_check; alter table people drop constraint people_amount_check')
    await retried(rig, running.ended)
    expect(await totalsOf(rig)).toMatchObject({
      'public.people': { read: 6, inserted: 5, merged: 1, parked: 0 }, 'public.a': { read: 10, inserted: 10, parked: 0 },
      'public.b': { read: 10, inserted: 10, parked: 0 },
    })
    await running.stop()
  } finally {
    await rig.close()
  }
})

test('chunks that decide about the same rows at the same time, with bad rows in each: one decision a row, and nothing is lost',
  async () => {
  const schema = (key: string,
    more: string): string => `create table docs (id ${key} primary key, body jsonb not null, amount integer ${more});
    create table tags (id ${key} primary key, name text not null unique, up jsonb);`
  const rig = await createRig({
    servers, sourceSql: schema('bigint', ''), destinationSql: schema('text', 'check (amount > 0)'),
    mapping: `
application: care
contexts: [{ name: all, tables: [tags, docs] }]
entities: { docs: { prefix: doc }, tags: { prefix: tag } }
tables:
  tags: { verdict: merge, on: [name], columns: { up: { json: [{ path: $.tag, ref: tags }] } } }
  docs: { columns: { body: { json: [{ path: '$.tags[*]', ref: tags }] } } }`,
    config: 'snapshot: { workers: 4, rowsPerChunk: 100 }',
  })
  try {
    await rig.destination.query(`insert into tags select 'theirs ' || i, 'tag ' || i, null from generate_series(1, 800, 2) i`)
    await rig.source.query(`insert into tags select i, 'tag ' || i, jsonb_build_object('tag', 801 - i) from generate_series(1, 800) i;
      insert into docs select i, jsonb_build_object('tags', array[1 + i % 800, 1 + i * 7 % 800, 1 + i * 13 % 800]), i % 90 from generate_series(1, 2000) i; analyze`)
    const running = rig.start()
    await rig.caughtUp(running)
    expect((await parked(rig)).map(({ tbl, sqlstate }) => `${tbl} ${sqlstate}`)).toEqual(Array.from({ length: 22 },
      () => 'public.docs 23514'))
    expect(await rig.destination.query('select kind, count(*)::text as n from rekey.id_map group by 1 order by 1'))
      .toEqual([{ kind: 'inserted', n: '400' }, { kind: 'merged', n: '400' }])
    expect(await totalsOf(rig)).toMatchObject({ 'public.docs': { read: 2000, inserted: 1978, parked: 22 },
      'public.tags': { read: 800, inserted: 400, merged: 400 } })
    await rig.destination.query('alter table docs drop constraint docs_amount_check')
    await retried(rig, running.ended)
    await running.stop()
  } finally {
    await rig.close()
  }
})
