import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { objectState } from '../../connectors/postgres-destination/object-state.ts'
import { openSession } from '../../connectors/postgres/session.ts'
import { operate, planRun } from '../../src/pipeline/operate.ts'
import { content, target } from '../support/objects.ts'
import { createObjectRig, type ObjectRig, type ObjectRigOptions } from '../support/object-rig.ts'
import type { Running } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 16, destination: 16 })
let rig: ObjectRig | null = null
const started: Running[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.stop().catch(() => {})))
  await rig?.close()
  rig = null
})
const make = async (options: Omit<ObjectRigOptions, 'servers'> = {}): Promise<ObjectRig> => {
  rig = await createObjectRig({ servers, ...options })
  await rig.source.query("insert into users values (1, 'a@lab.test'), (2, 'b@lab.test'); insert into projects values (7, 1, 'p'), (8, 1, 'q')")
  return rig
}
const start = (at: ObjectRig, ...more: Parameters<ObjectRig['start']>): Running => {
  const running = at.start(...more)
  started.push(running)
  return running
}
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const add = async (at: ObjectRig, ...keys: string[]): Promise<void> => {
  for (const key of keys) await at.put(key, `text of ${key}`)
  await at.source.query('insert into files select k, 7, $2 from unnest($1::text[]) k', [keys, 'v1'])
}
const SWEEP: ObjectRigOptions['mapping'] = (m) => ({ ...m, objects: { main: { ...m.objects.main, sweep: [''] } } })
const notesNameObjects: ObjectRigOptions['mapping'] = (m) =>
  ({ ...m, tables: { ...m.tables, notes: { columns: { body: { object: 'main' } }, objects: [{ store: 'main', key: 'body' }] } } })

