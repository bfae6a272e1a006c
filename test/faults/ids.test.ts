import { expect, test } from 'vitest'
import { withDatabases } from '../../src/pipeline/open.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })

const tables = (key: string): string => `
create table things (id ${key} primary key, note text);
create table parts (id ${key} primary key, thing ${key} not null references things deferrable, note text);
create table remarks (id ${key} primary key, thing ${key}, note text);`

const mapping = (id: string): string => `
application: ids
contexts: [{ name: all, tables: [things, parts, remarks] }]
entities: { things: { prefix: thi, id: ${id} }, parts: { prefix: prt }, remarks: { prefix: rmk } }
tables: { remarks: { columns: { thing: { ref: things } } } }`

const rigWith = (id: string): Promise<Rig> => createRig({ servers, sourceSql: tables('bigint'), destinationSql: tables('text'), mapping: mapping(id) })

/** The id that a row of things gets. */
const idOf = (rig: Rig, key: string): Promise<string> => withDatabases(rig.config, async ({ minters }) => minters.get('things')!.mint(key)!)

test.each(['in the initial copy', 'while it streams'])('an id that a row of the destination has already is no second try but a row to decide about, %s', async (when) => {
  const rig = await rigWith('prefixed')
  try {
    const theirs = await idOf(rig, '2')
    const copied = when === 'in the initial copy'
    const rows = `begin; insert into things values (1, 'a'), (2, 'b'), (3, 'c'); insert into parts values (10, 1), (20, 2), (30, 3); commit`
    const takes = `insert into things values ('${theirs}', 'theirs')`
    if (copied) {
      await rig.destination.query(takes)
      await rig.source.query(rows)
    }
    let running = rig.start()
    await rig.caughtUp(running)
    if (!copied) await rig.destination.query(takes)
    await rig.source.query(copied ? `update things set note = note || '!'` : rows)
    await rig.caughtUp(running)

    const waiting = async (): Promise<(string | null)[]> => {
      const all = await rig.destination.query(`select distinct tbl, key, state from rekey.parked where state not in ('done', 'waived') order by 1 desc, 2`)
      return all.map((one) => `${one.tbl} ${one.key} ${one.state}`)
    }
    const both = ['public.things 2 waiting', 'public.parts 20 waiting']
    const left = async (): Promise<void> => {
      expect(await rig.destination.query(`select note from things where id = '${theirs}'`)).toEqual([{ note: 'theirs' }])
      expect(await rig.destination.query('select (select count(*) from things) as things, (select count(*) from parts) as parts')).toEqual([{ things: '3', parts: '2' }])
    }
    expect(await waiting()).toEqual(both)
    await left()

    // It is tried again in vain while the other row stands there.
    await rig.destination.query(`update rekey.parked set state = 'retry'`)
    await expect.poll(waiting).toEqual(both)
    await left()

    // Nor when it was decided that the row is not carried, and it changes.
    await rig.destination.query(`update rekey.parked set state = 'waived', note = 'not needed' where state = 'waiting'`)
    await running.stop()
    running = rig.start()
    await rig.source.query(`update things set note = 'changed' where id = 2`)
    await rig.caughtUp(running)
    expect(await waiting()).toEqual(['public.things 2 waiting'])
    await left()

    await rig.destination.query(`delete from things where id = '${theirs}'; update rekey.parked set state = 'retry' where state <> 'done'`)
    await expect.poll(waiting).toEqual([])
    await running.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})

test.each(['prefixed', 'random'])('a row that comes before the one that it points at: one id, reserved once (%s ids)', async (id) => {
  const rig = await rigWith(id)
  try {
    await rig.source.query(`insert into remarks values (1, 5, 'of what is not there yet')`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`insert into remarks values (2, 6, 'nor this'), (3, 5, 'again')`)
    await rig.caughtUp(running)
    const told = () => rig.destination.query('select note, thing from remarks order by note')
    const before = await told()
    await rig.source.query(`begin; set constraints all deferred; insert into parts values (50, 5), (60, 6); insert into things values (6, 'six'), (5, 'five'); commit`)
    await rig.caughtUp(running)
    await running.stop()

    expect(await told()).toEqual(before)
    const [five, six] = (await rig.destination.query('select id from things order by note')).map((one) => one.id)
    expect(before.map((one) => one.thing)).toEqual([five, six, five])
    expect(await rig.destination.query(`select distinct thing from parts order by 1`)).toEqual(expect.arrayContaining([{ thing: five }, { thing: six }]))
    expect(await rig.destination.query('select count(*)::int as n from rekey.parked')).toEqual([{ n: '0' }])
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})
