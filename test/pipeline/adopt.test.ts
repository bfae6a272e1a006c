import { expect, test } from 'vitest'
import type { Totals } from '../../src/core/plan.ts'
import { closes } from '../../src/core/totals.ts'
import { operate, planRun } from '../../src/pipeline/operate.ts'
import { createRig, type Rig, type Running } from '../support/rig.ts'
import { pair } from '../support/servers.ts'
import { APPLICATION, MAPPING, same } from './adopt-application.ts'

/** Rows that triggers of the destination make, and that become ours: the primary group of a user, its memberships, its profile. */
const servers = await pair({ source: 15, destination: 18 })

async function applicationRig(config = ''): Promise<Rig> {
  return createRig({ servers, sourceSql: APPLICATION, destinationSql: `${APPLICATION} select setval('groups_gid_seq', 500); select setval('users_id_seq', 500)`, mapping: MAPPING, config })
}

const adopted = (rig: Rig) => rig.destination.query(`select entity, old, new from rekey.id_map where kind = 'adopted' order by entity, old`)

async function streamed(rig: Rig, running: Running, sql: string): Promise<void> {
  await rig.source.query(sql)
  await rig.caughtUp(running)
}

const FIRST = `
  insert into notes (id, body) values (1, 'of group 11'), (2, 'of group 12'), (3, 'of nothing');
  insert into users (name) values ('ada'), ('bob'), ('eve');
  insert into groups (name) values ('team');
  insert into user_to_groups (uid, gid) select id, 14 from users;
  update user_to_groups set role = 'owner' where uid = 1 and gid = 11;
  delete from user_to_groups where uid = 3 and gid = 13;
  insert into user_to_groups values (3, 13, 'again');
  insert into wallets (owner, name) values (11, 'purse'), (14, 'chest')`

test.each(['engine', 'set'])('the copy takes the rows that triggers make as the ones of the source (checks: %s)', async (checks) => {
  const rig = await applicationRig(`checks: ${checks}`)
  try {
    await rig.source.query(`${FIRST}; insert into users (name) select 'u' || n from generate_series(1, 400) n; insert into wallets (owner, name) select primary_gid, name from users where name like 'u%'`)
    const running = rig.start()
    await rig.caughtUp(running)
    await same(rig)
    expect((await adopted(rig)).filter(({ entity }) => entity === 'groups')).toHaveLength(403)
    expect(await rig.destination.query('select body from notes order by id')).toEqual(await rig.destination.query(
      `select 'of group ' || coalesce((select new from rekey.id_map where entity = 'groups' and old = n), '?') as body from unnest(array['11', '12']) n union all select 'of nothing'`))
    await streamed(rig, running, `insert into users (name) select 'v' || n from generate_series(1, 300) n; delete from wallets; delete from users where name like 'u1%'`)
    await same(rig)
    for (const totals of Object.values(running.latest()!.totals)) expect(closes(totals)).toBe(true)
    await running.stop()
  } finally {
    await rig.close()
  }
})

test('the stream adopts, updates and deletes them', async () => {
  const rig = await applicationRig()
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await streamed(rig, running, FIRST)
    await same(rig)
    const [[ours]] = [await rig.destination.query(`select new from rekey.id_map where entity = 'groups' and old = '11' and kind = 'adopted'`)]
    expect(Number(ours.new)).toBeLessThan(1_000_000)
    await streamed(rig, running, `update groups set name = 'of ada' where gid = 11; update users set name = 'bobby' where name = 'bob';
      update user_to_groups set role = 'guest' where gid = 1; begin; insert into users (name) values ('one'); insert into wallets (owner, name) select primary_gid, 'w' from users where name = 'one'; commit`)
    await same(rig)
    await streamed(rig, running, `delete from wallets where owner = 11; begin; delete from user_to_groups where uid = 1; delete from users where name = 'ada'; commit;
      begin; insert into users (name) values ('short'); delete from users where name = 'short'; commit`)
    await same(rig)
    await streamed(rig, running, `insert into users (id, name) values (1, 'ada again'); insert into wallets (owner, name) select primary_gid, 'new purse' from users where id = 1`)
    await same(rig)
    for (const totals of Object.values(running.latest()!.totals)) expect(closes(totals)).toBe(true)
    await running.stop()
  } finally {
    await rig.close()
  }
})

