import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
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
async function restarted(rig: Rig, accident: () => Promise<unknown>): Promise<{ code: string; exit: number; message: string }> {
  const running = rig.start()
  await rig.caughtUp(running)
  await running.stop()
  await rig.source.query("update parents set name = 'missed'")
  await accident()
  const { code, exit, message } = await failureOf(rig.start())
  return { code, exit, message }
}

test('a slot that was dropped is named, and not made anew', async () => {
  const rig = await parentsRig(servers)
  try {
    expect(await restarted(rig,
      () => rig.source.query(`select pg_drop_replication_slot('${slotOf(rig)}')`))).toMatchObject({ code: 'SLOT_MISSING', exit: 5 })
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
    expect(await restarted(rig, again)).toMatchObject({ code: 'SLOT_RECREATED', exit: 5 })
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
    expect(await restarted(rig, flood)).toMatchObject({ code: 'SLOT_LOST', exit: 5 })
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

test.each([
  ['loses a table', (name: string) => `alter publication ${name} drop table children`, (name: string) => `alter publication ${name} add table only children`,
    'public.children was taken out and added again, or made anew'],
  ['goes', (name: string) => `drop publication ${name}`,
    (name: string) => `create publication ${name} for table only children, only parents with (publish_via_partition_root = true)`,
    'public.parents, public.children was taken out and added again, or made anew'],
  ['filters rows', (name: string) => `alter publication ${name} set table only children where (id > 5), only parents`, null,
    'it filters public.children; public.children was taken out and added again, or made anew'],
])('a publication that %s under a running bridge stops it, and what was missed is not forgotten', async (_, sql, mend, said) => {
  const rig = await parentsRig(servers)
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(sql(slotOf(rig)))
    await rig.source.query('update children set amount = amount + 1')
    expect((await failureOf(running)).code).toBe('PUBLICATION')
    if (mend) await rig.source.query(mend(slotOf(rig)))
    for (let i = 0; i < 2; i++) {
      const { code, exit, message } = await failureOf(rig.start())
      expect({ code, exit, message }).toEqual({ code: 'PUBLICATION', exit: 5, message: `publication ${slotOf(rig)}: ${said}` })
    }
  } finally {
    await rig.close()
  }
})

test('a table that was dropped and made anew under its name is another one', async () => {
  const rig = await parentsRig(servers)
  try {
    expect(await restarted(rig, () => rig.source.query(`drop table children;
      create table children (id bigint primary key, parent_id bigint not null references parents on delete cascade, amount integer, note text);
      alter publication ${slotOf(rig)} add table only children; insert into children values (1, 1, 1, 'anew')`))).toMatchObject({ code: 'PUBLICATION', exit: 5 })
  } finally {
    await rig.close()
  }
})

test('a slot that the server gave up because nobody read it', async () => {
  const idle = await startPostgres({ major: 18, settings: { idle_replication_slot_timeout: '1s' } })
  const rig = await parentsRig({ source: idle, destination: servers.destination })
  try {
    const given = async (): Promise<void> => {
      await sleep(2_000)
      await rig.source.query('checkpoint')
    }
    const { code, exit, message } = await restarted(rig, given)
    expect({ code, exit }).toEqual({ code: 'SLOT_LOST', exit: 5 })
    expect(message).toContain('idle_timeout')
  } finally {
    await rig.close()
    await idle.stop()
  }
})

test('a source that was recovered onto another timeline is another history', async () => {
  const source = await startPostgres({ major: 17 })
  const rig = await parentsRig({ source, destination: servers.destination })
  try {
    const recovered = async (): Promise<void> => {
      await source.stop({ keep: true })
      await writeFile(join(source.dataDir, 'recovery.signal'), '')
      await source.restart({ restore_command: 'false', recovery_target_action: 'promote' })
      for (const end = Date.now() + 20_000; (await rig.source.query('select pg_is_in_recovery()::text as still'))[0].still === 'true' && Date.now() < end;) await sleep(50)
    }
    expect(await restarted(rig, recovered)).toMatchObject({ code: 'TIMELINE', exit: 5 })
  } finally {
    await rig.close()
    await source.stop()
  }
})

test.each([
  ['rows', 'for table only parents, only children where (id > 5)', 'alter publication %s set table only parents, only children where (id > 5)'],
  ['columns', 'for table only parents, only children (id, parent_id)', 'alter publication %s set table only parents, only children (id, parent_id)'],
])('a publication that leaves out %s is refused, before a run and while it is stopped', async (_, made, altered) => {
  const rig = await parentsRig(servers)
  try {
    const name = slotOf(rig)
    await rig.source.query(`create publication ${name} ${made} with (publish_via_partition_root = true)`)
    expect(await failureOf(rig.start())).toMatchObject({ code: 'PUBLICATION', exit: 5, message: `publication ${name} differs: it filters public.children` })
    expect(await rig.source.query(`select from pg_replication_slots where slot_name = '${name}'`)).toEqual([])
    await rig.source.query(`drop publication ${name}`)
    const { code, message } = await restarted(rig, () => rig.source.query(altered.replace('%s', name)))
    expect({ code, message }).toMatchObject({ code: 'PUBLICATION', message: expect.stringContaining('it filters public.children') as string })
  } finally {
    await rig.close()
  }
})

test('a publication that was changed is noticed', async () => {
  const rig = await parentsRig(servers)
  try {
    expect(await restarted(rig,
      () => rig.source.query(`alter publication ${slotOf(rig)} drop table children`))).toMatchObject({ code: 'PUBLICATION', exit: 5 })
  } finally {
    await rig.close()
  }
})
