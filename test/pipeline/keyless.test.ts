import { expect, test } from 'vitest'
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
