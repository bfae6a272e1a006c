import { expect, test } from 'vitest'
import { failureOf } from '../support/accident.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** Columns that only the destination has, with defaults that differ from row to row: the value of a row is given once. */
const servers = await pair({ source: 15, destination: 18 })

const tables = (key: string, more: string): string => `
create table folders (id ${key} primary key, parent_id ${key} references folders, name text unique, body text${more});
create table notes (id ${key} primary key, folder_id ${key} references folders on update cascade, place integer${more}, unique (folder_id, place) deferrable);`

const OWN = `, token uuid not null default gen_random_uuid(), seen timestamptz not null default clock_timestamp(), no bigint not null default nextval('numbers')`

const MAPPING = `
application: own
contexts: [{ name: all, tables: [folders, notes] }]
entities: { folders: { prefix: fol }, notes: { prefix: not } }`

/** What the destination gave, by the row's id. */
async function given(rig: Rig): Promise<Map<string, string>> {
  const rows = await rig.destination.query(`select id, row(token, seen, no)::text as own from folders union all select id, row(token, seen, no)::text from notes`)
  return new Map(rows.map((row) => [row.id!, row.own!]))
}

function changed(before: Map<string, string>, after: Map<string, string>): string[] {
  return [...before].filter(([id, own]) => after.has(id) && after.get(id) !== own).map(([id]) => id)
}

test.each(['engine', 'set'])('what a default gave a row stays with it: a copy in two passes that is cut off, the stream, restarts, parked rows (checks: %s)', async (checks) => {
  const rig = await createRig({
    servers, sourceSql: tables('bigint', ''), destinationSql: `create sequence numbers; ${tables('text', OWN)}`, mapping: MAPPING,
    config: `checks: ${checks}\nsnapshot: { workers: 1, rowsPerChunk: 100 }`,
  })
  try {
    await rig.source.query(`insert into folders select i, case when i > 1 then i / 2 end, 'f' || i, repeat(md5(i::text), 200) from generate_series(1, 300) i;
      insert into notes select i, i, i from generate_series(1, 300) i; alter table folders alter body set storage external; analyze`)
    let chunks = 0
    const cut = rig.start({ point: async (name) => {
      if (name === 'snap.chunk_written' && ++chunks === 8) throw new Error('cut off here')
    } })
    await failureOf(cut)
    let known = await given(rig)
    expect(known.size).toBeGreaterThan(300)
    const holds = async (): Promise<void> => {
      const now = await given(rig)
      expect(changed(known, now)).toEqual([])
      known = now
    }

    await rig.source.query(`update folders set name = name || '!', parent_id = 1 where id > 1; insert into folders values (1000, 5, 'new', 'n'); insert into notes values (1000, 1000, 1)`)
    let running = rig.start()
    await rig.caughtUp(running)
    await holds()
    expect(known.size).toBe(602)

    // Whole rows, rows of which large values were not sent, unique values that are exchanged.
    await rig.source.query(`update notes set folder_id = 1 + id % 7 where id < 100; update folders set name = name || '?'; begin; set constraints all deferred;
      update notes set place = 301 - place where folder_id > 7; commit`)
    await rig.caughtUp(running)
    await holds()
    await running.stop()
    await rig.source.query(`update folders set parent_id = 2 where id > 2; update notes set place = place + 1000`)
    running = rig.start()
    await rig.caughtUp(running)
    await holds()

    // A row that is parked while it stands there already.
    await rig.destination.query(`alter table notes add constraint bound check (place < 5000)`)
    await rig.source.query('update notes set place = 9000 where id = 7; update notes set folder_id = 3 where id = 7')
    await rig.caughtUp(running)
    expect(await rig.destination.query(`select distinct tbl, key from rekey.parked where state = 'waiting'`)).toEqual([{ tbl: 'public.notes', key: '7' }])
    await rig.destination.query(`alter table notes drop constraint bound; update rekey.parked set state = 'retry'`)
    await expect.poll(() => rig.destination.query(`select from rekey.parked where state <> 'done'`)).toEqual([])
    await holds()

    // Under another key it is the same row.
    const of = async (name: string) => (await rig.destination.query(`select token from folders where name = '${name}'`))[0].token
    await rig.source.query(`update folders set name = 'moves', parent_id = null where id = 299`)
    await rig.caughtUp(running)
    const token = await of('moves')
    await rig.source.query('update folders set id = 5000 where id = 299')
    await rig.caughtUp(running)
    expect(await of('moves')).toBe(token)
    await holds()
    await running.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})
