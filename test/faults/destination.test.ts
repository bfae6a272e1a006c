import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { failureOf, parked, parentsRig, withBridge } from '../support/accident.ts'
import { client } from '../support/database.ts'
import { createRig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })

test.each(['engine', 'set'])('a poison row waits with its SQLSTATE, what depends on it behind it, and the rest goes on (checks: %s)',
  async (checks) => {
  const rig = await parentsRig(servers, { config: `checks: ${checks}` })
  try {
    await rig.destination.query(`alter table parents add constraint no_poison check (name <> 'poison')`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`begin; insert into parents values (100, 'poison'), (101, 'good'); insert into children values (100, 100, 1, 'behind'), (101, 101, 1, 'good'); commit`)
    await rig.source.query("update children set note = 'still behind' where id = 100; update children set note = 'on' where id = 101")
    await rig.caughtUp(running)
    expect(await parked(rig)).toEqual([
      { tbl: 'public.parents', key: '100', op: 'insert', sqlstate: '23514', behind: 'f', state: 'waiting' },
      { tbl: 'public.children', key: '100', op: 'insert', sqlstate: 'RK003', behind: 't', state: 'waiting' },
      { tbl: 'public.children', key: '100', op: 'update', sqlstate: 'RK003', behind: 't', state: 'waiting' },
    ])
    expect(await rig.destination.query("select note from children where amount = 1 and note <> 'n'")).toEqual([{ note: 'on' }])
    expect((await rig.differences()).map(({ what }) => what)).toEqual(['missing', 'missing'])
    await rig.destination.query('alter table parents drop constraint no_poison')
    await rig.destination.query("update rekey.parked set state = 'retry' where state = 'waiting'")
    for (let tries = 0; tries < 200 && (await parked(rig)).length > 0; tries++) {
      await sleep(50)
      await rig.source.query("select pg_logical_emit_message(false, 'rekey', 'heartbeat')")
    }
    await running.stop()
    expect(await parked(rig)).toEqual([])
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})

test('a poison row in the initial copy waits, and the rest is copied', async () => {
  const rig = await parentsRig(servers)
  try {
    await rig.destination.query('alter table children add constraint small check (amount <> 7)')
    const running = rig.start()
    await rig.caughtUp(running)
    await running.stop()
    expect(await parked(rig)).toEqual([{ tbl: 'public.children', key: '7', op: 'insert', sqlstate: '23514', behind: 'f',
      state: 'waiting' }])
    expect((await rig.differences()).map(({ what }) => what)).toEqual(['missing'])
  } finally {
    await rig.close()
  }
})

test('a constraint that is checked at the commit parks the rows that break it', async () => {
  const rig = await parentsRig(servers, {
    destinationSql: `create table parents (id text collate "C" primary key, name text, constraint one_name unique (name) deferrable initially deferred);
      create table children (id text collate "C" primary key, parent_id text collate "C" not null references parents deferrable initially deferred, amount integer, note text);
      create index on children (parent_id);`,
  })
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query("insert into parents values (200, 'p1'), (201, 'fine')")
    await rig.caughtUp(running)
    await running.stop()
    expect(await parked(rig)).toEqual([{ tbl: 'public.parents', key: '200', op: 'insert', sqlstate: '23505', behind: 'f',
      state: 'waiting' }])
    expect(await rig.destination.query("select name from parents where name = 'fine'")).toEqual([{ name: 'fine' }])
  } finally {
    await rig.close()
  }
})

