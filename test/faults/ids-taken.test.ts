import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Totals } from '../../src/core/plan.ts'
import { closes } from '../../src/core/totals.ts'
import { withDatabases } from '../../src/pipeline/open.ts'
import { failureOf } from '../support/accident.ts'
import { client } from '../support/database.ts'
import { createRig, type Rig, type Running } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** Rows of the destination that stand under ids which are computed for rows of the source, before the run begins. */
const servers = await pair({ source: 15, destination: 18 })

const tables = (key: string, more = ''): string => `
create table things (id ${key} primary key, up ${key} references things, note text${more});
create table parts (id ${key} primary key, thing ${key} not null references things, note text);
create table screws (id ${key} primary key, part ${key} not null references parts);`

const MAPPING = `
application: ids
contexts: [{ name: all, tables: [things, parts, screws] }]
entities: { things: { prefix: thi }, parts: { prefix: prt }, screws: { prefix: scr } }`

/** In two partitions, each with a unique constraint under a name of its own; the second one is partitioned again. */
const PARTITIONED = tables('text').replace(/create table things .*/, `create table things (id text primary key, up text references things, note text) partition by hash (id);
create table things_0 (id text constraint even primary key, up text, note text); alter table things attach partition things_0 for values with (modulus 2, remainder 0);
create table things_1 partition of things for values with (modulus 2, remainder 1) partition by hash (id);
create table things_2 partition of things_1 for values with (modulus 1, remainder 0);`)

const rigWith = (config: string, destinationSql = tables('text'), sourceSql = tables('bigint')): Promise<Rig> =>
  createRig({ servers, sourceSql, destinationSql, mapping: MAPPING, config })

/** Somebody's rows at the destination, under the ids of these things. */
async function theirs(rig: Rig, keys: readonly number[]): Promise<void> {
  const ids = await withDatabases(rig.config, async ({ minters }) => keys.map((key) => minters.get('things')!.mint(String(key))!))
  await rig.destination.query(`insert into things select id, null, 'theirs' from unnest('{${ids.join(',')}}'::text[]) id`)
}

const untouched = async (rig: Rig): Promise<number> =>
  Number((await rig.destination.query(`select count(*) as n from things where note = 'theirs' and up is null`))[0].n)

async function waiting(rig: Rig): Promise<string[]> {
  const rows = await rig.destination.query(`select tbl, key, op, behind from rekey.parked where state not in ('done', 'waived') order by tbl, key::bigint, id`)
  return rows.map((row) => `${row.tbl!.slice(7)} ${row.key} ${row.op}${row.behind === 't' ? ' behind' : ''}`)
}

async function retry(rig: Rig, running: Running): Promise<void> {
  await rig.destination.query(`update rekey.parked set state = 'retry' where state = 'waiting'`)
  const wanted = async (): Promise<boolean> => (await rig.destination.query(`select from rekey.parked where state = 'retry'`)).length > 0
  for (const end = Date.now() + 20_000; (await wanted()) && Date.now() < end;) await Promise.race([running.ended, sleep(50)])
  await rig.caughtUp(running)
}

async function closed(rig: Rig): Promise<void> {
  const [{ totals }] = await rig.destination.query('select totals::text as totals from rekey.checkpoint')
  for (const [table, one] of Object.entries(JSON.parse(totals!) as Record<string, Totals>)) expect([table, closes(one)]).toEqual([table, true])
}

const ROWS = `insert into things select i, case when i in (6, 251) then i - 1 end, 'ours' from generate_series(1, 400) i;
  insert into parts select i, i, 'ours' from generate_series(1, 400) i; insert into screws select i, i from generate_series(1, 400) i; analyze`

test.each([
  ['engine', 'as it is'], ['set', 'in partitions'],
])('in a copy that goes on after it was cut off, and in the stream that follows it, nobody else\'s row is written over (checks: %s, table: %s)', async (checks, table) => {
  const rig = await rigWith(`checks: ${checks}\nsnapshot: { workers: 1, rowsPerChunk: 100 }`, table === 'as it is' ? undefined : PARTITIONED)
  try {
    await theirs(rig, [5, 250, 300, 310, 600, 700])
    await rig.source.query(ROWS)
    let chunks = 0
    const cut = rig.start({ point: async (name) => {
      if (name === 'snap.chunk_written' && ++chunks === 1) throw new Error('cut off here')
    } })
    expect((await failureOf(cut)).message).toBe('cut off here')
    // Before the next snapshot: one comes, one goes, one changes and goes.
    await rig.source.query(`delete from screws where part in (300, 310); delete from parts where thing in (300, 310); insert into things values (600, null, 'ours');
      delete from things where id = 300`)
    await rig.source.query(`update things set note = 'changed' where id = 310`)
    await rig.source.query('delete from things where id = 310')
    // After it, and before the stream has come so far: another one comes.
    let later = 0
    const running = rig.start({ point: async (name) => {
      if (name === 'snap.chunk_written' && ++later === 1) await rig.source.query(`insert into things values (700, null, 'ours'); insert into parts values (700, 700, 'ours')`)
    } })
    await rig.caughtUp(running)

    const parked = [...[5, 250, 700].map((key) => `parts ${key} insert behind`), ...[5, 250].map((key) => `screws ${key} insert behind`),
      'things 5 insert', 'things 6 insert behind', 'things 250 insert', 'things 251 insert behind', 'things 600 insert',
      'things 600 insert behind', 'things 700 insert']
    expect(await waiting(rig)).toEqual(parked)
    expect(await untouched(rig)).toBe(6)
    await closed(rig)

    await retry(rig, running)
    expect(await waiting(rig)).toEqual(parked)
    expect(await untouched(rig)).toBe(6)

    await rig.destination.query(`delete from things where note = 'theirs'`)
    await retry(rig, running)
    expect(await waiting(rig)).toEqual([])
    await running.stop()
    expect(await rig.differences()).toEqual([])
    await closed(rig)
  } finally {
    await rig.close()
  }
})

