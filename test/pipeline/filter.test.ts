import { expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import { client } from '../support/database.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { scenario } from '../support/scenario.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'

/** Rows that a row filter lets in late: an update does not always bring all of them. */
const [servers, broker] = await Promise.all([pair({ source: 15, destination: 18 }), startKafka()])

const big = (seed: string): string => `(select string_agg(md5(${seed} || g), '') from generate_series(1, 400) g)`
const docs = (key: string): string => `create table docs (id ${key} primary key, shown integer not null, n integer, body text not null, more text);
  alter table docs alter body set storage external, alter more set storage external;
  create table notes (id ${key} primary key, doc_id ${key} not null references docs on update cascade);`
const before = `insert into docs select i, (i > 20)::integer, i, ${big("'b' || i")}, ${big("'m' || i")} from generate_series(1, 30) i; insert into notes values (30, 30)`

const steps = [
  'update docs set shown = 1 where id = 1',
  'update docs set id = id + 100, shown = 1 where id = 2',
  'update docs set id = id + 100 where id = 3; update docs set shown = 1 where id = 103; update docs set n = 5 where id = 103',
  'update docs set shown = 1, n = 7 where id = 4; insert into notes values (1, 4)',
  `update docs set shown = 1 where id = 5; update docs set body = 'short' where id = 5; update docs set shown = 0, n = 1 where id = 5; update docs set shown = 1 where id = 5`,
  { offline: `update docs set shown = 1 where id = 6; insert into notes values (2, 6); delete from notes where id = 2; delete from docs where id = 6` },
  { offline: `begin; update docs set shown = 1 where id = 7; commit; insert into notes values (3, 7); update docs set id = 107 where id = 7; update docs set n = 9 where id = 107; update notes set id = 33 where id = 3` },
  { offline: `update docs set shown = 1 where id = 8; update docs set shown = 0 where id = 8` },
  'update docs set shown = 0 where id = 21; update docs set shown = 1 where id = 21; update docs set id = 122 where id = 22; update docs set shown = 0, id = 123 where id = 23',
  `insert into docs values (40, 0, 1, ${big("'new'")}, null); update docs set n = 2 where id = 40; update docs set shown = 1 where id = 40`,
  'update docs set n = n + 1; update docs set shown = 1; update docs set shown = 0 where id = 1',
] as const

const partitions = { checks: ['set'], config: `log: kafka\nkafka: { brokers: ['${broker.bootstrap}'], partitions: 3 }` } as const

for (const identity of ['default', 'full']) {
  const given = {
    servers, tables: ['docs', 'notes'], before, steps, rules: { docs: { where: { shown: 1 } } },
    schema: (key: string, side: 'source' | 'destination') => `${docs(key)} ${side === 'source' ? `alter table docs replica identity ${identity}` : ''}`,
  }
  scenario(`a row that passes the filter for the first time comes whole, replica identity ${identity}`, given)
  if (identity === 'default') scenario('the same over several partitions', { ...given, ...partitions })
  scenario(`the same with kept ids and a ledger, replica identity ${identity}`, { ...given, entities: { docs: 'keep', notes: { prefix: 'not' } } })
  scenario(`the same with merged rows, replica identity ${identity}`, { ...given, rules: { docs: { where: { shown: 1 }, verdict: 'merge', on: ['body'] } } })
}

scenario('a filter on a large value under REPLICA IDENTITY FULL sees the value that was not sent', {
  servers, tables: ['docs'], rules: { docs: { where: { body: { not: 'x'.repeat(3_000) } } } },
  schema: (key, side) => `create table docs (id ${key} primary key, n integer, body text not null); alter table docs alter body set storage external;
    ${side === 'source' ? 'alter table docs replica identity full' : ''}`,
  before: `insert into docs values (1, 1, repeat('x', 3000)), (2, 2, repeat('y', 3000))`,
  steps: ['update docs set n = 5', 'update docs set id = id + 10', `update docs set body = repeat('z', 3000) where id = 11`, `update docs set body = repeat('x', 3000) where id = 12`],
})

async function filterRig(): Promise<Rig> {
  return createRig({
    servers, sourceSql: docs('bigint'), destinationSql: docs('text'),
    mapping: `application: filter\ncontexts: [{ name: all, tables: [docs, notes] }]\nentities: { docs: { prefix: doc }, notes: { prefix: not } }\ntables: { docs: { where: { shown: 1 } } }`,
  })
}

test('a row that waits behind another one when it passes the filter comes whole when it is tried again', async () => {
  const rig = await filterRig()
  try {
    await rig.source.query(`${before}`)
    await rig.destination.query('alter table docs add constraint small check (n < 1000)')
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query('update docs set shown = 1, n = 5000 where id = 1')
    await rig.caughtUp(running)
    await rig.source.query('update docs set n = 6 where id = 1')
    await rig.caughtUp(running)
    await rig.destination.query(`alter table docs drop constraint small; update rekey.parked set state = 'retry' where state = 'waiting'`)
    for (let tries = 0; (await rig.differences()).length > 0 && tries < 100; tries++) await new Promise((resolve) => setTimeout(resolve, 100))
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.differences()).toEqual([])
    expect(await rig.destination.query(`select key from rekey.parked where state <> 'done'`)).toEqual([])
  } finally {
    await rig.close()
  }
})

test('in a transaction that comes in fragments, rows pass the filter for the first time', async () => {
  const rig = await filterRig()
  try {
    await rig.source.query(before)
    const running = rig.start()
    await rig.caughtUp(running)
    const session = await client(rig.source.url)
    await session.query(`begin; update docs set shown = 1 where id = 1; insert into docs select i, 1, i, 'b', null from generate_series(1000, 26000) i; insert into notes values (1, 1);
      update docs set id = 102, shown = 1 where id = 2; insert into docs select i, 1, i, 'b', null from generate_series(30000, 56000) i; commit`)
    await session.end()
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.differences()).toEqual([])
    expect(await rig.destination.query(`select key from rekey.parked where state <> 'done'`)).toEqual([])
  } finally {
    await rig.close()
  }
})

test.each([
  ['in one transaction', 'update docs set shown = 1'],
  ['one by one, with changes that follow', 'do $$ begin for i in 1..3000 loop update docs set shown = 1 where id = i; commit; update docs set n = i where id = i; commit; end loop; end $$'],
])('thousands of rows pass the filter late, %s', async (_, sql) => {
  const rig = await filterRig()
  try {
    await rig.source.query(`alter table docs alter body set storage external; insert into docs select i, 0, i, repeat('b', 3000), null from generate_series(1, 3000) i`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(sql)
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.differences()).toEqual([])
    expect(await rig.destination.query(`select count(*)::text as n from docs where n > 0`)).toEqual([{ n: '3000' }])
    for (const totals of Object.values(running.latest()!.totals)) expect(closes(totals)).toBe(true)
  } finally {
    await rig.close()
  }
})
