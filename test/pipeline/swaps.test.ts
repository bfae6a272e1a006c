import { expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { scenario } from '../support/scenario.ts'
import { pair } from '../support/servers.ts'

/** Rows that exchange unique values in one source transaction, which the destination's constraints see row by row. */
const servers = await pair({ source: 15, destination: 18 })

interface Shape {
  readonly type: string
  /** Of the constraint at the destination. */
  readonly deferrable?: boolean
  readonly nullable?: boolean
  readonly check?: string
  readonly unique?: string
}

/** Items with a place each and children, so that no item can be deleted and made again. */
const schema = (key: string, { type, deferrable = true, nullable = false, check = '', unique = 'pos' }: Shape): string => `
  create table items (id ${key} primary key, list integer not null default 1, pos ${type} ${nullable ? '' : 'not null'} ${check}, note text,
    constraint place unique (${unique}) ${deferrable ? 'deferrable' : ''});
  create table parts (id ${key} primary key, item_id ${key} not null references items);`
const MAPPING = `
application: swaps
contexts: [{ name: all, tables: [items, parts] }]
entities: { items: { prefix: itm }, parts: { prefix: prt } }
tables: { items: { notAnId: [pos] } }
`

async function swapRig(shape: Shape): Promise<Rig> {
  const rig = await createRig({ servers, sourceSql: schema('bigint', { type: shape.type, nullable: true, unique: shape.unique ?? 'pos' }), destinationSql: schema('text', { deferrable: false, ...shape }), mapping: MAPPING })
  return rig
}

const fill = (values: readonly string[]): string => `insert into items (id, pos) values ${values.map((value, i) => `(${i + 1}, ${value})`).join(', ')};
  insert into parts select id, id from items;`
/** Each item gets the value of the next. */
const turn = (type: string, values: readonly string[]): string => `update items set pos = case id ${values.map((_, i) => `when ${i + 1} then ${values[(i + 1) % values.length]}::${type}`).join(' ')} end where id <= ${values.length};`

const waiting = (rig: Rig) => rig.destination.query(`select tbl, key, sqlstate, reason from rekey.parked where state <> 'done' order by tbl, key`)

const TYPES: (Shape & { readonly name: string; readonly values: readonly string[] })[] = [
  { name: 'a deferrable constraint', type: 'integer', deferrable: true, values: ['1', '2'] },
  { name: 'integers', type: 'integer', values: ['1', '2'] },
  { name: 'a cycle of three', type: 'bigint', values: ['1', '2', '3'] },
  { name: 'integers that must be positive', type: 'integer', check: 'check (pos > 0)', values: ['7', '8'] },
  { name: 'texts', type: 'text', values: [`'a'`, `'b'`] },
  { name: 'texts of limited length', type: 'varchar(20)', values: [`'a'`, `'b'`] },
  { name: 'short codes that may be null', type: 'char(2)', nullable: true, values: [`'aa'`, `'bb'`] },
  { name: 'numerics', type: 'numeric(8,2)', values: ['1.50', '2.50'] },
  { name: 'uuids', type: 'uuid', values: [`'00000000-0000-0000-0000-000000000001'`, `'00000000-0000-0000-0000-000000000002'`] },
  { name: 'dates', type: 'date', values: [`'2024-01-01'`, `'2024-01-02'`] },
  { name: 'moments', type: 'timestamptz(3)', values: [`'2024-01-01 00:00Z'`, `'infinity'`] },
]

test.each(TYPES)('$name: exchanged in one statement, and over a third value', async ({ values, ...shape }) => {
  const rig = await swapRig(shape)
  try {
    await rig.source.query(fill(values))
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(turn(shape.type, values))
    await rig.caughtUp(running)
    expect(await waiting(rig)).toEqual([])
    expect(await rig.differences()).toEqual([])
    // With large values that are not sent again only some columns are known.
    await rig.source.query(`update items set note = (select string_agg(md5(n::text), '') from generate_series(1, 400) n)`)
    await rig.source.query(`begin; set constraints place deferred; ${[...values.keys()].map((i) => `update items set pos = ${values[i]} where id = ${i + 1};`).join(' ')} insert into parts values (100, 1); commit`)
    await rig.caughtUp(running)
    expect(await waiting(rig)).toEqual([])
    expect(await rig.differences()).toEqual([])
    await running.stop()
    for (const totals of Object.values(running.latest()!.totals)) expect(closes(totals)).toBe(true)
  } finally {
    await rig.close()
  }
})

test('the key as a whole is exchanged: between lists, with rows that keep a half of it', async () => {
  const rig = await swapRig({ type: 'integer', unique: 'list, pos' })
  try {
    await rig.source.query(`insert into items (id, list, pos) values (1, 1, 1), (2, 2, 1), (3, 1, 2), (4, 2, 2); insert into parts select id, id from items`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query('begin; set constraints place deferred; update items set list = 3 - list where id in (1, 2); update items set list = 3 - list where id > 2; commit')
    await rig.caughtUp(running)
    await rig.source.query('update items set list = 3 - list, pos = 3 - pos')
    await rig.caughtUp(running)
    expect(await waiting(rig)).toEqual([])
    expect(await rig.differences()).toEqual([])
    await running.stop()
  } finally {
    await rig.close()
  }
})

test('exchanged while the copy runs, and in a transaction in which another row cannot be written', async () => {
  const rig = await swapRig({ type: 'integer', check: 'check (pos <> 1000)' })
  try {
    await rig.source.query(`insert into items (id, pos) select n, n from generate_series(1, 60) n; insert into parts select id, id from items`)
    let swapped = false
    const running = rig.start({ point: async (name) => {
      if (name !== 'snap.chunk_written' || swapped) return
      swapped = true
      await rig.source.query('update items set pos = 61 - pos')
    } })
    await rig.caughtUp(running)
    // Again, now that what happened during the copy is in the log.
    await rig.caughtUp(running)
    expect(await waiting(rig)).toEqual([])
    expect(await rig.differences()).toEqual([])
    await rig.source.query(`begin; set constraints place deferred; update items set pos = 60 where id = 60; update items set pos = 1000 where id = 30; update items set pos = 1 where id = 1; commit`)
    await rig.caughtUp(running)
    expect(await waiting(rig)).toEqual([{ tbl: 'public.items', key: '30', sqlstate: '23514', reason: expect.stringContaining('23514') }])
    expect(await rig.destination.query('select pos, count(*)::text from items where pos in (1, 60) group by pos order by pos')).toEqual([{ pos: '1', count: '1' }, { pos: '60', count: '1' }])
    await running.stop()
  } finally {
    await rig.close()
  }
})

test('where no value can stand in between, the rows are parked and the reason says so', async () => {
  const rig = await swapRig({ type: 'boolean' })
  try {
    await rig.source.query(fill(['true', 'false']))
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query('update items set pos = not pos')
    await rig.caughtUp(running)
    const reason = '23505 at items.place; exchanged in two steps: 23505 at items.place (no column of place takes a value for the time between)'
    expect(await waiting(rig)).toEqual(['1', '2'].map((key) => ({ tbl: 'public.items', key, sqlstate: '23505', reason })))
    // A person makes room; then both go through together.
    await rig.destination.query('alter table items drop constraint place; alter table items add constraint place unique (pos) deferrable')
    await rig.destination.query(`update rekey.parked set state = 'retry'`)
    for (let tries = 0; tries < 200 && (await waiting(rig)).length > 0; tries++) await new Promise((resolve) => setTimeout(resolve, 50))
    expect(await waiting(rig)).toEqual([])
    expect(await rig.differences()).toEqual([])
    await running.stop()
  } finally {
    await rig.close()
  }
})

test('a value that a row of the destination itself has is not taken from it', async () => {
  const rig = await swapRig({ type: 'integer' })
  try {
    await rig.source.query(fill(['1', '2']))
    await rig.destination.query(`insert into items (id, pos) values ('theirs', 9)`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query('begin; set constraints place deferred; update items set pos = 9 where id = 1; update items set pos = 1 where id = 2; commit')
    await rig.caughtUp(running)
    expect((await waiting(rig)).map(({ key, sqlstate }) => [key, sqlstate])).toEqual([['1', '23505'], ['2', '23505']])
    expect(await rig.destination.query(`select pos from items where id = 'theirs'`)).toEqual([{ pos: '9' }])
    await running.stop()
  } finally {
    await rig.close()
  }
})

test('a parked row is tried again with the changes behind it, which give up a value that another row has taken since', async () => {
  const rig = await swapRig({ type: 'integer' })
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.destination.query(`alter table items add constraint refused check (note <> 'refused')`)
    await rig.source.query(`insert into items (id, pos, note) values (1, 10, 'refused'); insert into parts values (1, 1)`)
    await rig.source.query('update items set pos = 20 where id = 1')
    await rig.source.query('insert into items (id, pos) values (2, 10)')
    await rig.caughtUp(running)
    expect((await waiting(rig)).map(({ tbl, key }) => [tbl, key])).toEqual([['public.items', '1'], ['public.items', '1'], ['public.parts', '1']])
    await rig.destination.query(`alter table items drop constraint refused; update rekey.parked set state = 'retry' where state = 'waiting'`)
    await expect.poll(() => waiting(rig)).toEqual([])
    await running.stop()
    expect(await rig.differences()).toEqual([])
    for (const totals of Object.values(running.latest()!.totals)) expect(closes(totals)).toBe(true)
  } finally {
    await rig.close()
  }
})

/** In a tree with rows that hang on it: what goes goes parents first, and its values come again when thousands of changes have passed. */
scenario('a transaction in fragments gives keys and unique values of rows that it deleted to others', {
  servers, tables: ['items', 'parts'],
  schema: (key) => `create table items (id ${key} primary key, pos integer not null unique, up ${key} references items on delete cascade);
    create table parts (id ${key} primary key, item_id ${key} not null references items on update cascade on delete cascade); create index on items (up); create index on parts (item_id);`,
  before: `insert into items select i, i, case when i between 601 and 700 then i - 1 end from generate_series(1, 10600) i; insert into parts select i, i from generate_series(501, 10600) i`,
  steps: [`begin; delete from items where id > 500; insert into items select 20000 + i, 11100 - i, null from generate_series(501, 1000) i; update items set pos = pos + 5000 where id <= 500;
    update items set id = id + 6000 where id <= 100; update items set id = id + 600 where id between 101 and 300; insert into parts select i, 6000 + i from generate_series(1, 100) i; commit`],
})
