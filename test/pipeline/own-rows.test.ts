import { expect, test } from 'vitest'
import { client } from '../support/database.ts'
import { createRig, demo } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })

const OURS = `
insert into groups (name, kind) values ('everyone', 'everyone');
insert into users (email, name, first_name, last_name, modified) values ('Ada@x.org', 'ada', 'A', 'L', '2024-01-01');
`
const THEIRS = `
insert into groups (id, name, kind) values ('grp_everyone', 'everyone', 'everyone');
insert into users (id, email, name, full_name) values ('usr_ada', 'ada@x.org', 'ada', 'Ada');
insert into memberships values ('usr_ada', 'grp_everyone', 'owner');
`

test('a row that comes and goes at the source before it is applied takes no row of the destination along', async () => {
  const rig = await createRig({ servers, ...(await demo()) })
  try {
    await rig.source.query(OURS)
    await rig.destination.query(THEIRS)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query('begin; insert into memberships values (1, 1); delete from memberships; commit')
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query('select * from memberships')).toEqual([{ user_id: 'usr_ada', group_id: 'grp_everyone',
      role: 'owner' }])
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})

/** Steps at the source after which a membership that was ours is no longer there; then somebody at the destination makes the same one. */
const PASSINGS: readonly (readonly [how: string, sql: string, later: string])[] = [
  ['a delete', 'delete from memberships', 'begin; insert into memberships values (1, 2); delete from memberships; commit'],
  ['a key change', 'update memberships set group_id = 1', 'begin; insert into memberships values (1, 2); delete from memberships where group_id = 2; commit'],
  ['a truncate', 'truncate memberships', 'begin; insert into memberships values (1, 2); delete from memberships; commit'],
  ['a truncate, then another', 'truncate memberships', 'truncate memberships'],
  ['a delete, then a truncate', 'delete from memberships', 'truncate memberships'],
  ['a truncate in the transaction of the insert', 'delete from memberships; begin; insert into memberships values (1, 2); truncate memberships; commit', 'truncate memberships'],
]
for (const [how, sql, later] of PASSINGS) {
  for (const restart of [false, true]) {
    test(`what was ours is the destination's own when it is made there anew: ${how}${restart ? ', with a restart' : ''}`, async () => {
      const { mapping, ...files } = await demo()
      const rig = await createRig({ servers, ...files, mapping: mapping.replace('truncate: refuse', 'truncate: owned') })
      const team = async (role: string) => (await rig.destination.query(
        `select m.role from memberships m join groups g on g.id = m.group_id where g.name = 'team' and m.role = '${role}'`)).length
      try {
        await rig.source.query(`${OURS}; insert into groups (name, kind) values ('team', 'team'); insert into memberships values (1, 2, 'ours')`)
        await rig.destination.query(THEIRS.replace("('usr_ada', 'grp_everyone', 'owner')", "('usr_ada', 'grp_everyone', 'owner') on conflict do nothing"))
        if (how === 'a key change') await rig.destination.query('delete from memberships')
        let running = rig.start()
        await rig.caughtUp(running)
        expect(await team('ours')).toBe(1)
        for (const statement of steps(sql)) await rig.source.query(statement)
        await rig.caughtUp(running)
        expect(await team('ours')).toBe(0)
        await rig.destination.query(`insert into memberships select u.id, g.id, 'theirs' from users u, groups g where g.name = 'team'`)
        if (restart) {
          await running.stop()
          running = rig.start()
        }
        await rig.source.query(later)
        await rig.caughtUp(running)
        expect(await team('theirs')).toBe(1)
        await rig.source.query(`insert into memberships values (1, 2, 'again')`)
        await rig.caughtUp(running)
        await running.stop()
        expect([await team('theirs'), await rig.destination.query('select reason from rekey.parked')]).toEqual([1, []])
        expect(await rig.destination.query(`select kind from rekey.id_map where entity = 'public.memberships' and old = E'1\\t2'`)).toEqual([{ kind: 'merged' }])
        expect(await rig.differences()).toEqual([])
      } finally {
        await rig.close()
      }
    })
  }
}

/** A transaction as one message, everything before it by itself. */
function steps(sql: string): string[] {
  const at = sql.indexOf('begin;')
  return at <= 0 ? [sql] : [sql.slice(0, at), sql.slice(at)]
}

