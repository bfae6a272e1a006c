import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase, type Database } from '../support/database.ts'
import { createRig, type Rig, type Running } from '../support/rig.ts'
import { startConnect, type Connect } from '../support/services/connect.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'

/**
 * Debezium's stock JDBC sink reads the topics that rekey writes for others, into a third database; afterwards both have the same rows, as
 * text. The tables have a column for each type that the topics carry.
 */
const TYPES = {
  small: ['smallint', '-32768'], whole: ['integer', '2147483647'], big: ['bigint', '9007199254740993'], object: ['oid', '4294967295'],
  single: ['real', '1e-45'], double: ['double precision', '5e-324'], yes: ['boolean', 'true'], bytes: ['bytea', '\\x00ff5c0a'],
  words: ['text', 'ä €𝄞 "x" \\ \' \t\n'], short: ['varchar(20)', 'trailing  '], padded: ['char(8)', 'ab'], ci: ['citext', 'AbC'],
  uid: ['uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'], js: ['json', '{"b": 1,   "b": 1e400}'], jsb: ['jsonb', '{"a": 1.10, "b": [null]}'],
  doc: ['xml', '<a b="1">\n <c/>ü</a>'], feeling: ['mood', 'so "so"'], day: ['date', '0001-01-01'], hour: ['time(3)', '12:34:56.789'],
  hours: ['time', '23:59:59.999999'], moment: ['timestamp(3)', '1969-12-31 23:59:59.999'], moments: ['timestamp', '9999-12-31 23:59:59.999999'],
  zoned: ['timestamptz', '1890-01-01 00:00:00.000001+00'], span: ['interval', '1 year -2 mons 3 days -04:05:06.7'],
  price: ['numeric(30, 10)', '-12345678901234567890.1234567890'], free: ['numeric', '0.00000000000000000001000'], flag: ['bit(1)', '1'],
  flags: ['bit(9)', '100000011'], host: ['inet', '192.168.0.1/24'], net: ['cidr', '10.0.0.0/8'], mac: ['macaddr', '08:00:2b:01:02:03'],
  span4: ['int4range', '[1,5)'], spann: ['numrange', '(,2.50)'], spant: ['tstzrange', '["2024-01-01 00:00:00+00",)'], tree: ['ltree', 'Top.A_1'],
  found: ['tsvector', `'a':1A,2 'b':3`], list: ['integer[]', '{1,NULL,-3}'], names: ['text[]', '{"a,b",NULL,"NULL","",ü}'],
} as const

const columns = Object.entries(TYPES)
const SCHEMA = `
create extension if not exists citext; create extension if not exists ltree;
create type mood as enum ('sad', 'so "so"');
create table typed (id bigint primary key, ${columns.map(([name, [type]]) => `${name} ${type}`).join(', ')});
create table users (id bigint primary key, email text not null unique, bio text, age integer);
create table notes (id bigint primary key, user_id bigint not null references users on update cascade, body text, kept text not null default 'nothing');
create index on notes (user_id);
create table tags (note_id bigint not null, word text not null, weight numeric(5,2), primary key (note_id, word));
create table strict (id bigint primary key, n integer, body text not null);
alter table users alter bio set storage external;
alter table strict alter body set storage external;
alter table notes alter body set storage external, alter kept set storage external;
`
const TABLES = ['typed', 'users', 'notes', 'tags', 'strict'] as const

const mapping = JSON.stringify({
  application: 'sink', contexts: [{ name: 'all', tables: TABLES }], defaults: { truncate: 'owned' },
  entities: { typed: 'keep', users: 'keep', notes: 'keep', strict: 'keep' },
  tables: { typed: { notAnId: ['uid'] }, tags: { notAnId: ['note_id'] } },
})

const [servers, broker] = await Promise.all([pair({ source: 15, destination: 18 }), startKafka()])
let connect: Connect
let rig: Rig
let running: Running
let third: Database

beforeAll(async () => {
  connect = await startConnect({ kafka: broker })
  third = await createDatabase(servers.destination)
  // It reads a topic a table, so it knows no order between tables; there are no foreign keys at its side.
  await third.query(SCHEMA.replaceAll(/ references [^,]+,/g, ','))
  rig = await createRig({
    servers, sourceSql: SCHEMA, destinationSql: SCHEMA, mapping,
    config: `log: kafka\nkafka: { brokers: ['${broker.bootstrap}'], topics: per-table, schemas: inline }`,
  })
  running = rig.start()
  await rig.caughtUp(running)
  const url = new URL(third.url)
  await connect.add('sink', {
    'connector.class': 'io.debezium.connector.jdbc.JdbcSinkConnector',
    'topics': TABLES.map((table) => `${rig.config.pipeline}.public.${table}`).join(),
    // What the sink binds as text (enums, intervals) then takes the type of its column.
    'connection.url': `jdbc:postgresql://${url.host}${url.pathname}?stringtype=unspecified`, 'connection.username': 'postgres', 'connection.password': 'none',
    'insert.mode': 'upsert', 'delete.enabled': 'true', 'primary.key.mode': 'record_key', 'schema.evolution': 'none', 'truncate.enabled': 'true',
    'collection.name.format': '${source.table}',
  })
})

