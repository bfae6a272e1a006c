import { expect, test } from 'vitest'
import { createRig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** A row that became one of the destination is updated at the source, which does not send its large values again. */
const servers = await pair({ source: 15, destination: 18 })

const schema = (key: string): string => `create table people (id ${key} primary key, email text not null unique, name text, city text,
    changed timestamptz not null, story text, motto text);
  alter table people alter story set storage external, alter motto set storage external;`
const big = (seed: string): string => `(select string_agg(md5('${seed}' || i), '') from generate_series(1, 400) i)`
const day = (n: number): string => `timestamptz '2026-01-0${n}'`

test('updates without large values reach the merged row, column by column, and leave those values alone', async () => {
  const rig = await createRig({
    servers, sourceSql: schema('bigint'), destinationSql: schema('text collate "C"'),
    mapping: `
application: people
contexts: [{ name: all, tables: [people] }]
entities: { people: { prefix: peo } }
tables:
  people:
    verdict: merge
    on: [email]
    columns: { name: { keep: source }, city: { keep: { newest: changed } }, story: { keep: source }, motto: { keep: fill-empty }, changed: { keep: source } }`,
  })
  const theirs = () => rig.destination.query(`select name, city, story = ${big('ours')} as story, motto = ${big('old')} as motto, id from people`)
  try {
    await rig.source.query(`insert into people values (1, 'a@x', 'Ann', 'Aarau', ${day(1)}, ${big('ours')}, ${big('old')})`)
    await rig.destination.query(`insert into people values ('peo_theirs', 'a@x', 'Anna', 'Basel', ${day(2)}, 'short', null)`)
    const running = rig.start()
    await rig.caughtUp(running)
    expect(await theirs()).toEqual([{ name: 'Ann', city: 'Basel', story: 't', motto: 't', id: 'peo_theirs' }])

    await rig.source.query(`update people set name = 'Anne', city = 'Chur', changed = ${day(3)}`)
    await rig.caughtUp(running)
    expect(await theirs()).toEqual([{ name: 'Anne', city: 'Chur', story: 't', motto: 't', id: 'peo_theirs' }])

    await rig.source.query(`update people set name = null, motto = 'short'`)
    await rig.caughtUp(running)
    await running.stop()
    expect(await theirs()).toEqual([{ name: null, city: 'Chur', story: 't', motto: 't', id: 'peo_theirs' }])
    expect(await rig.destination.query('select count(*)::text as n from rekey.journal')).toEqual([{ n: '3' }])
    expect(await rig.destination.query('select 1 from rekey.parked')).toEqual([])
  } finally {
    await rig.close()
  }
})