test('a trigger that swallows a row is noticed: the row waits', async () => {
  const rig = await parentsRig(servers)
  try {
    await rig.destination.query(`create function swallow() returns trigger language plpgsql as $$ begin if new.note = 'swallow' then return null; end if; return new; end $$;
      create trigger swallow before insert or update on children for each row execute function swallow()`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query("insert into children values (300, 1, 1, 'swallow'), (301, 1, 1, 'kept'); update children set note = 'swallow' where id = 3")
    await rig.caughtUp(running)
    await running.stop()
    expect((await parked(rig)).map(({ key, sqlstate }) => ({ key, sqlstate }))).toEqual([{ key: '300', sqlstate: 'RK002' },
      { key: '3', sqlstate: 'RK002' }])
  } finally {
    await rig.close()
  }
})

test('a lock that is held at the destination is waited for and tried again', async () => {
  const rig = await parentsRig(servers)
  try {
    await rig.destination.query(`alter database "${rig.destination.name}" set lock_timeout = '300ms'`)
    await withBridge(rig, async () => {
      const holder = await client(rig.destination.url)
      await holder.query('begin; lock table children in access exclusive mode')
      await rig.source.query("update children set note = 'waited'; update parents set name = 'waited'")
      await sleep(1_500)
      await holder.query('commit')
      await holder.end()
    })
    expect(await parked(rig)).toEqual([])
  } finally {
    await rig.close()
  }
})

test('limits of the database for statements, transactions and idle sessions are not for ours', async () => {
  const retried: string[] = []
  const rig = await parentsRig(servers, { events: { meter: { retried: (reason) => void retried.push(reason) } } })
  try {
    for (const name of ['statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'lock_timeout']) {
      await rig.destination.query(`alter database "${rig.destination.name}" set ${name} = '300ms'`)
    }
    await withBridge(rig, async (running) => {
      const holder = await client(rig.destination.url)
      await holder.query("set transaction_timeout = 0; set idle_in_transaction_session_timeout = 0; begin; lock table children in access exclusive mode")
      await rig.source.query("update children set note = 'waited'; update parents set name = 'waited'")
      await sleep(1_000)
      await holder.query('commit')
      await holder.end()
      await rig.caughtUp(running)
      expect(running.notes).toEqual([])
      expect(retried).toEqual([])
    })
  } finally {
    await rig.close()
  }
})

test('a destination that says that its disk is full is waited for, which is said, and nothing is lost or parked', async () => {
  const rig = await parentsRig(servers)
  try {
    await rig.destination.query(`create table room (left_over boolean); insert into room values (true);
      create function fills() returns trigger language plpgsql as $$ begin
        if not (select left_over from public.room) then raise exception 'could not extend file' using errcode = 'disk_full'; end if; return null; end $$;
      create trigger fills after insert or update on children for each statement execute function fills()`)
    await withBridge(rig, async (running) => {
      await rig.destination.query('update room set left_over = false')
      await rig.source.query("update children set note = 'waited'; update parents set name = 'waited'")
      for (const end = Date.now() + 20_000; running.notes.length === 0 && Date.now() < end;) await sleep(50)
      expect(running.notes.map(({ text }) => text)).toEqual([expect.stringContaining('53100 (the disk of the destination is full)')])
      await rig.destination.query('update room set left_over = true')
    })
    expect(await parked(rig)).toEqual([])
  } finally {
    await rig.close()
  }
})

test('a destination that takes no writes for a while, as a standby or one that its provider has locked, is waited for', async () => {
  const rig = await parentsRig(servers)
  const admin = await client(servers.destination.url())
  const writes = async (may: string): Promise<void> => {
    await admin.query(`alter database "${rig.destination.name}" set default_transaction_read_only = ${may}`)
    await admin.query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and application_name = 'rekey'", [rig.destination.name])
  }
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await writes('on')
    await rig.source.query("insert into parents values (100, 'later')")
    const told = (): boolean => running.notes.some(({ text }) => text.includes('takes no writes'))
    for (const end = Date.now() + 15_000; !told() && Date.now() < end;) await Promise.race([running.ended, sleep(30)])
    expect(told()).toBe(true)
    await writes('off')
    await rig.caughtUp(running)
    await running.stop()
    expect([await parked(rig), await rig.differences()]).toEqual([[], []])
  } finally {
    await admin.end()
    await rig.close()
  }
})

test('a deadlock that the bridge loses against a user of the destination is tried again', async () => {
  const rig = await parentsRig(servers)
  try {
    await rig.destination.query(`alter database "${rig.destination.name}" set deadlock_timeout = '800ms'`)
    await withBridge(rig, async () => {
      const user = await client(rig.destination.url)
      await user.query("set deadlock_timeout = '30s'; begin; select 1 from children for update")
      await rig.source.query("begin; update parents set name = 'd'; update children set note = 'd'; commit")
      // The bridge holds the parents by now and waits for the children; it is the first to look for a circle.
      await sleep(300)
      await user.query('update parents set name = name')
      await user.query('commit')
      await user.end()
    })
    let deadlocks = '0'
    for (let tries = 0; tries < 100 && deadlocks === '0'; tries++) {
      await sleep(50)
      deadlocks = (await rig.destination.query('select deadlocks from pg_stat_database where datname = current_database()'))[0].deadlocks!
    }
    expect(Number(deadlocks)).toBeGreaterThan(0)
    expect(await parked(rig)).toEqual([])
  } finally {
    await rig.close()
  }
})

test('a backend that an operator ends is taken anew', async () => {
  const rig = await parentsRig(servers)
  try {
    await withBridge(rig, async () => {
      for (let i = 0; i < 3; i++) {
        await rig.source.query(`update parents set name = 't${i}'`)
        await rig.destination.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'rekey%' and datname = current_database()")
        await sleep(100)
      }
    })
  } finally {
    await rig.close()
  }
})

test('a column that goes away at the destination stops the run', async () => {
  const rig = await parentsRig(servers)
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.destination.query('alter table children drop column note')
    await rig.source.query("update children set note = 'gone'")
    const { code, exit } = await failureOf(running)
    expect({ code, exit }).toEqual({ code: 'SCHEMA_CHANGED', exit: 5 })
    await rig.destination.query('alter table children add column note text')
    await rig.source.query("update children set note = 'back'")
    const again = rig.start()
    await rig.caughtUp(again)
    await again.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})

test('keys that both sides have in use: a row that meets a foreign one waits', async () => {
  const rig = await createRig({
    servers, sourceSql: 'create table things (id bigint primary key, name text)',
    destinationSql: 'create table things (id bigint primary key, name text)',
    mapping: 'application: keep\ncontexts: [{ name: all, tables: [things] }]\nentities: { things: keep }',
  })
  try {
    await rig.source.query("insert into things select i, 'ours' from generate_series(1, 5) i")
    await rig.destination.query("insert into things values (3, 'theirs')")
    const running = rig.start()
    await rig.caughtUp(running)
    await running.stop()
    expect((await parked(rig)).map(({ key }) => key)).toEqual(['3'])
    expect(await rig.destination.query('select name from things where id = 3')).toEqual([{ name: 'theirs' }])
    expect(await rig.destination.query('select count(*) from things')).toEqual([{ count: '5' }])
  } finally {
    await rig.close()
  }
})