test('a row that comes again under its key has the id that it had, whatever it is made of, and the ledger tells of it while it is gone', async () => {
  const tables = (key: string): string => `create table things (id ${key} primary key, note text); create table kept (id text primary key, note text)`
  const rig = await createRig({
    servers, sourceSql: tables('bigint'), destinationSql: tables('text'),
    mapping: `application: again\ncontexts: [{ name: all, tables: [things, kept] }]\nentities: { things: { prefix: thi, id: random }, kept: keep }\ndefaults: { truncate: owned }`,
  })
  const ledger = () => rig.destination.query('select entity, old, new, kind from rekey.id_map order by 1, 2')
  try {
    await rig.source.query(`insert into things values (1, 'a'), (2, 'b'), (3, 'c'); insert into kept values (E'x\\\\y\\tz', 'k'), ('plain', 'p')`)
    const running = rig.start()
    await rig.caughtUp(running)
    const before = await ledger()
    await rig.source.query('delete from things where id = 1; delete from kept')
    await rig.caughtUp(running)
    const went = before.filter((d) => d.entity === 'kept' || d.old === '1')
    expect(new Set((await ledger()).filter((d) => d.kind === 'gone').map((d) => d.new))).toEqual(new Set(went.map((d) => d.new)))
    await rig.source.query(`begin; insert into things values (1, 'again'); insert into kept values (E'x\\\\y\\tz', 'k2'); truncate things, kept; insert into things values (2, 'b2'); commit`)
    await rig.source.query(`insert into kept values (E'x\\\\y\\tz', 'k3')`)
    await rig.caughtUp(running)
    expect(await rig.destination.query('select count(*)::text as n from things')).toEqual([{ n: '1' }])
    await rig.source.query(`truncate kept; insert into things values (1, 'once more')`)
    await rig.caughtUp(running)
    await running.stop()
    const after = await ledger()
    const ids = (rows: typeof before) => rows.map(({ entity, old, new: id }) => ({ entity, old, id }))
    expect(ids(after)).toEqual(ids(before))
    expect(after.map((d) => `${d.entity} ${d.kind}`).sort()).toEqual(['kept gone', 'kept gone', 'things gone', 'things inserted', 'things inserted'])
    expect(await rig.differences()).toEqual([])
    expect(await rig.destination.query('select count(*)::text as n from kept')).toEqual([{ n: '0' }])
  } finally {
    await rig.close()
  }
})

test('a table whose key is a name that people gave is merged by it, in the copy and in the stream', async () => {
  const schema = (key: string): string => `create table coupons (code varchar(20) primary key, percent integer not null);
    create table uses (id ${key} primary key, code varchar(20) not null references coupons);`
  const rig = await createRig({
    servers, sourceSql: schema('bigint'), destinationSql: schema('text collate "C"'),
    mapping: JSON.stringify({
      application: 'coupons', contexts: [{ name: 'all', tables: ['coupons', 'uses'] }],
      entities: { coupons: 'keep', uses: { prefix: 'use' } }, tables: { coupons: { verdict: 'merge', on: ['code'] } },
    }),
  })
  const coupons = () => rig.destination.query('select code, percent, (select count(*) from uses u where u.code = c.code) as n from coupons c order by 1')
  try {
    await rig.source.query(`insert into coupons values ('ours', 1), ('both', 1); insert into uses values (1, 'both')`)
    await rig.destination.query(`insert into coupons values ('both', 2), ('later', 2), ('theirs', 2)`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`insert into coupons values ('later', 1); insert into uses values (2, 'later')`)
    await rig.caughtUp(running)
    await rig.source.query(`delete from uses; delete from coupons where code <> 'ours'`)
    await rig.caughtUp(running)
    await running.stop()
    expect([await coupons(), await rig.destination.query('select reason from rekey.parked')]).toEqual([
      [{ code: 'both', percent: '2', n: '0' }, { code: 'later', percent: '2', n: '0' }, { code: 'ours', percent: '1', n: '0' },
        { code: 'theirs', percent: '2', n: '0' }], []])
    expect(running.latest()?.totals['public.coupons']).toMatchObject({ read: 5, inserted: 1, merged: 2 })
  } finally {
    await rig.close()
  }
})