test('a restart between the maker and the made row finds it again', async () => {
  const rig = await applicationRig('snapshot: { workers: 1, rowsPerChunk: 100 }')
  try {
    await rig.source.query(`${FIRST}; insert into users (name) select 'u' || n from generate_series(1, 250) n`)
    let chunks = 0
    const first = rig.start({ point: async (name) => {
      if (name !== 'snap.chunk_written') return
      const [{ done }] = await rig.destination.query(`select count(*) filter (where tbl = 'public.users' and pass = 1 and rows is null)::text || '/' || count(*) filter (where rows is not null) as done from rekey.chunk`)
      chunks++
      if (done!.startsWith('0/')) throw new Error('stopped here')
    } })
    await expect(first.ended).rejects.toThrow('stopped here')
    expect(chunks).toBeGreaterThan(0)
    expect(await rig.destination.query(`select count(*)::text from groups where kind = 'PRIMARY'`)).toEqual([{ count: '253' }])
    await rig.source.query(`insert into users (name) values ('meanwhile'); insert into wallets (owner, name) select primary_gid, 'w' from users where name in ('meanwhile', 'u7'); delete from users where name = 'u9'`)
    const second = rig.start()
    await rig.caughtUp(second)
    await same(rig)
    await second.stop()
    const third = rig.start()
    await streamed(rig, third, `insert into users (name) values ('later'); update groups set name = 'renamed' where gid = (select primary_gid from users where name = 'u8')`)
    await same(rig)
    await third.stop()
  } finally {
    await rig.close()
  }
})

test('a group of a user of the destination stays the destination\'s', async () => {
  const rig = await applicationRig()
  try {
    await rig.destination.query(`insert into users (name) values ('ada'); update groups set name = 'hers' where kind = 'PRIMARY'`)
    await rig.source.query(FIRST)
    const running = rig.start()
    await rig.caughtUp(running)
    expect(await rig.destination.query(`select entity, old, new, kind from rekey.id_map where entity in ('groups', 'public.user_to_groups') and kind = 'merged' order by 1, 2`)).toEqual([
      { entity: 'groups', old: '11', new: '501', kind: 'merged' },
      { entity: 'public.user_to_groups', old: '1\t1', new: '501\t1', kind: 'merged' },
      { entity: 'public.user_to_groups', old: '1\t11', new: '501\t501', kind: 'merged' },
    ])
    await streamed(rig, running, `update groups set name = 'taken over' where gid = 11; delete from wallets where owner = 11; delete from users where name = 'ada'`)
    expect(await rig.destination.query(`select u.name, g.name as own from users u join groups g on gid = primary_gid where u.id = 501`)).toEqual([{ name: 'ada', own: 'hers' }])
    expect(await rig.destination.query(`select role from user_to_groups where uid = 501 and gid in (1, 501)`)).toEqual([{ role: 'member' }, { role: 'member' }])
    await running.stop()
  } finally {
    await rig.close()
  }
})

test('the dry run says which rows will be adopted, and agrees with the run', async () => {
  const rig = await applicationRig()
  try {
    await rig.destination.query(`insert into users (name) values ('ada')`)
    await rig.source.query(FIRST)
    const plan = await operate(rig.config, (operated) => planRun(operated, { samples: 5, onBlock: () => {} }))
    const of = (table: string) => plan.tables.find((one) => one.table === `public.${table}`)!
    expect(of('groups')).toMatchObject({ rows: 5, new: 1, adopted: 2, matched: 1, skipped: { pinned: 1 }, conflict: 0, orphan: 0 })
    expect(of('groups').samples).toMatchObject({ new: ['14'], adopted: ['12', '13'] })
    expect(of('users')).toMatchObject({ rows: 3, new: 2, matched: 1, conflict: 0, orphan: 0 })
    expect(of('wallets')).toMatchObject({ rows: 2, new: 2 })
    expect(plan.totals.adopted).toBe(2)
    for (const one of plan.tables) {
      const skipped = Object.values(one.skipped).reduce((sum, n) => sum + n, 0)
      expect(one.new + one.adopted + one.matched + one.conflict + one.orphan + one.invalid + skipped).toBe(one.rows)
    }
    const running = rig.start()
    await rig.caughtUp(running)
    expect(await rig.destination.query(`select kind, count(*)::text as n from rekey.id_map where entity = 'groups' and kind <> 'dangling' group by 1 order by 1`)).toEqual([
      { kind: 'adopted', n: '2' }, { kind: 'inserted', n: '1' }, { kind: 'merged', n: '1' }, { kind: 'pinned', n: '1' },
    ])
    // Whichever of the new rows a trigger makes: the run carries as many rows as the plan says.
    const totals = JSON.parse((await rig.destination.query('select totals::text as totals from rekey.checkpoint'))[0].totals!) as Record<string, Totals>
    const carried = plan.tables.map(({ table, rows, new: fresh, adopted: made, matched, skipped }) => [table, { read: rows, inserted: fresh + made, merged: matched, skipped, parked: 0 }])
    expect(plan.tables.map(({ table }) => [table, totals[table]])).toMatchObject(carried)
    await running.stop()
  } finally {
    await rig.close()
  }
})

