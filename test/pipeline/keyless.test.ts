import { expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import { createRig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })

const MAPPING = `
application: keyless
contexts: [{ name: all, tables: [parents, children, tags, notes] }]
entities: { parents: { prefix: par }, children: { prefix: chi } }
`
const SOURCE = `
create table parents (id bigint primary key, name text);
create table children (id bigint primary key, parent_id bigint not null references parents on delete cascade);
create index on children (parent_id);
create table tags (parent_id bigint references parents, label text, doc json);
alter table tags replica identity full;
create table notes (parent_id bigint not null references parents, label text not null);
alter table notes replica identity full;
`
const DESTINATION = `
create table parents (id text collate "C" primary key, name text);
create table children (id text collate "C" primary key, parent_id text collate "C" not null references parents);
create index on children (parent_id);
create table tags (parent_id text collate "C" references parents, label text, doc json);
create table notes (parent_id text collate "C" not null references parents, label text not null);
`

for (const checks of ['engine', 'set'] as const) {
  test(`equal rows of a table without a key come and go one by one, checks: ${checks}`, async () => {
    const rig = await createRig({ servers, sourceSql: SOURCE, destinationSql: DESTINATION, mapping: MAPPING, config: `checks: ${checks}` })
    const counts = async (): Promise<unknown[]> => Promise.all([rig.source, rig.destination].map((db) =>
      db.query('select p.name, t.label, t.doc::text as doc, count(*)::text as n from tags t left join parents p on p.id = t.parent_id group by 1, 2, 3 order by 1, 2, 3')))
    try {
      await rig.source.query(`insert into parents select i, 'p' || i from generate_series(1, 5) i;
        insert into tags select 1 + i % 3, case when i % 2 = 0 then 'x' end, '{"a":  1}' from generate_series(1, 30) i; insert into notes select 1, 'n' from generate_series(1, 4)`)
      const running = rig.start()
      await rig.caughtUp(running)
      let [there, here] = await counts()
      expect(here).toEqual(there)
      await rig.source.query(`delete from tags where ctid in (select ctid from tags where label is null limit 4)`)
      await rig.source.query(`update tags set label = 'y' where ctid in (select ctid from tags where label = 'x' limit 3)`)
      await rig.source.query(`insert into tags values (null, null, null), (null, null, null), (2, 'tab\\tnew', '1'); delete from notes where ctid = (select min(ctid) from notes)`)
      await rig.source.query(`update tags set doc = '{"a": 2, "a": 2}' where parent_id = 2`)
      await rig.caughtUp(running)
      await running.stop()
      ;[there, here] = await counts()
      expect(here).toEqual(there)
      expect((await rig.destination.query('select count(*)::text as n from notes'))[0].n).toBe('3')
      expect((await rig.destination.query("select count(*)::text as n from rekey.parked"))[0].n).toBe('0')
    } finally {
      await rig.close()
    }
  })

  test(`a transaction in fragments deletes parents long before their children, checks: ${checks}`, async () => {
    const rig = await createRig({ servers, sourceSql: SOURCE, destinationSql: DESTINATION, mapping: MAPPING, config: `checks: ${checks}` })
    try {
      await rig.source.query(`insert into parents select i, repeat('p', 200) from generate_series(1, 40000) i; insert into children select i, i from generate_series(1, 40000) i`)
      const running = rig.start()
      await rig.caughtUp(running)
      await rig.source.query(`begin; delete from parents where id <= 30000; insert into parents select i, 'again' from generate_series(1, 15000) i;
        insert into children select i, i from generate_series(1, 15000) i; commit`)
      await rig.caughtUp(running)
      await running.stop()
      expect(await rig.differences()).toEqual([])
      expect((await rig.destination.query("select count(*)::text as n from rekey.parked"))[0].n).toBe('0')
    } finally {
      await rig.close()
    }
  })
}

for (const [how, null_] of [['columns that may be null', ''], ['columns that are never null', 'not null']] as const) {
  test(`of rows that are equal and print otherwise the right one goes, whole partitions apart: ${how}`, async () => {
    const loose = (key: string, more: string): string => `create table parents (id ${key} primary key);
      create table loose (n numeric ${null_}, f float8 ${null_}, j jsonb ${null_}, t text ${null_}) ${more}`
    const rig = await createRig({
      servers, sourceSql: `${loose('bigint', '')}; alter table loose replica identity full`,
      destinationSql: `${loose('text', 'partition by list (t)')}; create table loose_a partition of loose for values in ('a'); create table loose_rest partition of loose default`,
      mapping: `application: loose\ncontexts: [{ name: all, tables: [parents, loose] }]\nentities: { parents: { prefix: par } }`,
    })
    const rows = (db: typeof rig.source) => db.query('select n::text, f::text, j::text, t from loose order by 4, 1, 2, 3')
    try {
      await rig.source.query(`insert into loose select n, f, j, t from unnest('{1.0,1.00,1.000}'::numeric[]) n, unnest('{0,-0}'::float8[]) f,
        unnest(array['{"a": 1.0}', '{"a": 1.00}']::jsonb[]) j, unnest('{a,b}'::text[]) t, generate_series(1, 2)`)
      const running = rig.start()
      await rig.caughtUp(running)
      await rig.source.query(`delete from loose where n::text = '1.00' or f::text = '-0' or (j::text = '{"a": 1.0}' and t = 'b')`)
      await rig.source.query(`delete from loose where ctid = (select min(ctid) from loose)`)
      await rig.caughtUp(running)
      await running.stop()
      expect(await rows(rig.destination)).toEqual(await rows(rig.source))
    } finally {
      await rig.close()
    }
  })
}

