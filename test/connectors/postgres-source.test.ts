import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openSource } from '../../connectors/postgres-source/source.ts'
import { createSlot, dropSlot, freeSlot, readSlot } from '../../connectors/postgres-source/slot.ts'
import { ensurePublication } from '../../connectors/postgres-source/publication.ts'
import { parseLsn, type Lsn } from '../../src/core/lsn.ts'
import { valuesOf } from '../../src/core/row.ts'
import { judgeSlot } from '../../src/core/slot-health.ts'
import type { Transaction } from '../../src/core/change.ts'
import type { Source } from '../../src/ports.ts'
import { client, createDatabase, type Database } from '../support/database.ts'
import { startPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/proxy.ts'
import { server } from '../support/servers.ts'

const T = { schema: 'public', table: 't' }
const tables = 'create table t (id int primary key, a text, big text, n numeric);'

describe.each([14, 18] as const)('PostgreSQL %i', async (major) => {
  const host = await server(major)
  let db: Database
  let slot: string
  let after: Lsn
  let stop: AbortController

  beforeEach(async () => {
    db = await createDatabase(host)
    slot = `s_${db.name}`
    stop = new AbortController()
    await db.query(tables)
    await ensurePublication(db.url, 'p', [T])
    const made = await createSlot(db.url, slot)
    after = made.after
    await made.close()
  })
  afterEach(async () => {
    stop.abort()
    await db.drop()
  })

  const open = (options: { url?: string; queueBytes?: number } = {}) =>
    openSource({ url: db.url, slot, publication: 'p', epoch: 1, ...options })
  const mark = (text: string) => db.query(`select pg_logical_emit_message(false, 'rekey', '${text}')`)

  /** Reads to the message 'end', which it sends first. */
  async function readAll(source: Source, from: Lsn = after): Promise<Transaction[]> {
    await mark('end')
    const out: Transaction[] = []
    for await (const some of source.stream(from, stop.signal)) {
      out.push(...some)
      if (some.some((t) => t.messages.includes('end'))) return out
    }
    return out
  }
  const changesOf = (all: readonly Transaction[]) => all.flatMap((t) => t.changes)

  it('brings what was committed, as text, in order', async () => {
    await db.query("insert into t values (1, E'tab\\t nl\\n bs\\\\ \\\\N', null, 1.10), (2, 'ü', repeat(md5('x'), 500), 'NaN')")
    await db.query("alter table t alter big set storage external; update t set a = 'b' where id = 1")
    await db.query("update t set big = (select string_agg(md5(i::text), '') from generate_series(1, 300) i) where id = 2")
    await db.query('update t set id = 20 where id = 2; delete from t where id = 1')
    await db.query('truncate t')
    await db.query("begin; insert into t values (5); savepoint s; insert into t values (6); rollback to s; insert into t values (7); commit")
    await db.query("begin; insert into t values (8); rollback")
    await db.query("begin; insert into t values (9); select pg_logical_emit_message(true, 'rekey', 'inside'); commit")
    const all = await readAll(open().source)
    const seen = changesOf(all).map((c) => [c.op, c.old && valuesOf(c.old)[0], c.row && valuesOf(c.row)[0]])
    expect(seen).toEqual([
      ['insert', null, '1'], ['insert', null, '2'], ['update', null, '1'], ['update', null, '2'], ['update', '2', '20'],
        ['delete', '1', null],
      ['truncate', null, null], ['insert', null, '5'], ['insert', null, '7'], ['insert', null, '9'],
    ])
    expect(valuesOf(changesOf(all)[0].row!)).toEqual(['1', 'tab\t nl\n bs\\ \\N', null, '1.10'])
    const [, , , , moved] = changesOf(all)
    expect(valuesOf(moved.row!)[2]).toBeUndefined()
    expect(all.flatMap((t) => t.messages)).toEqual(['inside', 'end'])
    const lsns = all.map((t) => t.commitLsn)
    expect(lsns.every((lsn, i) => i === 0 || lsn > lsns[i - 1])).toBe(true)
    expect(Math.abs(all[0].commitMicros / 1000 - Date.now())).toBeLessThan(60_000)
  })

  it('begins after the position it is given, and a slot begins where its snapshot ends', async () => {
    await db.query('insert into t values (1)')
    await db.query('insert into t values (2)')
    const first = await readAll(open().source)
    const second = await readAll(open().source, first.find((t) => t.changes.length > 0)!.commitLsn)
    expect(changesOf(second).map((c) => valuesOf(c.row!)[0])).toEqual(['2'])
  })

  it('gives a transaction of 200,000 rows out in fragments, in bounded memory', async () => {
    await db.query("insert into t select g, 'row ' || g, repeat('x', 100), g from generate_series(1, 200000) g")
    await mark('end')
    let rows = 0
    let fragments = 0
    let largest = 0
    loop: for await (const some of open({ queueBytes: 1 << 20 }).source.stream(after, stop.signal)) {
      for (const t of some) {
        if (t.messages.includes('end')) break loop
        if (t.changes.length === 0) continue
        expect(t.first).toBe(rows)
        for (const c of t.changes) if (valuesOf(c.row!)[0] !== String(++rows)) throw new Error(`row ${rows} is not in its place`)
        fragments++
        largest = Math.max(largest, t.bytes)
        expect(t.last).toBe(t.endLsn > 0n)
      }
      await sleep(1)
    }
    expect(rows).toBe(200_000)
    expect(fragments).toBeGreaterThanOrEqual(10)
    expect(largest).toBeLessThan(5 << 20)
  })

  it('confirms what it is told and nothing else', async () => {
    const { source } = open()
    const confirmed = async () => parseLsn((await db.query(
      `select confirmed_flush_lsn l from pg_replication_slots where slot_name = '${slot}'`))[0]['l']!)
    const before = await confirmed()
    await db.query('insert into t values (1)')
    await mark('end')
    const end: Lsn[] = []
    for await (const some of source.stream(after, stop.signal)) {
      for (const t of some) if (t.changes.length > 0) end.push(t.endLsn)
      if (end.length === 0) continue
      await sleep(300)
      expect(await confirmed()).toBe(before)
      source.confirm(end[0])
      source.confirm(1n)
      await expect.poll(confirmed).toBe(end[0])
      break
    }
    expect(await confirmed()).toBe(end[0])
    expect((await readSlot(db.url, slot)).slot?.activePid).toBeNull()
  })

  it('a slow consumer keeps its connection, and memory is bounded', async () => {
    await db.query(`alter database ${db.name} set wal_sender_timeout = '2s'`)
    for (let i = 0; i < 40; i++) await db.query(`insert into t select g, repeat('y', 1000) from generate_series(${i * 1000}, ${i * 1000 + 999}) g`)
    await mark('end')
    let rows = 0
    let most = 0
    let waits = 0
    loop: for await (const some of open({ queueBytes: 4 << 20 }).source.stream(after, stop.signal)) {
      let bytes = 0
      for (const t of some) {
        rows += t.changes.length
        bytes += t.bytes
        if (t.messages.includes('end')) break loop
      }
      most = Math.max(most, bytes)
      if (waits++ === 0) await sleep(7_000)
    }
    expect(rows).toBe(40_000)
    expect(most).toBeLessThan(9 << 20)
  })

  it('an idle slot follows the server when nothing is left', async () => {
    await db.query(`alter database ${db.name} set wal_sender_timeout = '1s'`)
    await db.query('create table other (id int); insert into other select generate_series(1, 1000)')
    const target = parseLsn((await db.query('select pg_current_wal_lsn() l'))[0]['l']!)
    const { source } = open()
    for await (const some of source.stream(after, stop.signal)) {
      expect(changesOf(some)).toEqual([])
      source.confirm(some.at(-1)!.endLsn)
      if (some.at(-1)!.endLsn >= target) break
    }
    const state = await readSlot(db.url, slot)
    expect(state.slot!.confirmedLsn! >= target).toBe(true)
  })

  it('a lost connection is REMOTE; a frozen one is noticed', async () => {
    const proxy = await startProxy(host)
    try {
      const { source } = open({ url: proxy.through(db.url) })
      await db.query('insert into t values (1)')
      const reading = (async () => {
        for await (const some of source.stream(after, stop.signal)) if (changesOf(some).length > 0) proxy.cut()
      })()
      await expect(reading).rejects.toMatchObject({ code: 'REMOTE' })
      await db.query(`alter database ${db.name} set wal_sender_timeout = '1s'`)
      await freeSlot(db.url, slot)
      const frozen = (async () => {
        for await (const some of source.stream(after, stop.signal)) if (changesOf(some).length > 0) proxy.freeze()
      })()
      await expect(frozen).rejects.toMatchObject({ code: 'REMOTE', message: 'the source has gone silent' })
    } finally {
      await proxy.close()
    }
  })

  it('a second reader, a takeover, a missing slot and a missing publication', async () => {
    const first = open().source.stream(after, stop.signal)[Symbol.asyncIterator]()
    await mark('one')
    await first.next()
    const second = open().source.stream(after, stop.signal)[Symbol.asyncIterator]()
    await expect(second.next()).rejects.toMatchObject({ code: 'SLOT_IN_USE', sqlstate: '55006' })
    expect((await readSlot(db.url, slot)).slot).toMatchObject({ activeIsOurs: true, activePid: expect.any(Number) })
    await freeSlot(db.url, slot)
    await expect((async () => { for (;;) if ((await first.next()).done) return })()).rejects.toMatchObject({ code: 'REMOTE' })
    const third = open().source.stream(after, stop.signal)[Symbol.asyncIterator]()
    await third.next()
    await db.query('drop publication p; insert into t values (1)')
    await expect((async () => { for (;;) if ((await third.next()).done) return })()).rejects.toMatchObject({ code: 'PUBLICATION' })
    await expect(readAll(open().source)).rejects.toMatchObject({ code: 'PUBLICATION' })
    await dropSlot(db.url, slot)
    await dropSlot(db.url, slot)
    await expect(readAll(open().source)).rejects.toMatchObject({ code: 'SLOT_MISSING' })
  })

  it('judges the slot as the server shows it', async () => {
    const { systemId, timeline } = await readSlot(db.url, slot)
    const memory = { endLsn: after + 1n, sourceSystem: systemId, sourceTimeline: timeline, database: db.name }
    const judge = async () => judgeSlot(await readSlot(db.url, slot), memory).state
    expect(await judge()).toBe('ok')
    await db.query('insert into t values (1)')
    await db.query(`select pg_replication_slot_advance('${slot}', pg_current_wal_lsn())`)
    expect(['ahead', 'recreated']).toContain(await judge())
    await dropSlot(db.url, slot)
    expect(await judge()).toBe('missing')
    await db.query("insert into t values (2); select pg_switch_wal()")
    await (await createSlot(db.url, slot)).close()
    expect(await judge()).toBe('recreated')
  })

  it('names the transactions that a new slot waits for', async () => {
    const other = await client(db.url)
    await other.query('begin; insert into t values (1)')
    const pid = (await other.query('select pg_backend_pid() as pid')).rows[0].pid as number | string
    await expect(createSlot(db.url, `${slot}_b`, { lockTimeout: '300ms' }))
      .rejects.toMatchObject({ code: 'SLOT_CREATE', message: expect.stringContaining(`process ${pid}`) })
    expect((await readSlot(db.url, `${slot}_b`)).slot).toBeNull()
    await other.query('rollback')
    await other.end()
  })

  it('an abort ends the stream and frees the slot', async () => {
    const stream = open().source.stream(after, stop.signal)
    setTimeout(() => stop.abort(), 300)
    for await (const some of stream) expect(changesOf(some)).toEqual([])
    expect((await readSlot(db.url, slot)).slot?.activePid).toBeNull()
  })
})

it('a server shuts down although its stream is open and idle', async () => {
  const host = await startPostgres({ major: 15 })
  const stop = new AbortController()
  try {
    const db = await createDatabase(host)
    await db.query(tables)
    await ensurePublication(db.url, 'p', [T])
    const { after, close } = await createSlot(db.url, 's')
    await close()
    const { source } = openSource({ url: db.url, slot: 's', publication: 'p', epoch: 1 })
    const reading = (async () => {
      for await (const some of source.stream(after, stop.signal)) source.confirm(some.at(-1)!.endLsn)
    })()
    const ended = expect(reading).rejects.toMatchObject({ code: 'REMOTE' })
    await db.query('create table other (id int); insert into other select generate_series(1, 1000)')
    await sleep(300)
    const began = performance.now()
    await host.stop()
    expect(performance.now() - began).toBeLessThan(30_000)
    await ended
  } finally {
    stop.abort()
    await host.stop()
  }
})