test('what a trigger makes and the source does not have is the destination\'s own: it stays, and goes before its maker by hand', async () => {
  const rig = await applicationRig()
  try {
    // A member no more: the trigger of the destination makes bob one again.
    await rig.source.query(`${FIRST}; delete from user_to_groups where uid = 2 and gid = 1; delete from wallets`)
    const running = rig.start()
    await rig.caughtUp(running)
    const bob = `(select id from users where name = 'bob')`
    expect(await rig.destination.query(`select count(*)::int as n from user_to_groups where uid = ${bob} and gid = 1`)).toEqual([{ n: '1' }])
    expect(await rig.destination.query(`select count(*)::text from user_to_groups`)).toEqual([{ count: '9' }])
    const totals = async (): Promise<Record<string, Totals>> =>
      JSON.parse((await rig.destination.query('select totals::text as totals from rekey.checkpoint'))[0].totals!) as Record<string, Totals>
    expect((await totals())['public.user_to_groups']).toMatchObject({ read: 8, inserted: 8, parked: 0 })
    await streamed(rig, running, `begin; delete from user_to_groups where uid = 2; delete from users where name = 'bob'; commit`)
    const waiting = () => rig.destination.query(`select tbl, key, op, sqlstate, behind::text from rekey.parked where state <> 'done' order by id`)
    expect(await waiting()).toEqual([{ tbl: 'public.users', key: '2', op: 'delete', sqlstate: '23503', behind: 'false' },
      { tbl: 'public.groups', key: '12', op: 'delete', sqlstate: expect.anything(), behind: expect.anything() }])
    await rig.destination.query(`delete from user_to_groups where uid = ${bob}; update rekey.parked set state = 'retry'`)
    await expect.poll(waiting).toEqual([])
    for (const one of Object.values(await totals())) expect(closes(one)).toBe(true)
    await same(rig)
    await running.stop()
  } finally {
    await rig.close()
  }
})

/** The source has no triggers and writes the made row first; ids become texts; the profile refers to its user, BEFORE triggers included. */
const PLAIN = `
  create table orgs (id bigserial primary key, name text not null);
  create table groups (id bigserial primary key, name text not null);
  create table users (id bigserial primary key, name text not null, org_id bigint references orgs, home_id bigint not null references groups);
  create table profiles (id bigserial primary key, user_id bigint not null references users, bio text);
  create table posts (id bigserial primary key, profile_id bigint not null references profiles, home_id bigint references groups);`
const TRIGGERED = `
  create table orgs (id text primary key, name text not null);
  create table groups (id text primary key default 'made_' || gen_random_uuid(), name text not null);
  create table users (id text primary key, name text not null, org_id text references orgs, home_id text not null references groups);
  create table profiles (id text primary key default 'made_' || gen_random_uuid(), user_id text not null references users, bio text);
  create table posts (id text primary key, profile_id text not null references profiles, home_id text references groups);
  create function home() returns trigger language plpgsql set search_path = public as $$
  begin
    insert into groups (name) values ('home of ' || new.name) returning id into new.home_id;
    return new;
  end $$;
  create trigger home before insert on users for each row execute function home();
  create function profile() returns trigger language plpgsql set search_path = public as $$
  begin
    if new.name <> 'shy' then insert into profiles (user_id, bio) values (new.id, 'empty'); end if;
    return null;
  end $$;
  create trigger profile after insert on users for each row execute function profile();`
