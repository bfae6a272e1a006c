import { expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import { withDatabases } from '../../src/pipeline/open.ts'
import { createRig, type Rig, type Running } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** What was parked of a table goes when the source truncates it: tried again, it would come back on its own. */
const servers = await pair({ source: 15, destination: 18 })

const schema = (key: string): string => `create table things (id ${key} primary key, n integer, note text); create table others (id ${key} primary key, n integer)`

async function thingsRig(checks: string, policy = 'owned'): Promise<Rig> {
  const rig = await createRig({
    servers, sourceSql: schema('bigint'), destinationSql: schema('text'), config: `checks: ${checks}`,
    mapping: `application: things\ncontexts: [{ name: all, tables: [things, others] }]\nentities: { things: { prefix: thi }, others: { prefix: oth } }\ndefaults: { truncate: ${policy} }`,
  })
  await rig.destination.query('alter table things add constraint small check (n < 100); alter table others add constraint small check (n < 100)')
  return rig
}

const parked = (rig: Rig) => rig.destination.query('select tbl, key, op, state from rekey.parked order by id')

/** Everything that waits is tried again, with nothing left in its way. */
async function retry(rig: Rig, running: Running): Promise<void> {
  await rig.destination.query(`alter table things drop constraint small; alter table others drop constraint small;
    update rekey.parked set state = 'retry' where state in ('waiting', 'waived')`)
  for (let tries = 0; tries < 100; tries++) {
    if ((await rig.destination.query(`select from rekey.parked where state = 'retry'`)).length === 0) break
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  await rig.caughtUp(running)
  await running.stop()
  expect(await rig.differences()).toEqual([])
  for (const [table, t] of Object.entries(running.latest()?.totals ?? {})) expect([table, closes(t)]).toEqual([table, true])
}

test('rows that stood there before the run began stay, also under ids of the form of ours', async () => {
  const rig = await thingsRig('engine')
  try {
    const [another] = await withDatabases(rig.config, async ({ minters }) => [minters.get('things')!.mint('99')!])
    await rig.destination.query(`insert into things values ('${another}', 9, 'of an earlier run')`)
    await rig.source.query(`insert into things values (1, 1, 'ours')`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`insert into things values (2, 2, 'ours'); truncate things; insert into things values (3, 3, 'anew')`)
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query('select note from things order by n')).toEqual([{ note: 'anew' }, { note: 'of an earlier run' }])
  } finally {
    await rig.close()
  }
})

for (const checks of ['engine', 'set']) {
  test(`rows that were parked before a truncate go with it, and only those (${checks})`, async () => {
    const rig = await thingsRig(checks)
    try {
      await rig.source.query(`insert into things values (1, 500, 'in the copy'), (2, 2, 'fine')`)
      const running = rig.start()
      await rig.caughtUp(running)
      await rig.source.query(`insert into things values (3, 500, 'in the stream'); insert into others values (1, 500)`)
      await rig.source.query(`update things set note = 'behind' where id = 3; update things set n = 600 where id = 2; insert into things values (4, 500, 'waived')`)
      await rig.caughtUp(running)
      await rig.destination.query(`update rekey.parked set state = 'waived' where key = '4'`)
      await rig.source.query(`begin; insert into things values (5, 500, 'in the same transaction'), (6, 6, 'fine'); truncate things; insert into things values (3, 3, 'anew'), (7, 500, 'too large again'); commit`)
      await rig.source.query(`update things set n = 4 where id = 3`)
      await rig.caughtUp(running)
      expect((await parked(rig)).filter(({ state }) => state !== 'done')).toEqual([
        { tbl: 'public.others', key: '1', op: 'insert', state: 'waiting' }, { tbl: 'public.things', key: '7', op: 'insert', state: 'waiting' },
      ])
      expect(await rig.destination.query(`select totals->'public.things'->>'parked' as n from rekey.checkpoint`)).toEqual([{ n: '1' }])
      expect(await rig.destination.query('select note, n::text from things')).toEqual([{ note: 'anew', n: '4' }])
      await retry(rig, running)
      expect(running.latest()!.totals['public.things'].skipped).toEqual({ truncated: 6 })
    } finally {
      await rig.close()
    }
  })

  test(`in a transaction that comes in fragments, too (${checks})`, async () => {
    const rig = await thingsRig(checks)
    try {
      await rig.source.query(`insert into things values (1, 500, 'in the copy')`)
      const running = rig.start()
      await rig.caughtUp(running)
      await rig.source.query(`begin; insert into things values (2, 500, 'x'); insert into things select i, 3, 'y' from generate_series(100, 25000) i; truncate things;
        insert into things select i, 3, 'z' from generate_series(100, 25000) i; insert into things values (2, 500, 'z'); commit`)
      await rig.caughtUp(running)
      expect((await parked(rig)).filter(({ state }) => state !== 'done')).toEqual([{ tbl: 'public.things', key: '2', op: 'insert', state: 'waiting' }])
      await retry(rig, running)
    } finally {
      await rig.close()
    }
  })
}

test('a truncate that is ignored leaves what is parked', async () => {
  const rig = await thingsRig('engine', 'ignore')
  try {
    await rig.source.query(`insert into things values (1, 500, 'in the copy')`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query('truncate things')
    await rig.caughtUp(running)
    await running.stop()
    expect(await parked(rig)).toEqual([{ tbl: 'public.things', key: '1', op: 'insert', state: 'waiting' }])
  } finally {
    await rig.close()
  }
})