describe('an object', () => {
  test('that is deleted while it is copied goes; one that is deleted and made anew stays, as it is now', async () => {
    const at = await make()
    await add(at, '7/goes', '7/stays')
    let copied = 0
    const running = start(at, {
      async point(name) {
        if (name !== 'obj.copied' || copied++ > 0) return
        await at.from.remove('7/goes', (await at.from.head({ key: '7/goes', version: null }))!.etag)
        await at.put('7/stays', 'made anew')
        await at.source.query("delete from files where path = '7/goes'; delete from files where path = '7/stays'; insert into files values ('7/stays', 7, 'v2')")
        // Long enough for the rows to pass while this copy is still under way.
        await wait(2_000)
      },
    })
    await at.caughtUp(running)
    await expect.poll(() => at.jobs()).toEqual(['7/goes gone', '7/stays verified'])
    const [{ path }] = await at.destination.query('select path from files')
    expect(await at.text(path!)).toBe('made anew')
    expect(await at.text(path!.replace('stays', 'goes'))).toBeNull()
  })

  test('never takes the key of another one: the second is told and waits', async () => {
    const at = await make({ mapping: (m) => ({ ...notesNameObjects(m), tables: { ...(notesNameObjects(m) as typeof m).tables,
      projects: { pinned: { 7: 'prj_one', 8: 'prj_one', 9: 'prj_one' } } } }) })
    await at.destination.query("insert into users values ('usr_x', 'x@lab.test'); insert into projects values ('prj_one', 'usr_x', 'theirs')")
    await add(at, '7/a')
    await at.put('8/a', 'another')
    await at.put('8/only', 'one of a kind')
    await at.source.query("insert into notes values (1, '7/a', '8/a'), (2, '7/a', '8/only'), (3, '7/a', '8/only')")
    const planned = () => operate(at.config, (operated) => planRun(operated, { samples: 5, onBlock: () => {} }))
    expect((await planned()).objects!.faults.CONFLICT).toEqual({ objects: 1, samples: ['7/a', '8/a'] })
    const running = start(at)
    await at.caughtUp(running)
    await at.settled(running)
    expect(await at.jobs()).toEqual(['7/a verified', '8/a parked CONFLICT', '8/only verified'])
    expect(await at.text('prj_one/a')).toBe('text of 7/a')
    // What was copied before counts, too.
    await running.stop()
    await at.source.query("delete from notes; update files set link = true; insert into projects values (9, 1, 'r'); insert into notes values (4, '7/a', '9/a')")
    expect((await planned()).objects!.faults.CONFLICT).toEqual({ objects: 1, samples: ['9/a'] })
  })

  test('whose key another transaction is taking at the same time waits for that one, is parked, and stops nobody', async () => {
    const at = await make()
    await add(at, '7/before')
    const running = start(at)
    await at.caughtUp(running)
    await at.settled(running)
    const other = await openSession(at.destination.url, 'destination')
    await other.query('begin')
    await other.query(`insert into rekey.object (pipeline, kind, src_store, src_key, dst_store, dst_key, row_lsn, state)
      values ($1, 'object', 'main', 'of another', 'main', 'shared/x', '0/0', 'verified')`, [at.config.pipeline])
    await at.put('shared/x', 'x')
    await at.put('7/after', 'after')
    await at.source.query("insert into files values ('shared/x', 7, 'v1')")
    const waits = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    await expect.poll(() => at.destination.query(waits)).toHaveLength(1)
    await other.query('commit')
    await other.close()
    await at.source.query("insert into files values ('7/after', 7, 'v1')")
    await at.caughtUp(running)
    await at.settled(running)
    expect(await at.jobs()).toEqual(['7/after verified', '7/before verified', 'of another verified', 'shared/x parked CONFLICT'])
    expect(await at.destination.query("select 1 from files where path = 'shared/x'")).toHaveLength(1)
    expect(await at.differences()).toEqual([])
  })

  test('whose listing is taking the key of another at the same time is put back, and then parked', async () => {
    const at = await make({ mapping: SWEEP, objects: ', sweep: 1s' })
    await add(at, '7/a')
    const running = start(at)
    await at.caughtUp(running)
    await expect.poll(() => at.jobs()).toEqual(['7/a verified'])
    const other = await openSession(at.destination.url, 'destination')
    await other.query('begin')
    await other.query(`insert into rekey.object (pipeline, kind, src_store, src_key, dst_store, dst_key, row_lsn, state)
      values ($1, 'object', 'main', 'of another', 'main', 'shared/y', '0/0', 'verified')`, [at.config.pipeline])
    await at.put('shared/y', 'y')
    // Whoever prolongs the lease of the listing's job may wait for it in turn.
    const waits = `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like 'with mine as%'`
    await expect.poll(() => at.destination.query(waits)).toHaveLength(1)
    await other.query('commit')
    await other.close()
    await expect.poll(() => at.jobs()).toEqual(['7/a verified', 'of another verified', 'shared/y parked CONFLICT'])
  })

  test('below a directory that is empty, or was not listed yet: it is asked again, and what comes later goes with the next change', async () => {
    const at = await make()
    const running = start(at)
    await at.caughtUp(running)
    // So that there is time between the first listing and the next one.
    await at.destination.query(`create function later() returns trigger language plpgsql as
      'begin new.not_before := clock_timestamp() + interval ''3 seconds''; return new; end'`)
    await at.destination.query(`create trigger later before update on rekey.object for each row when (new.error = 'EMPTY' and new.src_key = '7/dir')
      execute function later()`)
    await at.source.query("insert into files values ('7/dir', 7, 'v1', null, false, true), ('7/never', 7, 'v1', null, false, true)")
    await at.caughtUp(running)
    await expect.poll(() => at.jobs()).toContain('7/dir wanted EMPTY')
    await at.put('7/dir/late', 'late')
    await at.settled(running)
    expect(await at.jobs()).toEqual(['7/dir verified', '7/dir/late verified', '7/never verified'])
    await at.put('7/never/now', 'now')
    await at.source.query("update files set etag = 'v2' where path like '7/never'")
    await at.caughtUp(running)
    await expect.poll(() => at.jobs()).toContain('7/never/now verified')
  })

  test('whose key holds no id, or one that nobody has, is parked and not guessed; what only looks like one, too', async () => {
    const at = await make({ mapping: SWEEP, objects: ', sweep: 1s' })
    await add(at, 'exports/99/a', 'nobody/b', '7/fine')
    await at.put('424242/noise', 'not a project')
    await at.put('loose', 'matches no template')
    await at.put('8/found', 'no row, but a project')
    const running = start(at)
    await at.caughtUp(running)
    await expect.poll(() => at.jobs()).toEqual([
      '424242/noise parked UNRESOLVED', '7/fine verified', '8/found verified', 'exports/99/a parked UNRESOLVED', 'loose parked UNMATCHED',
        'nobody/b parked UNRESOLVED'])
    await at.source.query("insert into projects values (424242, 2, 'now it is one')")
    await expect.poll(() => at.jobs()).toContain('424242/noise verified')
  })

  test('that changes without a word of its row is found by the sweep, and so is one that came late', async () => {
    const at = await make({ mapping: SWEEP, objects: ', sweep: 1s' })
    await add(at, '7/a')
    await at.source.query("insert into files values ('7/late', 7, 'v1')")
    const running = start(at)
    await at.caughtUp(running)
    await expect.poll(() => at.jobs()).toEqual(['7/a verified', '7/late parked OBJECT_MISSING'])
    await at.put('7/a', 'changed')
    await at.put('7/late', 'here')
    const [{ path }] = await at.destination.query("select path from files where path like '%/a'")
    await expect.poll(() => at.text(path!)).toBe('changed')
    await expect.poll(() => at.jobs()).toEqual(['7/a verified', '7/late verified'])
  })

  test('is never removed because a listing failed or was empty', async () => {
    const at = await make({ mapping: SWEEP, objects: ', sweep: 1s' })
    await add(at, '7/a', '7/dir/b')
    await at.put('8/own', 'no row')
    await at.source.query("insert into files values ('7/dir', 7, 'v1', null, false, true)")
    const running = start(at)
    await at.caughtUp(running)
    const all = ['7/a verified', '7/dir verified', '7/dir/b verified', '8/own verified']
    await expect.poll(() => at.jobs()).toEqual(all)
    await rename(join(at.folder, 'source'), join(at.folder, 'away'))
    await at.source.query("update files set etag = 'v2' where folder")
    await wait(4_000)
    const now = await at.destination.query("select count(*)::text n from rekey.object where state in ('tombstone', 'gone')")
    expect(now).toEqual([{ n: '0' }])
    for (const { dst_key: key } of await at.destination.query("select dst_key from rekey.object where kind = 'object'")) expect(await at.text(key!)).not.toBeNull()
    await rename(join(at.folder, 'away'), join(at.folder, 'source'))
    await expect.poll(() => at.jobs()).toEqual(all)
  })

  test('is not removed with too many others unless somebody agrees; one that others have changed is left', async () => {
    const at = await make()
    const keys = Array.from({ length: 60 }, (_, i) => `7/f${i}`)
    await add(at, ...keys)
    const running = start(at)
    await at.caughtUp(running)
    await at.settled(running)
    const [{ dst_key: changed }] = await at.destination.query("select dst_key from rekey.object where src_key = '7/f3'")
    const theirs = (await at.to.head({ key: changed!, version: null }))!
    await at.to.remove(changed!, theirs.etag)
    await at.to.put(target(changed!), content(Buffer.from('theirs')))
    await at.source.query('delete from files')
    await at.caughtUp(running)
    await wait(3_000)
    expect((await at.jobs()).filter((job) => !job.endsWith(' tombstone'))).toEqual([])
    const session = await openSession(at.destination.url, 'destination')
    expect(await objectState(session.query, at.config.pipeline).approve()).toBe(60)
    await session.close()
    await expect.poll(async () => (await at.jobs()).filter((job) => job.endsWith(' gone')).length).toBe(59)
    await expect.poll(() => at.jobs()).toContain('7/f3 gone OBJECT_CHANGED')
    expect(await at.text(changed!)).toBe('theirs')
  })
})