const PLAIN_MAPPING = `
application: plain
defaults: { triggers: fire, truncate: owned }
contexts: [{ name: all, tables: [orgs, groups, users, profiles, posts] }]
entities: { orgs: { prefix: org }, groups: { prefix: grp }, users: { prefix: usr }, profiles: { prefix: pro }, posts: { prefix: pst } }
tables:
  groups: { adopt: { by: users, column: home_id } }
  profiles: { adopt: { by: users, on: [user_id] } }
`
const ROWS = (n: number): string => `
  insert into orgs values (${n}, 'org');
  insert into groups values (${n}, 'home ${n}'), (${n + 1}, 'home of shy'), (${n + 2}, 'nobody''s');
  insert into users values (${n}, 'ada', ${n}, ${n}), (${n + 1}, 'shy', null, ${n + 1});
  insert into profiles values (${n}, ${n}, 'likes engines'), (${n + 1}, ${n + 1}, 'shy');
  insert into posts values (${n}, ${n}, ${n}), (${n + 1}, ${n + 1}, ${n + 2})`
const PLAIN_PICTURE = `
  select p.home_id is not null as homely, g.name as home, f.bio, u.name, o.name as org, h.name as at
  from posts p join profiles f on f.id = profile_id join users u on u.id = user_id join groups h on h.id = u.home_id left join groups g on g.id = p.home_id left join orgs o on o.id = org_id
  order by 1, 2, 3, 4, 5, 6`

async function plainSame(rig: Rig): Promise<void> {
  expect(await rig.destination.query(`select tbl, key, reason from rekey.parked where state <> 'done'`)).toEqual([])
  expect(await rig.destination.query(PLAIN_PICTURE)).toEqual(await rig.source.query(PLAIN_PICTURE))
  for (const table of ['groups', 'profiles', 'users']) {
    expect(await rig.destination.query(`select count(*)::text from ${table}`)).toEqual(await rig.source.query(`select count(*)::text from ${table}`))
  }
  expect(await rig.differences()).toEqual([])
}

test('a row that the source writes first, found by the maker or by its own columns, copied and streamed', async () => {
  const rig = await createRig({ servers, sourceSql: PLAIN, destinationSql: TRIGGERED, mapping: PLAIN_MAPPING })
  try {
    await rig.source.query(ROWS(1))
    const running = rig.start()
    await rig.caughtUp(running)
    await plainSame(rig)
    await streamed(rig, running, `begin; ${ROWS(11)}; commit`)
    await plainSame(rig)
    // The profile comes long after its user.
    const [org, homes, users, profiles, posts] = ROWS(21).split(';')
    for (const one of [org, `begin; ${homes}; ${users}; commit`, profiles, posts]) await streamed(rig, running, one)
    await plainSame(rig)
    await streamed(rig, running, 'delete from posts; delete from profiles where id in (1, 11); update profiles set bio = \'better\'; delete from users where id in (1, 11); delete from groups where id in (1, 11)')
    await plainSame(rig)
    await running.stop()
  } finally {
    await rig.close()
  }
})

test('what is ambiguous is not taken but parked, with what refers to it behind', async () => {
  const rig = await createRig({ servers, sourceSql: PLAIN, destinationSql: TRIGGERED, mapping: PLAIN_MAPPING })
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.destination.query(`create function twice() returns trigger language plpgsql set search_path = public as $$ begin if new.name = 'two' then insert into profiles (user_id) values (new.id); end if; return null; end $$;
      create trigger twice after insert on users for each row execute function twice()`)
    await streamed(rig, running, `begin; insert into groups values (1, 'g'), (2, 'shared'), (3, 'g');
      insert into users values (1, 'two', null, 1), (2, 'x', null, 2), (3, 'y', null, 2), (4, 'fine', null, 3);
      insert into profiles values (1, 1, 'which?'), (4, 4, 'fine'); insert into posts values (1, 1, null), (2, 4, 2), (4, 4, 3); commit`)
    expect(await rig.destination.query('select tbl, key, reason, behind::text from rekey.parked order by 1, 2')).toEqual([
      { tbl: 'public.groups', key: '2', reason: 'several rows of public.users at the source point at it', behind: 'false' },
      { tbl: 'public.posts', key: '1', reason: expect.anything(), behind: 'true' },
      { tbl: 'public.posts', key: '2', reason: expect.anything(), behind: 'true' },
      { tbl: 'public.profiles', key: '1', reason: 'several rows of the destination may be the one that a trigger made', behind: 'false' },
      { tbl: 'public.users', key: '2', reason: expect.anything(), behind: 'true' },
      { tbl: 'public.users', key: '3', reason: expect.anything(), behind: 'true' },
    ])
    expect(await rig.destination.query('select name from users order by name')).toEqual([{ name: 'fine' }, { name: 'two' }])
    expect(await rig.destination.query('select count(*)::text from posts')).toEqual([{ count: '1' }])
    await running.stop()
  } finally {
    await rig.close()
  }
})
