import { describe, expect, test } from 'vitest'
import { parked } from '../support/accident.ts'
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

async function proofsRig(constant: string, checks: 'set' | 'engine' = 'set'): Promise<Rig> {
  const rig = await createRig({
    servers, sourceSql: schema('bigint'), destinationSql: schema('text collate "C"'), config: `checks: ${checks}`,
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

describe.each(['set', 'engine'] as const)('rows that others point at, in fragments (checks: %s)', (checks) => {
  test.each([
    ['another key and name', "update parents set id = 108, name = 'p8x' where id = 8", '108'],
    ['a delete with rows of its own, which go', 'delete from children where parent_id = 8; delete from parents where id = 8', '8'],
  ])('%s waits for a person, and what depends on it; the rest goes on', async (_, sql, key) => {
    const rig = await proofsRig('p1', checks)
    try {
      await rig.source.query("insert into children values (80, 8, 'ours')")
      const running = rig.start()
      await rig.caughtUp(running)
      await rig.destination.query(`insert into children select 'theirs', id, 'theirs' from parents where name = 'p8'`)
      const own = sql.startsWith('update') ? 'update children set parent_id = 2 where id = 80;' : ''
      await rig.source.query(`begin; insert into filler select generate_series(1, 21000); update parents set name = 'p2x' where id = 2; ${own} ${sql}; update parents set id = 109 where id = 9;
        insert into parents values (110, 'new'); insert into filler select generate_series(30000, 51000); commit`)
      await rig.caughtUp(running)
      await rig.source.query("update parents set name = 'p110' where id = 110; update children set note = 'on' where id = 1")
      await rig.caughtUp(running)
      expect(await parked(rig)).toEqual([expect.objectContaining({ tbl: 'public.parents', key, sqlstate: '23503', behind: 'f' })])
      expect(await orphans(rig)).toEqual([])
      expect(await rig.destination.query(`select name from parents where name in ('p8', 'p2x', 'p110') order by 1`)).toEqual([{ name: 'p110' }, { name: 'p2x' }, { name: 'p8' }])
      await rig.destination.query(`delete from children where id = 'theirs'; update rekey.parked set state = 'retry'`)
      for (let tries = 0; tries < 200 && (await parked(rig)).length > 0; tries++) await new Promise((resolve) => setTimeout(resolve, 50))
      await running.stop()
      expect([await parked(rig), await rig.differences(), await orphans(rig)]).toEqual([[], [], []])
    } finally {
      await rig.close()
    }
  })

  test('one that stays keeps its own parent there, too', async () => {
    const rig = await createRig({
      servers, ...Object.fromEntries([['sourceSql', 'bigint'], ['destinationSql', 'text']].map(([side, type]) => [side, tree(type)])) as { sourceSql: string; destinationSql: string },
      mapping: 'application: trees\ncontexts: [{ name: all, tables: [trees, filler] }]\nentities: { trees: { prefix: tre }, filler: { prefix: fil } }', config: `checks: ${checks}`,
    })
    try {
      await rig.source.query('insert into trees values (1, null), (2, 1), (3, 2), (4, 3), (5, 1)')
      const running = rig.start()
      await rig.caughtUp(running)
      await rig.destination.query(`insert into trees select 'theirs', id from trees where id in (select id from trees order by id offset 2 limit 1)`)
      await rig.source.query('begin; insert into filler select generate_series(1, 21000); delete from trees where id > 1; insert into filler select generate_series(30000, 51000); delete from trees; commit')
      await rig.caughtUp(running)
      await running.stop()
      expect((await parked(rig)).map((one) => one.key)).toEqual(['2', '3', '1'])
      expect(await rig.destination.query('select count(*)::text as n from trees')).toEqual([{ n: '4' }])
      await rig.destination.query(`delete from trees where id = 'theirs'; update rekey.parked set state = 'retry'`)
      const again = rig.start()
      for (let tries = 0; tries < 200 && (await parked(rig)).length > 0; tries++) await new Promise((resolve) => setTimeout(resolve, 50))
      await again.stop()
      expect(await rig.differences()).toEqual([])
    } finally {
      await rig.close()
    }
  })
})

const tree = (key: string): string => `create table trees (id ${key} primary key, up ${key} references trees); create table filler (id ${key} primary key);`

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
