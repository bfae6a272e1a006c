import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import { createRig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** An application may empty its tables, or write them anew, while others are copied: it does not wait for the copy, and nothing is lost. */
const servers = await pair({ source: 17, destination: 14 })

const schema = (key: string): string => `create table gates (id ${key} primary key);
  create table things (id ${key} primary key, n integer);
  create table parts (id ${key} primary key, thing_id ${key} references things, n integer);
  create table wide (id ${key} primary key, n integer) partition by hash (id);
  create table wide_0 partition of wide for values with (modulus 2, remainder 0);
  create table wide_1 partition of wide for values with (modulus 2, remainder 1);`

const MAPPING = `application: things
contexts: [{ name: all, tables: [gates, things, parts, wide] }]
entities: { gates: { prefix: gat }, things: { prefix: thi }, parts: { prefix: par }, wide: { prefix: wid } }
defaults: { truncate: owned }`

const ROWS = `insert into gates values (1);
  insert into things select i, i from generate_series(1, 350) i; insert into parts select i, i, i from generate_series(1, 350) i;
  insert into wide select i, i from generate_series(1, 350) i`

test.each([
  ['emptied with its children and filled again', 'truncate things, parts; insert into things values (1000, 1), (2, 2); insert into parts values (1, 1000, 1)', 'public.things'],
  ['emptied', 'truncate parts', 'public.parts'],
  ['written anew with the same values', 'alter table wide alter column n type integer using n + 0', 'public.wide'],
])('a table that is %s before it is copied', async (_, sql, table) => {
  const rig = await createRig({
    servers, sourceSql: schema('bigint'), destinationSql: schema('text'), mapping: MAPPING, config: 'snapshot: { workers: 1, rowsPerChunk: 100 }',
  })
  const holder = new Client({ connectionString: rig.destination.url })
  try {
    await rig.source.query(ROWS)
    // The limits of applications are not for a copy, which is one transaction at the source.
    await rig.source.query(`alter database ${rig.source.name} set transaction_timeout = '1s'; alter database ${rig.source.name} set idle_in_transaction_session_timeout = '1s'`)
    await holder.connect()
    await holder.query('begin; lock table gates in share mode')
    const running = rig.start()
    await expect.poll(() => running.latest()?.phase).toBe('snapshot')
    await expect.poll(() => holder.query("select from pg_locks where relation = 'gates'::regclass and not granted").then(({ rowCount }) => rowCount)).toBe(1)
    await rig.source.query('update things set n = n + 1 where id % 2 = 0; delete from parts where id = 7; update wide set n = 0 where id = 7')
    await rig.source.query(`set lock_timeout = '3s'; ${sql}`)
    await sleep(1_200)
    await holder.query('rollback')
    await rig.caughtUp(running)
    const text = `begins again at the checkpoint: ${table} was truncated or rewritten at the source before it was copied; what is left is copied as it is now`
    expect(running.notes.filter(({ event }) => event === 'restart').map((note) => note.text)).toEqual([text])
    await running.stop()
    expect(await rig.differences()).toEqual([])
    for (const [name, one] of Object.entries(running.latest()!.totals)) expect([name, closes(one)]).toEqual([name, true])
  } finally {
    await holder.end()
    await rig.close()
  }
})