afterAll(async () => {
  await running?.stop()
  await connect?.stop()
  await rig?.close()
  await third?.drop()
  await broker.stop()
})

/** Rows as the server prints them. */
async function rowsOf(database: Database, table: string): Promise<string[]> {
  return (await database.query(`select format('%s', t) as row from ${table} t order by 1`)).map(({ row }) => row!)
}

/** Waits until the third database has the source's rows; then so has the destination. */
async function agree(): Promise<void> {
  for (const end = Date.now() + 30_000; ;) {
    const differ: string[] = []
    for (const table of TABLES) {
      const [wanted, found] = await Promise.all([rowsOf(rig.source, table), rowsOf(third, table)])
      if (wanted.join('\n') !== found.join('\n')) differ.push(table)
    }
    if (differ.length === 0) break
    const failed = await connect.failure('sink')
    if (failed !== null) throw new Error(failed)
    if (Date.now() > end) for (const table of differ) expect([table, await rowsOf(third, table)]).toEqual([table, await rowsOf(rig.source, table)])
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await rig.caughtUp(running)
  expect(await rig.differences()).toEqual([])
}

const literal = (value: string): string => `'${value.replaceAll("'", "''")}'`

test('values of every type, and null', async () => {
  const names = columns.map(([name]) => name).join()
  await rig.source.query(`insert into typed (id, ${names}) values (1, ${columns.map(([, [, value]]) => literal(value)).join()}); insert into typed (id) values (2)`)
  await agree()
  await rig.source.query(`update typed set (${names}) = (select ${names} from typed where id = 3 - typed.id)`)
  await agree()
})

test('changes of rows, in order: new values, null, keys, deletes, truncates', async () => {
  const { source } = rig
  await source.query(`insert into users select n, 'u' || n || '@x', 'bio ' || n, n from generate_series(1, 20) n;
    insert into notes (id, user_id, body) select n, 1 + n % 20, 'body ' || n from generate_series(1, 200) n;
    insert into tags select n, 'w' || n % 3, n / 7.0 from generate_series(1, 50) n`)
  await agree()
  for (let i = 1; i <= 30; i++) {
    await source.query(`begin;
      update users set age = age + ${i}, bio = case when id % 3 = 0 then null else bio || '${i}' end where id % 4 = ${i % 4};
      update users set id = id + 1000 where id = ${1 + i % 7};
      update tags set word = word || '${i}' where note_id = ${i};
      delete from notes where id = ${i * 3};
      insert into notes (id, user_id, body, kept) select ${500 + i}, min(id), 'new', 'ü' from users;
      update notes set body = body || '!' where id = ${500 + i};
      delete from tags where note_id = ${i - 3};
      commit`)
  }
  // A key that is deleted and comes again, in one transaction and in two.
  await source.query(`begin; delete from tags where note_id = 40; insert into tags values (40, 'w1', 1), (40, 'w2', null); commit`)
  await source.query(`delete from tags where note_id = 41`)
  await source.query(`insert into tags values (41, 'w2', 2)`)
  await agree()
  expect(Number((await third.query('select count(*) from notes'))[0].count)).toBe(200)
  await source.query('truncate tags')
  await agree()
  expect(await rowsOf(third, 'tags')).toEqual([])
})

test('a large value that was not sent again stays at the reader', async () => {
  const { source } = rig
  // Larger than a page after its compression, so it is stored apart and is not in the WAL of an update that leaves it alone.
  const large = "(select string_agg(md5(n::text), '') from generate_series(1, 300) n)"
  await source.query(`insert into users values (5000, 'large@x', ${large}, 1); insert into notes values (5000, 5000, ${large}, ${large})`)
  await agree()
  await source.query('update users set age = 2 where id = 5000')
  await agree()
  await source.query(`update users set bio = null where id = 5000; update users set bio = ${large} where id = 5000; update users set age = 3 where id = 5000`)
  await agree()
  // A whole old row has the value, whatever the key does.
  await source.query(`alter table users replica identity full; alter table notes replica identity full;
    update users set id = 5001 where id = 5000; update users set age = 4 where id = 5001`)
  await agree()
})

test('where such a column is NOT NULL without a default, the sink stops and names it, unless the old row is whole', async () => {
  const { source } = rig
  const large = "(select string_agg(md5(n::text), '') from generate_series(1, 300) n)"
  await source.query(`insert into strict values (1, 1, ${large})`)
  await source.query('alter table strict replica identity full')
  await source.query('update strict set n = 2')
  await agree()
  await source.query('alter table strict replica identity default')
  await source.query('update strict set n = 3')
  // Postgres asks for the value before it sees that the row is there (INSERT … ON CONFLICT).
  await expect.poll(() => connect.failure('sink')).toMatch(/null value in column "body" of relation "strict" violates not-null/)
  expect((await third.query('select n from strict'))[0].n).toBe('2')
})
