import { expect, test } from 'vitest'
import { openSession } from '../../connectors/postgres/session.ts'
import { parked } from '../support/accident.ts'
import { createRig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })

test('a server that refuses says which one it is, and what of its URL, or which right, is to be mended', async () => {
  const { host, port } = servers.destination
  const url = (database: string, user = 'postgres') => `postgres://${user}@${host}:${port}/${database}`
  await expect(openSession(url('there_is_none'), 'destination')).rejects.toMatchObject({
    code: 'CONFIG', sqlstate: '3D000', message: `cannot connect to the destination at ${host}:${port}: it has no database of that name` })
  await expect(openSession(url('postgres', 'nobody_at_all'), 'destination')).rejects.toMatchObject({
    code: 'PRIVILEGE', sqlstate: '28000', hint: expect.stringContaining('user and password in the URL of the destination') })
  await expect(openSession(`postgres://postgres@${host}:1/postgres`, 'source')).rejects.toMatchObject({
    code: 'REMOTE', message: `cannot connect to the source at ${host}:1 (ECONNREFUSED)` })
  const session = await openSession(url('postgres'), 'destination')
  try {
    await session.query('create role poor; create schema theirs; create table theirs.rows (id text)')
    await expect(session.query('set role poor; select * from theirs.rows')).rejects.toMatchObject({
      code: 'PRIVILEGE', message: 'a question to the destination failed: permission denied for schema theirs' })
  } finally {
    await session.query('reset role; drop schema theirs cascade; drop role poor')
    await session.close()
  }
})

const schema = (key: string): string => `create table people (id ${key} primary key, email varchar(100) not null unique, name text);
  create table letters (id ${key} primary key, person_id ${key} not null references people, note varchar(100));`

/** What stands in for something of pg_catalog that statements name: it leaves a trace, and answers wrongly. */
const imposter = (name: string, args: string, result: string): string => `
  create function evil.${name}(${args}) returns ${result} language plpgsql as $$ begin insert into evil.calls values ('${name}', current_user); return null; end $$;`

const EVIL = `create schema evil; create table evil.calls (name text, whose text);
  ${['varchar', 'text'].map((type) => imposter('lower', type, 'text') + imposter('btrim', type, 'text') + imposter('same', `${type}, ${type}`, 'boolean') + `
    create operator evil.= (leftarg = ${type}, rightarg = ${type}, function = evil.same);`).join('')}
  ${imposter('set_config', 'text, text, boolean', 'text')}${imposter('current_setting', 'text', 'text')}${imposter('clock_timestamp', '', 'timestamptz')}
  ${imposter('format', 'text, text', 'text')}${imposter('hashtextextended', 'text, bigint', 'bigint')}${imposter('to_regclass', 'text', 'regclass')}
  ${imposter('pg_try_advisory_lock', 'bigint', 'boolean')}${imposter('concat_ws', 'text, text, text', 'text')}
  create table evil.pg_class (oid oid); create table evil.pg_attribute (attrelid oid); create table evil.people (id text);`

test.each([[[]], [['evil']]])('functions, operators and tables that stand in for others, ahead in the search path of our role, are not called with our rights (searchPath: %j)', async (searchPath) => {
  let role = ''
  const rig = await createRig({
    through: { destination(text) {
      const url = new URL(text)
      url.username = role = `role_${url.pathname.slice(1)}`
      return url.href
    } },
    servers, searchPath, sourceSql: schema('bigint'),
    destinationSql: `${EVIL} ${schema('text collate "C"')} alter table letters alter note set default evil.lower('default');`,
    mapping: `
application: rights
contexts: [{ name: all, tables: [people, letters] }]
entities: { people: { prefix: peo }, letters: { prefix: let } }
tables: { people: { verdict: merge, on: ['lower(email)'], columns: { name: { keep: source } } } }`,
  })
  try {
    await rig.destination.query(`create role ${role} login superuser; alter role ${role} set search_path = evil, pg_catalog, public; insert into people values ('peo_theirs', 'Ann@x', 'theirs')`)
    await rig.source.query("insert into people values (1, 'ann@x', 'Ann'), (2, 'bob@x', 'Bob'); insert into letters values (1, 1, 'one'), (2, 2, null)")
    const running = rig.start()
    await rig.caughtUp(running)
    // One that cannot be written makes the rest go one by one.
    await rig.source.query(`begin; insert into people values (3, 'cid@x', 'Cid'), (4, 'BOB@x', 'another'); insert into letters values (3, 3, null), (4, 4, 'behind'); commit;
      update letters set note = 'changed' where id = 1; delete from letters where id = 2; update people set name = 'Ann!' where id = 1`)
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query('select * from evil.calls')).toEqual([])
    expect(await rig.destination.query(`select name from people where id = 'peo_theirs'`)).toEqual([{ name: 'Ann!' }])
    expect((await parked(rig)).map(({ tbl, key }) => `${tbl} ${key}`)).toEqual(['public.people 4', 'public.letters 4'])
  } finally {
    await rig.destination.query(`drop owned by ${role} cascade; drop role ${role}`)
    await rig.close()
  }
})
