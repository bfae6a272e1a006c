import { expect, test } from 'vitest'
import { createRig } from '../support/rig.ts'
import { scenario } from '../support/scenario.ts'
import { pair } from '../support/servers.ts'

/** Rows that take each other's primary keys in one transaction: at the source each step is unique, or only the end is (a deferrable key). */
const servers = await pair({ source: 15, destination: 18 })

const family = (key: string): string => `
  create table items (id ${key} primary key, name text not null unique, up ${key} references items on update cascade);
  create table parts (id ${key} primary key, item_id ${key} not null references items on update cascade);`
const before = `insert into items select i, 'n' || i, nullif(i / 3, 0) from generate_series(1, 30) i; insert into parts select i, 1 + i % 30 from generate_series(1, 60) i`

scenario('two rows exchange keys over a third one', {
  servers, schema: family, tables: ['items', 'parts'], before,
  steps: [
    'begin; update items set id = 100 where id = 1; update items set id = 1 where id = 2; update items set id = 2 where id = 100; commit',
    'begin; update items set id = -1 where id = 1; update items set id = 1, up = 5 where id = 3; update items set id = 3 where id = -1; insert into parts values (100, 1), (101, 3); commit',
    // The row that is deleted and made anew under the key of another, which takes its.
    "begin; delete from parts where item_id = 30; delete from items where id = 30; update items set id = 30 where id = 29; insert into items values (29, 'n30', 1); commit",
  ],
})

scenario('all rows take the key of the next', {
  servers, schema: family, tables: ['items', 'parts'], before,
  steps: [
    'begin; update items set id = -id; update items set id = 1 - id; commit',
    'do $$ begin for i in reverse 31..2 loop update items set id = id + 1 where id = i; end loop; end $$',
    'do $$ begin for i in 3..32 loop update items set id = id - 1, name = $q$m$q$ || id where id = i; end loop; end $$',
  ],
})

const deferred = (key: string, side: 'source' | 'destination'): string => `
  create table items (id ${key} primary key ${side === 'source' ? 'deferrable' : ''}, name text, note text);
  create table notes (id ${key} primary key, body text);
  ${side === 'source' ? 'alter table items replica identity full;' : ''}`
scenario('keys that are unique only at the end of the statement', {
  servers, schema: deferred, tables: ['items', 'notes'], before: `insert into items select i, 'n' || i, 'x' from generate_series(1, 30) i`,
  steps: [
    'update items set id = 3 - id where id in (1, 2)',
    'update items set id = 1 + id % 30',
    "update items set id = id + 1; update items set name = 'after' where id > 20",
    // n1 has 4 and n2 has 3 by now; others change in the same transaction.
    "begin; set constraints all deferred; insert into notes values (1, 'a'); update items set id = 3 where id = 4; update items set id = 4 where name = 'n2'; insert into notes values (2, 'b'); commit",
    'begin; delete from items where id = 5; update items set id = id - 1 where id > 5; insert into items values (31, $$new$$, null); update notes set body = $$c$$; commit',
  ],
})

test('rows that exchange keys while others are read again, in a transaction with a row that cannot be written, are all there afterwards', async () => {
  const schema = (key: string): string => `${deferred(key, key === 'text' ? 'destination' : 'source')}
    create table docs (id ${key} primary key, shown integer not null, body text not null); alter table docs alter body set storage external;`
  const rig = await createRig({
    servers, sourceSql: schema('bigint'), destinationSql: `${schema('text')} alter table notes add constraint short check (length(body) < 10)`, config: 'batch: { rows: 1 }',
    mapping: JSON.stringify({
      application: 'exchange', contexts: [{ name: 'all', tables: ['items', 'notes', 'docs'] }], entities: { items: { prefix: 'itm' }, notes: { prefix: 'not' }, docs: { prefix: 'doc' } },
      tables: { docs: { where: { shown: 1 } } },
    }),
  })
  try {
    await rig.source.query(`insert into items select i, 'n' || i, 'x' from generate_series(1, 3) i; insert into docs values (1, 0, repeat('b', 3000))`)
    let running = rig.start()
    await rig.caughtUp(running)
    await running.stop()
    // From the second batch behind it on, new rows are taken for ones that may be there, until what is read has been passed.
    await rig.source.query('update docs set shown = 1')
    for (let i = 0; i < 4; i++) await rig.source.query(`insert into notes values (${10 + i}, 'short')`)
    await rig.source.query(`begin; update items set id = 1 + id % 3; insert into notes values (1, 'much too long'); commit`)
    running = rig.start()
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query(`select tbl, sqlstate from rekey.parked where state <> 'done'`)).toEqual([{ tbl: 'public.notes', sqlstate: '23514' }])
    expect((await rig.differences()).map(({ table }) => table)).toEqual(['public.notes'])
  } finally {
    await rig.close()
  }
})

