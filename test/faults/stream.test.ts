import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { startChild } from '../support/child.ts'
import { drained } from '../support/drained.ts'
import { failureOf, parked, PARENTS, parentsRig, withBridge } from '../support/accident.ts'
import { client } from '../support/database.ts'
import { createRig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })

test.each(['engine', 'set'])('a huge transaction goes through in fragments, in bounded memory (checks: %s)', async (checks) => {
  const rig = await parentsRig(servers, { config: `checks: ${checks}` })
  try {
    const child = startChild(rig.config)
    await child.reached('stream')
    await rig.source.query(`begin; insert into parents select i, repeat('x', 500) from generate_series(1000, 51000) i; insert into children select i, i, i, 'n' from generate_series(1000, 51000) i;
      update parents set name = 'short' where id % 10 = 0; delete from parents where id % 7 = 0 and id >= 1000; commit`)
    await drained(rig)
    child.kill('SIGTERM')
    expect(await child.ended).toEqual({ code: 0, signal: null })
    expect(child.rss).toBeLessThan(600 * 2 ** 20)
    expect(await rig.differences()).toEqual([])
    expect(await parked(rig)).toEqual([])
  } finally {
    await rig.close()
  }
}, 90_000)

test('killed in the middle of a huge transaction, it begins at its start', async () => {
  const rig = await parentsRig(servers)
  try {
    const first = startChild(rig.config)
    await drained(rig)
    first.kill('SIGTERM')
    await first.ended
    const second = startChild(rig.config, { failpoints: 'apply.mid=kill@2' })
    await second.reached('stream')
    await rig.source.query("insert into parents select i, repeat('x', 200) from generate_series(1000, 61000) i")
    expect((await second.ended).signal).toBe('SIGKILL')
    expect(await rig.destination.query("select count(*) from parents where name like 'xx%'")).toEqual([{ count: '0' }])
    const third = startChild(rig.config)
    await drained(rig)
    third.kill('SIGTERM')
    await third.ended
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
}, 90_000)

test('truncate: refused by default, and nothing is skipped', async () => {
  const rig = await parentsRig(servers)
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query('truncate children')
    const { code, exit } = await failureOf(running)
    expect({ code, exit }).toEqual({ code: 'TRUNCATE', exit: 5 })
    expect(await rig.destination.query('select count(*) from children')).toEqual([{ count: '20' }])
  } finally {
    await rig.close()
  }
})

test.each(['engine', 'set'])('truncate: owned takes our rows and leaves those of the destination (checks: %s)', async (checks) => {
  const rig = await parentsRig(servers, { mapping: `${PARENTS.mapping}defaults: { truncate: owned }\n`, config: `checks: ${checks}` })
  try {
    await rig.destination.query("insert into parents values ('theirs', 't'); insert into children values ('theirs', 'theirs', 1, 't')")
    await withBridge(rig, async () => {
      await rig.source.query("truncate parents, children; insert into parents values (1, 'again')")
    })
    expect(await rig.destination.query('select id from children')).toEqual([{ id: 'theirs' }])
  } finally {
    await rig.close()
  }
})

test('truncate: ignored leaves the rows', async () => {
  const rig = await parentsRig(servers, { mapping: `${PARENTS.mapping}defaults: { truncate: ignore }\n` })
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query('truncate children')
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query('select count(*) from children')).toEqual([{ count: '20' }])
  } finally {
    await rig.close()
  }
})

test('a column that is added at the source without a verdict stops the run, and nothing is skipped', async () => {
  const rig = await parentsRig(servers)
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query("alter table children add column extra text; update children set extra = 'e'")
    const { code, exit } = await failureOf(running)
    expect({ code, exit }).toEqual({ code: 'SCHEMA_CHANGED', exit: 5 })
    expect(await rig.destination.query("select count(*) from children where note = 'n'")).toEqual([{ count: '20' }])
  } finally {
    await rig.close()
  }
})

test('a column that goes away at the source stops the run', async () => {
  const rig = await parentsRig(servers)
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query("alter table children drop column note; update children set amount = 5")
    const { code, exit } = await failureOf(running)
    expect({ code, exit }).toEqual({ code: 'SCHEMA_CHANGED', exit: 5 })
  } finally {
    await rig.close()
  }
})

test('prepared transactions are visible when they are committed, and not when rolled back', async () => {
  const rig = await parentsRig(servers)
  try {
    await withBridge(rig, async () => {
      const one = await client(rig.source.url)
      await one.query(`begin; insert into parents values (500, 'prepared'); prepare transaction 'a ${rig.source.name}'`)
      await one.query(`begin; insert into parents values (501, 'never'); prepare transaction 'b ${rig.source.name}'`)
      await rig.source.query("insert into parents values (502, 'between')")
      await sleep(200)
      expect(await rig.destination.query("select name from parents where name in ('prepared', 'never')")).toEqual([])
      await one.query(`commit prepared 'a ${rig.source.name}'`)
      await one.query(`rollback prepared 'b ${rig.source.name}'`)
      await one.end()
    })
    expect(await rig.destination.query("select name from parents where name in ('prepared', 'never', 'between') order by 1")).toEqual([{ name: 'between' }, { name: 'prepared' }])
  } finally {
    await rig.close()
  }
})

test('rows that came to the source from elsewhere, with an origin of their own, are carried like all others', async () => {
  const rig = await parentsRig(servers)
  const session = await client(rig.source.url)
  try {
    await withBridge(rig, async () => {
      await session.query(`select pg_replication_origin_create('${rig.source.name}'); select pg_replication_origin_session_setup('${rig.source.name}')`)
      await session.query("begin; select pg_replication_origin_xact_setup('0/123', now()); insert into parents values (500, 'from elsewhere'); insert into children values (500, 500, 1, 'too'); commit")
      await session.query("update parents set name = 'changed there' where id = 3; delete from children where id = 4")
    })
  } finally {
    await session.query(`select pg_replication_origin_session_reset(); select pg_replication_origin_drop('${rig.source.name}')`)
    await session.end()
    await rig.close()
  }
})

test('logical messages of others, and a transaction without changes, are passed over', async () => {
  const rig = await parentsRig(servers)
  try {
    await withBridge(rig, async () => {
      await rig.source.query("select pg_logical_emit_message(true, 'others', 'x'), pg_logical_emit_message(false, 'others', 'y')")
      await rig.source.query("begin; select pg_logical_emit_message(true, 'rekey', 'z'); insert into parents values (600, 'm'); commit")
      await rig.source.query('create table not_ours (i integer); insert into not_ours values (1)')
    })
  } finally {
    await rig.close()
  }
})

test('a chain of a hundred thousand rows that point at each other', async () => {
  const rig = await createRig({
    servers, sourceSql: 'create table chain (id bigint primary key, before_id bigint references chain); create index on chain (before_id)',
    destinationSql: 'create table chain (id text collate "C" primary key, before_id text collate "C" references chain); create index on chain (before_id)',
    mapping: 'application: chain\ncontexts: [{ name: all, tables: [chain] }]\nentities: { chain: { prefix: cha } }',
    config: 'snapshot: { rowsPerChunk: 10000 }',
  })
  try {
    await rig.source.query('insert into chain select i, nullif(i + 1, 50001) from generate_series(1, 50000) i')
    await withBridge(rig, async () => {
      await rig.source.query('insert into chain select i, i - 1 from generate_series(50001, 100000) i')
    })
  } finally {
    await rig.close()
  }
}, 90_000)
