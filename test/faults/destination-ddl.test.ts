import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { failureOf, parked, PARENTS, parentsRig } from '../support/accident.ts'
import type { Rig, Running } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** The application at the destination migrates its schema while a bridge runs. */
const servers = await pair({ source: 15, destination: 18 })
let rig: Rig | null = null
afterEach(async () => {
  await rig?.close()
  rig = null
})

/** A bridge that has caught up. */
async function bridged(checks: 'engine' | 'set', more: { readonly sourceSql?: string; readonly destinationSql?: string } = {}): Promise<{ rig: Rig; running: Running }> {
  rig = await parentsRig(servers, { config: `checks: ${checks}`, ...more })
  const running = rig.start()
  await rig.caughtUp(running)
  return { rig, running }
}

/** What its next batch has met it has read anew. */
async function noticed(rig: Rig, running: Running, times = 1): Promise<void> {
  await rig.caughtUp(running)
  expect(running.notes.filter(({ text }) => text.includes('reads the tables anew'))).toHaveLength(times)
}

/** It is put right at the destination, and what waits is tried again: then nothing is missing. */
async function putRight(rig: Rig, running: Running, sql: string): Promise<void> {
  await rig.destination.query(sql)
  await rig.destination.query("update rekey.parked set state = 'retry' where state = 'waiting'")
  for (const end = Date.now() + 10_000; (await parked(rig)).length > 0 && Date.now() < end;) {
    await sleep(50)
    await rig.source.query("select pg_logical_emit_message(false, 'rekey', 'heartbeat')")
  }
  await rig.caughtUp(running)
  await running.stop()
  expect(await parked(rig)).toEqual([])
  expect(await rig.differences()).toEqual([])
}

const waiting = async (rig: Rig): Promise<string[]> => (await parked(rig)).map(({ tbl, key, sqlstate }) => `${tbl} ${key} ${sqlstate}`)

test.each(['engine', 'set'] as const)('a foreign key that comes takes no row of others along, leaves none behind, and is held at every commit (checks: %s)', async (checks) => {
  const { rig, running } = await bridged(checks)
  const [{ id }] = await rig.destination.query('select id from children where amount = 7')
  await rig.destination.query(`create table badges (id integer primary key, child_id text collate "C" not null references children on delete cascade);
    insert into badges values (1, '${id}')`)
  await rig.source.query("delete from children where id = 7; insert into children values (70, 1, 70, 'after')")
  await noticed(rig, running)
  expect(await waiting(rig)).toEqual(['public.children 7 23503'])
  expect(await rig.destination.query('select badges.id from badges join children on children.id = child_id')).toHaveLength(1)
  await rig.destination.query(`create table notes (note text primary key); insert into notes values ('n'), ('known'), ('after');
    alter table children add constraint known_note foreign key (note) references notes`)
  await rig.source.query("insert into children values (80, 1, 80, 'known'), (81, 1, 81, 'unknown')")
  await noticed(rig, running, 2)
  expect(await waiting(rig)).toEqual(['public.children 7 23503', 'public.children 81 23503'])
  expect(await rig.destination.query('select note from children where note not in (select note from notes)')).toEqual([])
  await putRight(rig, running, "delete from badges; insert into notes values ('unknown')")
})

test('a trigger that comes and swallows rows', async () => {
  const { rig, running } = await bridged('engine')
  await rig.destination.query(`create function swallow() returns trigger language plpgsql as $$ begin if new.note = 'swallow' then return null; end if; return new; end $$;
    create trigger swallow before insert or update on children for each row execute function swallow()`)
  await rig.source.query("insert into children values (70, 1, 70, 'swallow'), (71, 1, 71, 'kept')")
  await noticed(rig, running)
  expect(await waiting(rig)).toEqual(['public.children 70 RK002'])
  await putRight(rig, running, 'drop trigger swallow on children')
})

test('a type that would round is no longer rounded through the one that it was', async () => {
  const { rig, running } = await bridged('engine', {
    sourceSql: PARENTS.sourceSql.replace('amount integer', 'amount numeric'), destinationSql: PARENTS.destinationSql.replace('amount integer', 'amount numeric'),
  })
  await rig.destination.query('alter table children alter column amount type integer')
  await rig.source.query('update children set amount = 1.5 where id = 1; insert into children values (70, 1, 70.5, null)')
  await noticed(rig, running)
  expect(await waiting(rig)).toEqual(['public.children 1 22P02', 'public.children 70 22P02'])
  expect(await rig.destination.query('select count(*) from children where amount = 2')).toEqual([{ count: '1' }])
  await putRight(rig, running, 'alter table children alter column amount type numeric')
})

test('a unique index that comes: the rows that do not fit wait', async () => {
  const { rig, running } = await bridged('engine')
  await rig.destination.query('create unique index one_note on children (note) where amount >= 70')
  await rig.source.query("insert into children values (70, 1, 70, 'after'), (71, 1, 71, 'after')")
  await rig.caughtUp(running)
  expect(await waiting(rig)).toEqual(['public.children 71 23505'])
  await running.stop()
})

async function stopped(running: Running, message: RegExp): Promise<void> {
  const failure = await failureOf(running)
  expect({ code: failure.code, exit: failure.exit }).toEqual({ code: 'SCHEMA_CHANGED', exit: 5 })
  expect(failure.message).toMatch(message)
}

test.each([
  ['a column comes that must have a value', 'alter table children add column must text; update children set must = id; alter table children alter column must set not null',
    'alter table children alter column must drop not null', /must/],
  ['a table is renamed', 'alter table children rename to offspring', 'alter table offspring rename to children', /children/],
])('%s: the run stops at each start, nothing is skipped, and it goes on when it is put right', async (_, sql, back, message) => {
  const { rig, running } = await bridged('engine')
  await rig.destination.query(sql)
  await rig.source.query("insert into children values (70, 1, 70, 'after'), (71, 1, 71, 'after')")
  await stopped(running, message)
  await stopped(rig.start(), message)
  await putRight(rig, rig.start(), back)
})

test('a column, an index and a table that change nothing for the rows of ours: it goes on', async () => {
  const { rig, running } = await bridged('engine')
  await rig.destination.query(`alter table children add column seen timestamptz default now(); create index on children (amount); create table others (id integer primary key);
    alter table children alter column note set default 'none'; comment on table children is 'ours'; analyze children`)
  await rig.source.query("insert into children values (70, 1, 70, 'after'); update children set note = 'on' where id < 5; delete from children where id = 9")
  await rig.caughtUp(running)
  await running.stop()
  expect(await rig.differences()).toEqual([])
})
