import { afterAll, expect, test } from 'vitest'
import { failureOf, parentsRig } from '../support/accident.ts'
import { startPostgres } from '../support/postgres.ts'
import type { Rig } from '../support/rig.ts'
import { pair, server } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })
const small = await startPostgres({ major: 17, settings: { max_slot_wal_keep_size: '16MB', max_wal_size: '32MB', wal_level: 'logical' } })
afterAll(() => small.stop())

const slotOf = (rig: Rig): string => `rekey_${rig.config.pipeline}`

/** Catches up, stops, lets something happen to the slot, and starts again. */
async function restarted(rig: Rig, accident: () => Promise<unknown>): Promise<{ code: string; exit: number }> {
  const running = rig.start()
  await rig.caughtUp(running)
  await running.stop()
  await rig.source.query("update parents set name = 'missed'")
  await accident()
  const { code, exit } = await failureOf(rig.start())
  return { code, exit }
}

test('a slot that was dropped is named, and not made anew', async () => {
  const rig = await parentsRig(servers)
  try {
    expect(await restarted(rig,
      () => rig.source.query(`select pg_drop_replication_slot('${slotOf(rig)}')`))).toEqual({ code: 'SLOT_MISSING', exit: 5 })
    expect(await rig.source.query(`select 1 from pg_replication_slots where slot_name = '${slotOf(rig)}'`)).toEqual([])
  } finally {
    await rig.close()
  }
})

test('a slot that was made anew under the same name has a gap, which is noticed', async () => {
  const rig = await parentsRig(servers)
  try {
    const again = (): Promise<unknown> => rig.source.query(
      `select pg_drop_replication_slot('${slotOf(rig)}'); select pg_create_logical_replication_slot('${slotOf(rig)}', 'pgoutput')`)
    expect(await restarted(rig, again)).toEqual({ code: 'SLOT_RECREATED', exit: 5 })
  } finally {
    await rig.close()
  }
})

test('a slot that somebody moved on is noticed', async () => {
  const rig = await parentsRig(servers)
  try {
    const moved = (): Promise<unknown> => rig.source.query(`select pg_replication_slot_advance('${slotOf(rig)}', pg_current_wal_lsn())`)
    expect((await restarted(rig, moved)).code).toMatch(/^SLOT_(AHEAD|RECREATED)$/)
  } finally {
    await rig.close()
  }
})

test('a slot whose WAL the server gave up is lost: at the start', async () => {
  const rig = await parentsRig({ source: small, destination: await server(18, 'destination') })
  try {
    const flood = async (): Promise<void> => {
      await rig.source.query('create schema elsewhere; create table elsewhere.flood (t text)')
      for (let i = 0; i < 4; i++) await rig.source.query("insert into elsewhere.flood select repeat('x', 1000) from generate_series(1, 20000)")
      await rig.source.query('select pg_switch_wal()')
      await rig.source.query('checkpoint')
      await rig.source.query("insert into elsewhere.flood select repeat('x', 1000) from generate_series(1, 20000)")
      await rig.source.query('select pg_switch_wal()')
      await rig.source.query('checkpoint')
      await rig.source.query('drop schema elsewhere cascade')
    }
    expect(await restarted(rig, flood)).toEqual({ code: 'SLOT_LOST', exit: 5 })
  } finally {
    await rig.close()
  }
})

test('a slot that is dropped under a running bridge stops it', async () => {
  const rig = await parentsRig(servers)
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '${slotOf(rig)}'`)
    for (let gone = false; !gone;) {
      gone = await rig.source.query(`select pg_drop_replication_slot('${slotOf(rig)}')`).then(() => true, () => false)
      if (!gone) await rig.source.query(`select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '${slotOf(rig)}'`)
    }
    const { code, exit } = await failureOf(running)
    expect({ code, exit }).toEqual({ code: 'SLOT_MISSING', exit: 5 })
  } finally {
    await rig.close()
  }
})

test('a publication that was changed is noticed', async () => {
  const rig = await parentsRig(servers)
  try {
    expect(await restarted(rig,
      () => rig.source.query(`alter publication ${slotOf(rig)} drop table children`))).toEqual({ code: 'PUBLICATION', exit: 5 })
  } finally {
    await rig.close()
  }
})
