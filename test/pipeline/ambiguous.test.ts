import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import { parked } from '../support/accident.ts'
import { createRig, type Rig, type Running } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** A row that matches several rows of the destination waits for a person, and so does all that refers to it, however it does. */
const servers = await pair({ source: 15, destination: 18 })

const schema = (key: string): string => `
  create table users (id ${key} primary key, email text not null, boss_id ${key} references users, notes jsonb);
  create table posts (id ${key} primary key, author_id ${key} not null references users);
  create table docs (id ${key} primary key, body jsonb, readers ${key}[], job text);
  create table shelves (id ${key} primary key, name text not null, body jsonb);
  create table books (id ${key} primary key, body jsonb);`

const MAPPING = `
application: ambiguous
contexts: [{ name: all, tables: [users, posts, docs, shelves, books] }]
entities: { users: { prefix: usr }, posts: { prefix: pos }, docs: { prefix: doc }, shelves: { prefix: she }, books: { prefix: boo } }
tables:
  users: { verdict: merge, on: [email], columns: { notes: { json: [{ path: $.shelf, ref: shelves }] } } }
  shelves: { verdict: merge, on: [name], columns: { body: { json: [{ path: $.keeper, ref: users }] } } }
  books: { columns: { body: { json: [{ path: $.shelf, ref: shelves }] } } }
  docs:
    columns:
      body: { json: [{ path: $.owner, ref: users }, { keys: $.seen, ref: users }] }
      readers: { array: users }
      job: { template: 'job_{users}_{rest}' }
`

async function ambiguousRig(): Promise<Rig> {
  const rig = await createRig({ servers, sourceSql: schema('bigint'), destinationSql: schema('text'), mapping: MAPPING })
  await rig.destination.query(`insert into users (id, email) values ('usr_one', 'a@x'), ('usr_two', 'a@x'), ('usr_three', 'c@x')`)
  return rig
}

/** User 1 matches twice, 3 once; 2 is new. Of everything one that refers to 1, and one that does not. */
const ROWS = `
  insert into shelves values (1, 'kept', '{"keeper": 1}'), (2, 'free', '{"keeper": 3}');
  insert into users values (1, 'a@x', null, null), (2, 'b@x', 1, null), (3, 'c@x', null, '{"shelf": 2}'), (4, 'd@x', 3, '{"shelf": 1}');
  insert into posts values (1, 1), (2, 3);
  insert into docs values (1, '{"owner": 1}', null, null), (2, '{"seen": {"1": true}}', null, null), (3, null, '{2,1}', null), (4, null, null, 'job_1_x'),
    (5, '{"owner": 3, "seen": {"4711": true}}', '{3}', 'job_3_x');
  insert into books values (1, '{"shelf": 1}'), (2, '{"shelf": 2}');`

const behind = (table: string, ...keys: number[]) => keys.map((key) => ({ tbl: `public.${table}`, key: String(key), sqlstate: 'RK003',
  behind: 't' }))
const WAITING = [
  ...behind('books', 1), ...behind('docs', 1, 2, 3, 4), ...behind('posts', 1), ...behind('shelves', 1),
  { tbl: 'public.users', key: '1', sqlstate: 'RK003', behind: 'f' }, ...behind('users', 2, 4),
]

async function waits(rig: Rig): Promise<void> {
  const rows = (await parked(rig)).map(({ tbl, key, sqlstate, behind }) => ({ tbl, key, sqlstate, behind: behind!.slice(0, 1) }))
  expect(rows.sort((a, b) => (`${a.tbl} ${a.key}` < `${b.tbl} ${b.key}` ? -1 : 1))).toEqual(WAITING)
  const dangling = await rig.destination.query("select entity, old from rekey.id_map where kind = 'dangling' and old <> '4711'")
  expect(dangling).toEqual([])
}

/** A person removes one of the two that match; then everything finds its way. */
async function decided(rig: Rig, running: Running): Promise<void> {
  await rig.destination.query("delete from users where id = 'usr_two'")
  await rig.destination.query("update rekey.parked set state = 'retry' where state = 'waiting'")
  for (const end = Date.now() + 20_000; Date.now() < end && (await parked(rig)).length > 0;) {
    await Promise.race([running.ended, sleep(50)])
  }
  expect(await parked(rig)).toEqual([])
  expect(await rig.differences()).toEqual([])
  await running.stop()
  for (const [table, one] of Object.entries(running.latest()!.totals)) expect([table, closes(one), one.parked]).toEqual([table, true, 0])
}

async function refers(rig: Rig): Promise<void> {
  expect(await rig.destination.query(`select body->>'owner' as owner from docs where body->>'owner' = 'usr_one'`)).toHaveLength(1)
}

test('in the initial copy', async () => {
  const rig = await ambiguousRig()
  try {
    await rig.source.query(ROWS)
    const running = rig.start()
    await rig.caughtUp(running)
    await waits(rig)
    await decided(rig, running)
    await refers(rig)
  } finally {
    await rig.close()
  }
})

test.each(['one transaction', 'a transaction a statement'])('in the stream, in %s', async (how) => {
  const rig = await ambiguousRig()
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    if (how === 'one transaction') await rig.source.query(ROWS)
    else for (const sql of ROWS.split(';').filter((text) => text.trim() !== '')) await rig.source.query(sql)
    await rig.caughtUp(running)
    await waits(rig)
    await decided(rig, running)
    await refers(rig)
  } finally {
    await rig.close()
  }
})

test('what waits is changed and deleted meanwhile', async () => {
  const rig = await ambiguousRig()
  try {
    await rig.source.query(ROWS)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`update docs set body = '{"owner": 3}' where id = 1; update docs set body = '{"owner": 1}' where id = 5; delete from docs where id = 4;
      delete from posts where id = 1; delete from books where id = 1; update shelves set body = '{"keeper": 1}' where id = 2`)
    await rig.caughtUp(running)
    await decided(rig, running)
  } finally {
    await rig.close()
  }
})

test('a row that moves to one that waits, in the same transaction, waits behind it', async () => {
  const tables = (key: string): string => `create table users (id ${key} primary key, email text not null);
    create table seats (user_id ${key} not null references users, n integer not null, primary key (user_id, n));`
  const rig = await createRig({
    servers, sourceSql: tables('bigint'), destinationSql: tables('text'),
    mapping: `application: seats\ncontexts: [{ name: all, tables: [users, seats] }]\nentities: { users: { prefix: usr } }\ntables: { users: { verdict: merge, on: [email] } }`,
  })
  try {
    await rig.destination.query(`insert into users values ('usr_one', 'a@x'), ('usr_two', 'a@x')`)
    await rig.source.query(`insert into users values (1, 'b@x'); insert into seats values (1, 1), (1, 2)`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`begin; insert into users values (2, 'a@x'); update seats set user_id = 2 where n = 1; commit`)
    await rig.caughtUp(running)
    const rows = await parked(rig)
    expect(rows.map(({ tbl, op, behind }) => [tbl, op, behind!.slice(0, 1)])).toEqual([['public.users', 'insert', 'f'], ['public.seats', 'update', 't']])
    await rig.destination.query(`delete from users where id = 'usr_two'; update rekey.parked set state = 'retry' where state = 'waiting'`)
    await expect.poll(() => parked(rig)).toEqual([])
    await running.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})