test('behind a copy that was cut off, a row that somebody made after the run began is not taken for one of ours', async () => {
  // Rows that meet a unique value are tried once more in two steps, which must not make somebody's row look like ours.
  const unique = ', code text unique'
  const rig = await rigWith('snapshot: { workers: 1, rowsPerChunk: 100 }', tables('text', unique), tables('bigint', unique))
  try {
    await rig.source.query(ROWS)
    let chunks = 0
    const cut = rig.start({ point: async (name) => {
      if (name === 'snap.chunk_written' && ++chunks === 1) throw new Error('cut off here')
    } })
    expect((await failureOf(cut)).message).toBe('cut off here')
    await theirs(rig, [-5, 310, 600, 700])
    // Before the next snapshot: one comes in a part that was copied (and is copied in the second pass), one comes and goes, one changes and goes, and others stay ours.
    await rig.source.query(`delete from screws where part = 310; delete from parts where thing = 310; insert into things values (-5, null, 'ours');
      insert into things values (700, null, 'ours', 'c'), (620, null, 'ours', 'd'); insert into parts values (620, 620, 'ours')`)
    await rig.source.query(`update things set note = 'changed' where id in (60, 310, 620)`)
    await rig.source.query('delete from things where id in (310, 700)')
    let later = 0
    const running = rig.start({ point: async (name) => {
      if (name === 'snap.chunk_written' && ++later === 1) await rig.source.query(`insert into things values (600, null, 'ours'); update things set note = 'later' where id in (61, 390); delete from screws where id = 400`)
    } })
    await rig.caughtUp(running)
    const parked = ['things -5 insert', 'things -5 insert behind', 'things 310 delete', 'things 600 insert', 'things 700 insert', 'things 700 delete behind']
    expect(await waiting(rig)).toEqual(parked)
    expect(await untouched(rig)).toBe(4)
    await closed(rig)
    expect(await rig.destination.query('select from rekey.our_transaction')).toEqual([])

    await retry(rig, running)
    expect(await waiting(rig)).toEqual(parked)
    expect(await untouched(rig)).toBe(4)
    await rig.destination.query(`delete from things where note = 'theirs'`)
    await retry(rig, running)
    expect(await waiting(rig)).toEqual([])
    await running.stop()
    expect(await rig.differences()).toEqual([])
    await closed(rig)
  } finally {
    await rig.close()
  }
})

test('children that are copied while their parents still are wait behind one of them that is parked meanwhile', async () => {
  const rig = await rigWith('checks: set\nsnapshot: { workers: 3, rowsPerChunk: 100 }')
  const other = await client(rig.destination.url)
  try {
    await rig.source.query(`insert into things select i, null, 'ours' from generate_series(1, 200) i; insert into parts select i, i, 'ours' from generate_series(1, 50) i;
      insert into parts values (150, 150, 'ours'); insert into screws values (1, 1), (150, 150); analyze`)
    await other.query('begin')
    await other.query(`insert into things values ('${await withDatabases(rig.config, async ({ minters }) => minters.get('things')!.mint('150')!)}', null, 'theirs')`)
    const running = rig.start()
    // A chunk of things waits for that transaction, and one of parts, whose rows are written, waits for that chunk.
    const written = `select from pg_locks where relation = 'parts'::regclass and mode = 'RowExclusiveLock'`
    await expect.poll(() => rig.destination.query(written)).not.toEqual([])
    await other.query('commit')
    await rig.caughtUp(running)
    expect(await waiting(rig)).toEqual(['parts 150 insert behind', 'screws 150 insert behind', 'things 150 insert'])
    expect(await untouched(rig)).toBe(1)
    await rig.destination.query(`delete from things where note = 'theirs'`)
    await retry(rig, running)
    await running.stop()
    expect(await rig.differences()).toEqual([])
    await closed(rig)
  } finally {
    await other.end()
    await rig.close()
  }
})