test('many rows without a key and without a value that is never null go in a time that does not grow with their square', async () => {
  const many = (key: string): string => `create table parents (id ${key} primary key); create table many (a integer, b text)`
  const rig = await createRig({
    servers, sourceSql: `${many('bigint')}; alter table many replica identity full`, destinationSql: many('text'),
    mapping: `application: many\ncontexts: [{ name: all, tables: [parents, many] }]\nentities: { parents: { prefix: par } }`,
  })
  try {
    await rig.source.query(`insert into many select nullif(i, 7), 'b' || i from generate_series(1, 40000) i`)
    const running = rig.start()
    await rig.caughtUp(running)
    const began = performance.now()
    await rig.source.query('delete from many where b like \'%1\' or a is null')
    await rig.caughtUp(running)
    expect(performance.now() - began).toBeLessThan(10_000)
    await running.stop()
    expect(await rig.destination.query('select count(*)::text as n from many')).toEqual(await rig.source.query('select count(*)::text as n from many'))
  } finally {
    await rig.close()
  }
})

test('rows without a key that come and go while their parent is read at the source do not come back with it', async () => {
  const schema = (key: string): string => `create table parents (id ${key} primary key, shown integer not null, body text not null); alter table parents alter body set storage external;
    create table tags (parent_id ${key} references parents on delete cascade, label text);`
  const rig = await createRig({
    servers, sourceSql: `${schema('bigint')} alter table tags replica identity full`, destinationSql: schema('text'), config: 'batch: { rows: 1 }',
    mapping: `application: tags\ncontexts: [{ name: all, tables: [parents, tags] }]\nentities: { parents: { prefix: par } }\ntables: { parents: { where: { shown: 1 } } }`,
  })
  try {
    await rig.source.query(`insert into parents select i, i - 1, repeat('b', 3000) from generate_series(1, 2) i`)
    let running = rig.start()
    await rig.caughtUp(running)
    await running.stop()
    // Its parent is gone when it is read, which is ahead of the stream: what the stream then brings cannot be written, and what takes it away finds nothing.
    for (const sql of [
      'update parents set shown = 1 where id = 1', `insert into tags values (1, 'x'), (1, 'x'), (2, 'y')`, `update tags set label = 'z' where label = 'x'`,
      'delete from parents where id = 1', `insert into parents values (1, 1, 'again')`, `insert into tags values (1, 'new')`,
    ]) await rig.source.query(sql)
    running = rig.start()
    await rig.caughtUp(running)
    await expect.poll(() => rig.destination.query(`select tbl, op, sqlstate from rekey.parked where state <> 'done'`)).toEqual([])
    await running.stop()
    expect(await rig.destination.query('select label from tags order by 1')).toEqual([{ label: 'new' }, { label: 'y' }])
    expect(await rig.differences()).toEqual([])
    for (const totals of Object.values(running.latest()!.totals)) expect(closes(totals)).toBe(true)
  } finally {
    await rig.close()
  }
})

test('rows without a key may be larger than what an index can hold, also when they are parked', async () => {
  const schema = (key: string): string => `create table parents (id ${key} primary key); create table tags (parent_id ${key} references parents, label text);`
  const rig = await createRig({
    servers, sourceSql: `${schema('bigint')} alter table tags replica identity full`, destinationSql: `${schema('text')} alter table tags add constraint short check (length(label) < 7000)`,
    mapping: `application: tags\ncontexts: [{ name: all, tables: [parents, tags] }]\nentities: { parents: { prefix: par } }`,
  })
  const large = (i: number, blocks: number): string => `insert into tags select ${i}, string_agg(md5(${i} || ':' || g), '') from generate_series(1, ${blocks}) g;`
  try {
    await rig.source.query(`insert into parents select generate_series(1, 3); ${large(1, 200)} ${large(2, 210)} ${large(2, 210)}`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`${large(3, 200)} ${large(1, 300)} delete from tags where parent_id = 1 and length(label) = 6400; update tags set parent_id = 1 where ctid = (select min(ctid) from tags where parent_id = 2)`)
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query('select op, sqlstate, length(change) > 9600 as whole from rekey.parked')).toEqual([{ op: 'insert', sqlstate: '23514', whole: 't' }])
    expect(await rig.destination.query('select length(label) as l, count(*) as n from tags group by 1 order by 1')).toEqual([{ l: '6400', n: '1' }, { l: '6720', n: '2' }])
    expect(await rig.destination.query(`select count(*) as n from rekey.id_map`)).toEqual([{ n: '0' }])
  } finally {
    await rig.close()
  }
})
