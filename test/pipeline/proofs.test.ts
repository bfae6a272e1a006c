import { expect, test } from 'vitest'
import { createRig, type Rig } from '../support/rig.ts'
import { scenario } from '../support/scenario.ts'
import { pair } from '../support/servers.ts'

/** checks: set, where the server's own triggers do not look: what a transaction in fragments writes is proven, however it is written. */
const servers = await pair({ source: 15, destination: 18 })

const schema = (key: string): string => `
  create table parents (id ${key} primary key, name text unique);
  create table children (id ${key} primary key, parent_id ${key} references parents, note text);
  create table people (id ${key} primary key, email text not null unique, parent_id ${key} references parents);
  create table fixed (id ${key} primary key, parent_id text references parents (name) on update cascade, note text);
  create table filler (id ${key} primary key);`

async function proofsRig(constant: string): Promise<Rig> {
  const rig = await createRig({
    servers, sourceSql: schema('bigint'), destinationSql: schema('text collate "C"'), config: 'checks: set',
    mapping: `
application: proofs
contexts: [{ name: all, tables: [parents, children, people, fixed, filler] }]
entities: { parents: { prefix: par }, children: { prefix: chi }, people: { prefix: peo }, fixed: { prefix: fix }, filler: { prefix: fil } }
tables:
  people: { verdict: merge, on: [email], columns: { parent_id: { keep: source } } }
  fixed: { columns: { parent_id: { constant: '${constant}' } } }`,
  })
  await rig.source.query(`insert into parents select i, 'p' || i from generate_series(1, 9) i; insert into children select i, 1, 'c' from generate_series(1, 9) i;
    insert into people values (1, 'a@x', 1), (2, 'b@x', 1)`)
  await rig.destination.query(`insert into people values ('peo_theirs', 'a@x', null)`)
  return rig
}

const ORPHANS = ['children', 'people'].map((t) => `select '${t}' as t, id from ${t} where parent_id is not null and not exists (select from parents p where p.id = ${t}.parent_id)`)
const orphans = (rig: Rig) => rig.destination.query([...ORPHANS, `select 'fixed', id from fixed where not exists (select from parents p where p.name = fixed.parent_id)`].join(' union all '))

/** In more fragments than one; 7 is not at the destination. */
const WRITES: readonly (readonly [how: string, sql: string, table: string, key: string])[] = [
  ['a key change', 'update children set id = 100, parent_id = 7 where id = 1', 'public.children', '100'],
  ['key changes of several shapes', `update children set id = 100, parent_id = 7, note = repeat('n', 10) where id = 1; update children set id = 101 where id = 2`, 'public.children', '100'],
  ['a merged row', 'update people set parent_id = 7 where id = 1', 'public.people', '1'],
  ['an insert', `insert into children values (200, 7, 'n')`, 'public.children', '200'],
  ['an update', 'update children set parent_id = 7 where id = 3', 'public.children', '3'],
  ['a constant', `insert into fixed values (1, 'p1', 'x')`, 'public.fixed', '1'],
]
for (const [how, sql, table, key] of WRITES) {
  test(`a transaction in fragments leaves no orphan behind: ${how}`, async () => {
    const rig = await proofsRig('p7')
    try {
      const running = rig.start()
      await rig.caughtUp(running)
      const [{ id }] = await rig.destination.query(`delete from parents where name = 'p7' returning id`)
      expect(id).toBeTruthy()
      await rig.source.query(`begin; insert into filler select generate_series(1, 21000); ${sql}; insert into filler select generate_series(30000, 51000); commit`)
      await rig.caughtUp(running)
      await running.stop()
      expect(await orphans(rig)).toEqual([])
      expect(await rig.destination.query('select tbl, key, sqlstate from rekey.parked')).toEqual([{ tbl: table, key, sqlstate: '23503' }])
      expect(await rig.destination.query('select count(*)::text as n from filler')).toEqual([{ n: '42001' }])
    } finally {
      await rig.close()
    }
  })
}

test('a key change in fragments leaves no child of another behind', async () => {
  const rig = await proofsRig('p1')
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.destination.query(`insert into children select 'theirs', id, 'theirs' from parents where name = 'p8'`)
    await rig.source.query(`begin; insert into filler select generate_series(1, 21000); update parents set id = 108, name = 'p8x' where id = 8; update parents set id = 109 where id = 9;
      insert into filler select generate_series(30000, 51000); commit`)
    // Which of the keys it was is known at the end only, so nothing of the transaction is written until a person has acted.
    await expect(running.ended).rejects.toMatchObject({ sqlstate: '23503' })
    expect(await orphans(rig)).toEqual([])
    await rig.destination.query(`delete from children where id = 'theirs'`)
    const next = rig.start()
    await rig.caughtUp(next)
    await next.stop()
    expect([await rig.differences(), await orphans(rig)]).toEqual([[], []])
  } finally {
    await rig.close()
  }
})

const cascading = (key: string): string => `create table parents (id ${key} primary key, up ${key} references parents on update cascade, note text, long text);
  alter table parents alter long set storage external;
  create table children (id ${key} primary key, parent_id ${key} references parents on update cascade); create table filler (id ${key} primary key);`
for (const [how, before, after] of [['in fragments', 'insert into filler select generate_series(1, 21000);', 'insert into filler select generate_series(30000, 51000);'], ['whole', '', '']]) {
  scenario(`a key change that cascades to children, ${how}`, {
    servers, tables: ['parents', 'children', 'filler'], schema: cascading, config: 'snapshot: { workers: 1 }', rules: before ? {} : { filler: { triggers: 'off' }, children: { triggers: 'off' } }, checks: ['set'],
    before: `insert into parents select i, nullif(i - 1, 0), 'n', repeat('l' || i, 3000) from generate_series(1, 9) i; insert into children select i, 1 + i % 9 from generate_series(1, 30) i`,
    steps: [
      `begin; ${before} update parents set id = id + 100 where id in (1, 5); update parents set id = id + 200, long = 'short' where id in (2, 6); update children set id = id + 1000 where id = 1; ${after} commit`,
    ],
  })
}

const family = (key: string): string => `create table parents (id ${key} primary key, name text);
  create table children (id ${key} primary key, parent_id ${key} not null references parents deferrable initially deferred, note text);
  create table filler (id ${key} primary key);`
const fill = (from: number): string => `insert into filler select generate_series(${from}, ${from + 20_999});`
scenario('parents that come later, go again and change shape in a transaction in fragments', {
  servers, tables: ['parents', 'children', 'filler'], schema: family, checks: ['set'],
  before: `insert into parents select i, 'p' from generate_series(1, 9) i; insert into children select i, i, 'c' from generate_series(1, 9) i`,
  steps: [
    `begin; insert into children values (100, 100, 'before its parent'), (101, 1, 'x'); ${fill(1)} insert into parents values (100, 'late'); ${fill(30_000)} commit`,
    `begin; insert into parents values (200, 'short'); insert into children select i, 200, 'short' from generate_series(200, 220) i; ${fill(60_000)}
     delete from children where parent_id = 200; ${fill(90_000)} delete from parents where id = 200; ${fill(120_000)} insert into children values (300, 2, 'y'); commit`,
    `begin; insert into children values (400, 3, 'x'); ${fill(150_000)} set constraints all immediate; alter table children alter note type varchar(90); insert into children values (401, 4, 'x'), (402, 100, 'y');
     ${fill(180_000)} update children set parent_id = 5 where id = 400; commit`,
  ],
})
