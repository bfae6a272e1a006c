import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { failureOf, parentsRig, withBridge } from '../support/accident.ts'
import { client } from '../support/database.ts'
import { startChild } from '../support/child.ts'
import { drained } from '../support/drained.ts'
import { createRig, type Rig, type Running } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** Accidents of one kind each: what they come to, and that nothing is lost by them. */
const servers = await pair({ source: 15, destination: 18 })

const waiting = (rig: Rig): Promise<Record<string, string | null>[]> =>
  rig.destination.query(`select tbl, key, op, sqlstate, behind from rekey.parked where state <> 'done' order by id`)

async function retried(rig: Rig, running: Running): Promise<void> {
  await rig.destination.query(`update rekey.parked set state = 'retry'`)
  for (const end = Date.now() + 20_000; Date.now() < end && (await waiting(rig)).length > 0;) await Promise.race([running.ended, sleep(50)])
  expect(await waiting(rig)).toEqual([])
}

/** The same URL for another role. */
const as = (role: string) => (url: string): string => {
  const changed = new URL(url)
  changed.username = role
  return changed.href
}

test('the connections of a copy are ended in the middle of it: it goes on, and no chunk is done twice', async () => {
  const rig = await parentsRig(servers, { rows: 1_500, config: 'snapshot: { workers: 2, rowsPerChunk: 100 }' })
  try {
    let chunks = 0
    const done = new Map<string, string>()
    const running = rig.start({ point: async (name) => {
      if (name !== 'snap.chunk_written' || ++chunks !== 8) return
      const rows = await rig.destination.query('select tbl || index as chunk, xmin::text as by from rekey.chunk where rows is not null')
      for (const row of rows) done.set(row.chunk!, row.by!)
      await rig.source.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and query ilike 'copy%'`)
    } })
    await rig.caughtUp(running)
    expect(done.size).toBeGreaterThan(4)
    const now = await rig.destination.query('select tbl || index as chunk, xmin::text as by from rekey.chunk')
    expect(now.filter(({ chunk, by }) => done.has(chunk!) && done.get(chunk!) !== by)).toEqual([])
    await running.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})

test('the replica identity is switched while it streams', async () => {
  const rig = await parentsRig(servers)
  try {
    await withBridge(rig, async (running) => {
      let n = 100
      for (const identity of ['full', 'using index children_second', 'default', 'full']) {
        await rig.source.query(`${n === 100 ? 'alter table children alter amount set not null; create unique index children_second on children (id, amount);' : ''}
          update children set note = 'before' where id = 3; alter table children replica identity ${identity}; insert into children values (${n}, 1, 1, 'x');
          update children set note = '${identity}', amount = amount + 1 where id < 6; update children set id = ${n + 1} where id = ${n}; delete from children where id = ${n + 1}`)
        n += 10
        await rig.caughtUp(running)
      }
    })
  } finally {
    await rig.close()
  }
})

test('a replica identity that does not tell the key stops the run, and so does what was logged under it when it is gone again', async () => {
  for (const change of ['delete from children where id = 5', 'update children set id = 99 where id = 5']) {
    const rig = await parentsRig(servers)
    try {
      const running = rig.start()
      await rig.caughtUp(running)
      await rig.source.query(`alter table children alter amount set not null; create unique index children_amount on children (amount);
        alter table children replica identity using index children_amount`)
      await rig.source.query(`insert into children values (50, 1, 50, 'n')`)
      await rig.caughtUp(running)
      await rig.source.query(change)
      const lost = { code: 'SCHEMA_CHANGED', message: 'the replica identity of public.children no longer tells its key (id)' }
      expect(await failureOf(running)).toMatchObject(lost)
      await rig.source.query('alter table children replica identity default')
      expect(await failureOf(rig.start())).toMatchObject(lost)
    } finally {
      await rig.close()
    }
  }
})

test('transactions that run into each other come in the order of their commits', async () => {
  const rig = await parentsRig(servers)
  const [one, other] = await Promise.all([client(rig.source.url), client(rig.source.url)])
  try {
    await withBridge(rig, async (running) => {
      await one.query(`begin; insert into parents values (100, 'first to begin'); update parents set name = 'one' where id = 1`)
      await other.query(`begin; insert into parents values (101, 'second'); insert into children values (101, 101, 1, 'of the second'); update parents set name = 'other' where id = 2; commit`)
      await rig.caughtUp(running)
      expect(await rig.destination.query(`select name from parents where name in ('first to begin', 'second')`)).toEqual([{ name: 'second' }])
      await one.query(`update parents set name = 'last' where id = 2; insert into children values (100, 101, 1, 'of the first'); delete from children where id = 101; commit`)
    })
  } finally {
    await Promise.all([one.end(), other.end()])
    await rig.close()
  }
})

test.each([
  ['numeric(10, 2)', 'numeric(20, 4)', '1.5', '12345678901.1234'],
  ['date', 'timestamp', `'2024-01-01'`, `'2024-01-01 10:30:00.5'`],
  ['real', 'double precision', '0.5', '0.123456789012345'],
  ['integer', 'text', '7', `'seven'`],
])('a type that is changed while it streams, with the rows rewritten: nothing is rounded or cut off (%s to %s)', async (before, after, old, value) => {
  const sql = (key: string): string => `create table things (id ${key} primary key, value ${before}, n smallint)`
  const rig = await createRig({
    servers, sourceSql: sql('bigint'), destinationSql: sql('text'), mapping: 'application: t\ncontexts: [{ name: all, tables: [things] }]\nentities: { things: { prefix: thi } }',
  })
  try {
    await rig.source.query(`insert into things select i, ${old}, 0 from generate_series(1, 9) i`)
    const running = rig.start()
    await rig.caughtUp(running)
    const change = `alter table things alter value type ${after} using value::${after}`
    await rig.source.query(`update things set n = 1 where id = 1; ${change}`)
    await rig.source.query(`update things set value = ${value} where id < 4; insert into things values (10, ${value}, 1)`)
    const { code, message } = await failureOf(running)
    expect({ code, message }).toEqual({ code: 'SCHEMA_CHANGED', message: 'public.things.value has another type than it had when rekey started' })
    await rig.destination.query(change)
    await withBridge(rig, async () => {
      await rig.source.query('update things set n = 2 where id = 5')
    })
    // Of before the change, between, and after, in one go.
    await rig.source.query('update things set n = 3 where id = 6; alter table things alter n type bigint')
    await rig.destination.query('alter table things alter n type bigint')
    await rig.source.query('update things set n = 1::bigint << 40 where id = 7')
    await withBridge(rig, async () => {})
    expect(await waiting(rig)).toEqual([])
  } finally {
    await rig.close()
  }
})

test('a label that the destination does not know yet', async () => {
  const sql = (key: string): string => `create type mood as enum ('fine'); create table people (id ${key} primary key, mood mood)`
  const rig = await createRig({
    servers, sourceSql: sql('bigint'), destinationSql: sql('text'), mapping: 'application: a\ncontexts: [{ name: all, tables: [people] }]\nentities: { people: { prefix: peo } }',
  })
  try {
    await rig.source.query(`insert into people values (1, 'fine')`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`alter type mood add value 'better'`)
    await rig.source.query(`insert into people values (2, 'better'), (3, 'fine'); update people set mood = 'better' where id = 1`)
    await rig.caughtUp(running)
    expect((await waiting(rig)).map(({ key, sqlstate }) => `${key} ${sqlstate}`)).toEqual(['2 22P02', '1 22P02'])
    await rig.destination.query(`alter type mood add value 'better'`)
    await retried(rig, running)
    await running.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})

test('a trigger of the destination that says no stops the run, and no value is told', async () => {
  const rig = await parentsRig(servers)
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.destination.query(`create function no() returns trigger language plpgsql as $$ begin if new.name = 'secret' then raise exception 'not %', new.name; end if; return new; end $$;
      create trigger no before insert or update on parents for each row execute function no()`)
    await rig.source.query(`update parents set name = 'fine' where id = 1`)
    await rig.caughtUp(running)
    await rig.source.query(`update parents set name = 'secret' where id = 2`)
    const { exit, message } = await failureOf(running)
    expect(exit).toBe(1)
    expect(message).toContain('P0001')
    expect(message).not.toContain('secret')
    await rig.destination.query('drop trigger no on parents')
    await withBridge(rig, async () => {})
  } finally {
    await rig.close()
  }
})

test('row security at the destination hides no row in silence', async () => {
  const rig = await parentsRig(servers)
  const role = `role_${rig.destination.name}`
  try {
    await rig.destination.query(`create role ${role} login; grant create on database "${rig.destination.name}" to ${role}; grant all on all tables in schema public to ${role}`)
    Object.assign(rig.config.destination, { url: as(role)(rig.config.destination.url) })
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.destination.query(`alter table parents enable row level security; create policy seen on parents using (name <> 'hidden')`)
    await rig.source.query(`update parents set name = 'hidden' where id = 1`)
    const { code, exit } = await failureOf(running)
    expect({ code, exit }).toEqual({ code: 'PRIVILEGE', exit: 5 })
  } finally {
    await rig.destination.query(`drop owned by ${role} cascade; drop role ${role}`)
    await rig.close()
  }
})

test('tables of very many columns, and of the key alone', async () => {
  const columns = Array.from({ length: 1_500 }, (_, i) => `c${i} smallint`).join(', ')
  const sql = (key: string): string => `create table wide (id ${key} primary key, ${columns}); create table bare (id ${key} primary key)`
  const rig = await createRig({
    servers, sourceSql: sql('bigint'), destinationSql: sql('text'),
    mapping: 'application: w\ncontexts: [{ name: all, tables: [wide, bare] }]\nentities: { wide: { prefix: wid }, bare: { prefix: bar } }',
  })
  try {
    await rig.source.query('insert into wide (id, c0, c1499) select i, i, i from generate_series(1, 20) i; insert into bare values (1), (2), (3)')
    await withBridge(rig, async (running) => {
      await rig.source.query('insert into wide (id) values (100); update wide set c700 = 7 where id < 5; delete from wide where id = 9; insert into bare values (4); delete from bare where id = 1; update bare set id = 50 where id = 2')
      await rig.caughtUp(running)
    })
  } finally {
    await rig.close()
  }
})

test('rows of a hundred megabytes and a transaction of many rows, copied and streamed, with a heap of 96 MB', async () => {
  const rig = await parentsRig(servers, { rows: 2 })
  const large = `(select repeat(md5('x'), 3276800))`
  try {
    await rig.source.query(`alter table children alter note set storage external; insert into children values (10, 1, 1, ${large}); insert into parents select i, 'copied' from generate_series(100, 30100) i`)
    const child = startChild(rig.config, { heap: 96 })
    let over: string | undefined
    void child.ended.then(() => (over = child.lines.slice(-3).join(' | ')))
    await child.reached('stream')
    await rig.source.query(`insert into children values (11, 2, 1, ${large}); update children set amount = 5 where id = 10; insert into parents select i, 'streamed' from generate_series(100000, 130000) i`)
    await drained(rig, { failed: () => over })
    child.kill('SIGTERM')
    expect(await child.ended).toEqual({ code: 0, signal: null })
    const values = `select amount::text, length(note)::text as length, md5(note) as md5 from children where length(note) > 1000 order by amount`
    expect(await rig.destination.query(values)).toEqual(await rig.source.query(values))
    expect(await rig.destination.query('select name, count(*)::text as n from parents group by name order by name')).toEqual(await rig.source.query('select name, count(*)::text as n from parents group by name order by name'))
    expect(child.rss).toBeLessThan(600 << 20)
  } finally {
    await rig.close()
  }
}, 180_000)