test('rows that take the key of the next one in a transaction in fragments are all there afterwards', async () => {
  const rig = await createRig({
    servers, sourceSql: deferred('bigint', 'source'), destinationSql: deferred('text', 'destination'),
    mapping: `application: shift\ncontexts: [{ name: all, tables: [items, notes] }]\nentities: { items: { prefix: itm }, notes: { prefix: not } }`,
  })
  const waiting = async (): Promise<number> => Number((await rig.destination.query(`select count(*) as n from rekey.parked where state <> 'done'`))[0].n)
  try {
    await rig.source.query(`insert into items select i, 'n' || i, repeat('x', 20000) from generate_series(1, 300) i`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query('update items set id = id + 1')
    await rig.caughtUp(running)
    // What a fragment cannot do without the next one waits, and goes through as a whole.
    expect(await rig.destination.query('select count(distinct name) as n from items')).toEqual([{ n: '300' }])
    await rig.destination.query(`update rekey.parked set state = 'retry' where state = 'waiting'`)
    await expect.poll(waiting).toBe(0)
    await running.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})

test.each([true, false])('a row that cannot leave its key, for it is not there, does not leave with the one that takes it (one transaction: %s)', async (together) => {
  const schema = (key: string): string => `create table docs (id ${key} primary key, body text not null, version integer not null); alter table docs alter body set storage external;`
  const rig = await createRig({
    servers, sourceSql: schema('bigint'), destinationSql: schema('text'),
    mapping: `application: swap\ncontexts: [{ name: all, tables: [docs] }]\nentities: { docs: { prefix: doc } }`,
  })
  const there = (): Promise<unknown> => rig.destination.query('select id, left(body, 1) as body, version from docs')
  try {
    await rig.source.query(`insert into docs values (1, repeat('a', 3000), 0), (2, repeat('b', 3000), 0)`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.destination.query(`delete from docs where body like 'a%'`)
    const before = await there()
    const steps = ['update docs set id = 9 where id = 1', 'update docs set id = 1, version = 1 where id = 2', 'update docs set id = 2, version = 2 where id = 9']
    if (together) await rig.source.query(`begin; ${steps.join('; ')}; commit`)
    else for (const step of steps) await rig.source.query(step)
    const waiting = async (): Promise<void> => expect(await rig.destination.query(`select key, leaves, sqlstate from rekey.parked where state = 'waiting' order by commit_lsn, ordinal`)).toEqual([
      { key: '9', leaves: '1', sqlstate: 'RK002' }, { key: '1', leaves: '2', sqlstate: 'RK003' }, { key: '2', leaves: '9', sqlstate: 'RK003' },
    ])
    await rig.caughtUp(running)
    await waiting()
    await running.stop()
    await rig.destination.query(`update rekey.parked set state = 'retry'`)
    const again = rig.start()
    await rig.caughtUp(again)
    await expect.poll(() => rig.destination.query(`select from rekey.parked where state = 'retry'`)).toEqual([])
    await waiting()
    await again.stop()
    expect(await there()).toEqual(before)
  } finally {
    await rig.close()
  }
})