test.each(['cascade', 'set null'])('a row of others that is made while the row goes that it points at stays as it is, where Postgres would %s', async (action) => {
  const tables = (key: string): string => `create table people (id ${key} primary key); create table notes (id ${key} primary key, person_id ${key} references people on delete ${action})`
  const rig = await createRig({
    servers, sourceSql: tables('bigint'), destinationSql: tables('text'),
    mapping: `application: comes\ncontexts: [{ name: all, tables: [people, notes] }]\nentities: { people: { prefix: ppl }, notes: { prefix: not } }`,
  })
  const other = await client(rig.destination.url)
  try {
    await rig.source.query('insert into people values (1)')
    const running = rig.start()
    await rig.caughtUp(running)
    await other.query('begin')
    await other.query(`insert into notes select 'theirs', id from people`)
    await rig.source.query('delete from people')
    const waits = `select from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'rekey%'`
    await expect.poll(async () => (await rig.destination.query(waits)).length).toBe(1)
    await other.query('commit')
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query('select op, sqlstate from rekey.parked')).toEqual([{ op: 'delete', sqlstate: '23503' }])
    expect(await rig.destination.query('select n.id from notes n join people p on p.id = n.person_id')).toEqual([{ id: 'theirs' }])
  } finally {
    await other.end()
    await rig.close()
  }
})

test.each([['engine', 'cascade'], ['set', 'no action'], ['engine', 'no action deferrable initially deferred']])('rows of others that point at ours by another column than the key keep what they point at (checks: %s, on delete %s)', async (checks, action) => {
  const tables = (key: string): string => `create table people (id ${key} primary key, code text not null unique);
    create table notes (id ${key} primary key, person text references people (code) on delete ${action})`
  const rig = await createRig({
    servers, sourceSql: tables('bigint'), destinationSql: tables('text'), config: `checks: ${checks}`,
    mapping: `application: codes\ncontexts: [{ name: all, tables: [people, notes] }]\nentities: { people: { prefix: ppl }, notes: { prefix: not } }`,
  })
  const many = (from: number, to: number): string => `insert into people select i, 'm' || i from generate_series(${from}, ${to}) i`
  try {
    await rig.source.query(`insert into people select i, 'c' || i from generate_series(1, 5) i; insert into notes values (1, 'c5')`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.destination.query(`insert into notes select 'theirs' || i, 'c' || i from generate_series(1, 4) i`)
    for (const sql of [
      'delete from people where id = 1', `begin; ${many(1_001, 1_400)}; delete from people where id = 2; commit`, `begin; ${many(2_001, 2_400)}; update people set code = 'other' where id = 3; commit`,
      `begin; ${many(10_001, 31_000)}; delete from people where id = 4; delete from notes; delete from people where id = 5; ${many(40_001, 40_100)}; commit`,
    ]) await rig.source.query(sql)
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query('select key, op, sqlstate from rekey.parked order by id')).toEqual([
      ...[1, 2].map((key) => ({ key: String(key), op: 'delete', sqlstate: '23503' })), { key: '3', op: 'update', sqlstate: '23503' }, { key: '4', op: 'delete', sqlstate: '23503' }])
    expect(await rig.destination.query('select n.id, n.person from notes n join people p on p.code = n.person order by 1')).toEqual(
      [1, 2, 3, 4].map((i) => ({ id: `theirs${i}`, person: `c${i}` })))
    expect(await rig.destination.query('select count(*) as n from people')).toEqual([{ n: String(4 + 800 + 21_000 + 100) }])
  } finally {
    await rig.close()
  }
})

test('in a transaction in fragments, of which a row cannot be written, what was decided of all others is kept', async () => {
  const tables = (key: string): string => `create table things (id ${key} primary key, note text);
    create table parts (thing_id ${key} not null references things, n integer not null, note text, primary key (thing_id, n));`
  const rig = await createRig({
    servers, sourceSql: tables('bigint'), destinationSql: `${tables('text')} alter table parts add constraint refused check (note <> 'bad')`,
    mapping: `application: fragments\ncontexts: [{ name: all, tables: [things, parts] }]\nentities: { things: { prefix: thi, id: random } }`,
  })
  try {
    await rig.source.query(`insert into things values (0, 'before')`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`begin; insert into things select i, repeat('n', 10000) from generate_series(1, 500) i; insert into parts select i, 1, repeat('n', 10000) from generate_series(1, 500) i; insert into parts values (0, 2, 'bad'); commit`)
    await rig.caughtUp(running)
    expect(await rig.destination.query('select tbl, sqlstate from rekey.parked')).toEqual([{ tbl: 'public.parts', sqlstate: '23514' }])
    expect(await rig.destination.query(`select entity, count(*) as n from rekey.id_map where kind = 'inserted' group by 1 order by 1`)).toEqual(
      [{ entity: 'public.parts', n: '500' }, { entity: 'things', n: '501' }])
    // Rows that are known to be ours go.
    await rig.source.query('delete from parts where thing_id < 100; delete from things where id between 1 and 99')
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query('select (select count(*) from things) as things, (select count(*) from parts) as parts')).toEqual([{ things: '402', parts: '401' }])
  } finally {
    await rig.close()
  }
})
