import { afterEach, describe, expect, test } from 'vitest'
import { startChild, type Child } from '../support/child.ts'
import { drained } from '../support/drained.ts'
import { createObjectRig, type ObjectRig, type ObjectRigOptions } from '../support/object-rig.ts'
import { random } from '../support/random.ts'
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
const make = async (options: Omit<ObjectRigOptions, 'servers'> = {}): Promise<ObjectRig> => (rig = await createObjectRig({ servers,
  ...options }))
const start = (at: ObjectRig, ...more: Parameters<ObjectRig['start']>): Running => {
  const running = at.start(...more)
  started.push(running)
  return running
}
const both = async (at: ObjectRig, running: Running): Promise<void> => {
  await at.caughtUp(running)
  await at.settled(running)
}
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const BASE = "insert into users values (1, 'a@lab.test'), (2, 'b@lab.test'); insert into projects values (7, 1, 'p')"

describe('objects', () => {
  test('go with their rows: copied, changed, removed', async () => {
    const at = await make()
    await at.source.query(BASE)
    await at.destination.query("insert into users values ('usr_b_there', 'b@lab.test')")
    await at.put('7/a b/é%2F+.txt', 'first')
    await at.put('exports/2/x.zip', 'zip')
    await at.source.query("insert into files values ('7/a b/é%2F+.txt', 7, 'e1', 5, false), ('exports/2/x.zip', 7, 'e2', 3, false), ('7/link', 7, null, null, true)")
    const running = start(at)
    await both(at, running)
    expect(await at.jobs()).toEqual(['7/a b/é%2F+.txt verified', 'exports/2/x.zip verified'])
    const [{ path, project_id: project }] = await at.destination.query("select path, project_id from files where path like 'prj%é%'")
    expect(path).toBe(`${project}/a b/é%2F+.txt`)
    expect(await at.text(path!)).toBe('first')
    expect(await at.text('exports/usr_b_there/x.zip')).toBe('zip')

    await at.put('7/a b/é%2F+.txt', 'second')
    await at.source.query("update files set etag = 'e3' where path like '7/a%'")
    await both(at, running)
    expect(await at.text(path!)).toBe('second')

    await at.source.query("delete from files where path like 'exports%'")
    await at.caughtUp(running)
    await expect.poll(() => at.jobs()).toEqual(['7/a b/é%2F+.txt verified', 'exports/2/x.zip gone'])
    expect(await at.text('exports/usr_b_there/x.zip')).toBeNull()
    expect(await at.differences()).toEqual([])
    await expect.poll(() => running.latest()!.objects).toMatchObject({ done: 1, waiting: 0, parked: 0, leaving: 0,
      etaSeconds: 0 })
  })

  test('below a directory go with its row, also what comes later, and what has no row of its own', async () => {
    const at = await make()
    await at.source.query(BASE)
    for (const name of ['a', 'b/c', 'b//d']) await at.put(`7/dir/${name}`, name)
    await at.put('7/dirt', 'not in it')
    await at.source.query("insert into files values ('7/dir', 7, 'v1', null, false, true)")
    const running = start(at)
    await both(at, running)
    expect(await at.jobs()).toEqual(['7/dir verified', '7/dir/a verified', '7/dir/b//d verified', '7/dir/b/c verified'])
    const [{ path }] = await at.destination.query('select path from files')
    expect(await at.text(`${path}/b//d`)).toBe('b//d')
    await at.put('7/dir/new', 'new')
    await at.put('7/dir/a', 'changed')
    await at.source.query("update files set etag = 'v2'")
    await both(at, running)
    expect([await at.text(`${path}/new`), await at.text(`${path}/a`)]).toEqual(['new', 'changed'])
    await at.source.query('delete from files')
    await at.caughtUp(running)
    await expect.poll(() => at.jobs()).toEqual(['7/dir gone', ...['a', 'b//d', 'b/c',
      'new'].map((name) => `7/dir/${name} gone`)])
    expect(await at.text(`${path}/a`)).toBeNull()
  })

  test('two rows that name one object: it stays until both are gone', async () => {
    const at = await make({ mapping: (m) => ({ ...m, tables: { ...m.tables, notes: { columns: { body: { object: 'main' } },
      objects: [{ store: 'main', key: 'body' }] } } }) })
    await at.source.query(BASE)
    await at.put('7/a', 'A')
    await at.source.query("insert into files values ('7/a', 7, null, null, false), ('7/b', 7, null, null, true); insert into notes values (1, '7/b', '7/a')")
    const running = start(at)
    await both(at, running)
    await at.source.query("delete from files where path = '7/a'")
    await at.caughtUp(running)
    await wait(1_200)
    expect(await at.jobs()).toEqual(['7/a verified'])
    await at.source.query('delete from notes')
    await at.caughtUp(running)
    await expect.poll(() => at.jobs()).toEqual(['7/a gone'])
  })

  test('before: nobody ever sees a row without its object, and what depends on the row comes behind it', async () => {
    const before = (m: Parameters<NonNullable<ObjectRigOptions['mapping']>>[0]): object => {
      const files = m.tables.files as { objects: object[] }
      return { ...m, tables: { ...m.tables, files: { ...files, objects: files.objects.map((one) => ({ ...one, when: 'before' })) } } }
    }
    const at = await make({ mapping: before, config: 'batch: { rows: 20 }\nsnapshot: { rowsPerChunk: 100 }' })
    await at.source.query(BASE)
    const add = async (n: number): Promise<void> => {
      await at.put(`7/f${n}`, `text ${n}`)
      await at.source.query(`insert into files values ('7/f${n}', 7, 'e', 1); insert into notes values (${n}, '7/f${n}', 'note')`)
    }
    for (let n = 0; n < 40; n++) await add(n)
    const running = start(at, { point: async (name) => (name === 'obj.copied' ? wait(20) : undefined) })
    let looking = true
    const torn: string[] = []
    let seen = 0
    const looks = (async () => {
      for (; looking; await wait(5)) {
        for (const { path } of await at.destination.query('select path from files')) {
          seen++
          if ((await at.to.head({ key: path!, version: null })) === null) torn.push(path!)
        }
      }
    })()
    try {
      await expect.poll(() => running.latest()?.phase).toBe('stream')
      for (let n = 40; n < 80; n++) await add(n)
      // Comes and goes while its object is not there at all.
      await at.source.query("insert into files values ('7/never', 7, 'e', 1)")
      await at.source.query("insert into notes values (900, '7/never', 'x')")
      await wait(300)
      await at.source.query("delete from files where path = '7/never'")
      await at.caughtUp(running)
      await expect.poll(async () => (await at.destination.query("select 1 from rekey.parked where state in ('waiting', 'retry')")).length).toBe(0)
    } finally {
      looking = false
      await looks
    }
    expect(torn).toEqual([])
    expect(seen).toBeGreaterThan(50)
    expect(await at.destination.query('select count(*)::text n from notes')).toEqual([{ n: '80' }])
    expect(await at.differences()).toEqual([])
    // What a run tells of itself lags behind what it has committed.
    const parked = () => Object.values(running.latest()!.totals).reduce((sum, t) => sum + t.parked, 0)
    await expect.poll(parked).toBe(0)
    for (const t of Object.values(running.latest()!.totals)) {
      expect(t.read).toBe(t.inserted + t.updated + t.merged + t.deleted + t.parked + Object.values(t.skipped).reduce((a, b) => a + b, 0))
    }
  })

  test('random work, kills at every place, several processes at once: every object is there in the end', async () => {
    const at = await make({ config: 'snapshot: { rowsPerChunk: 100 }\nbatch: { rows: 20 }', objects: ', workers: 4' })
    const chance = random()
    await at.source.query("insert into users select i, 'u' || i || '@lab.test' from generate_series(1, 20) i; insert into projects select i, 1 + i % 20, 'p' from generate_series(1, 20) i")
    await at.destination.query("insert into users values ('usr_five', 'u5@lab.test')")
    const live = new Set<string>()
    const act = async (): Promise<void> => {
      const key = chance.chance(0.3) ? `exports/${chance.int(1, 20)}/f${chance.int(1, 99)}` : `${chance.int(1, 20)}/f${chance.int(1, 99)}`
      if (!live.has(key)) {
        const etag = await at.put(key, `${key} ${chance.int(0, 1e9)}`)
        await at.source.query('insert into files values ($1, $2, $3, 1)', [key, chance.int(1, 20), etag])
        live.add(key)
      } else if (chance.chance(0.5)) {
        await at.source.query('update files set etag = $2 where path = $1', [key, await at.put(key, `again ${chance.int(0, 1e9)}`)])
      } else {
        await at.source.query('delete from files where path = $1', [key])
        live.delete(key)
      }
    }
    for (let i = 0; i < 150; i++) await act()
    const stop = new AbortController()
    const busy = (async () => {
      // So many objects, however long processes take to start: each is copied, and looked at in the end.
      for (; !stop.signal.aborted; await wait(25)) await act()
    })()
    const places = ['snap.chunk_written=kill@2', 'obj.copied=kill@5', 'obj.recorded=kill@3']
    for (const failpoints of places) {
      const child = startChild(at.config, { failpoints })
      expect([failpoints, await child.ended]).toEqual([failpoints, { code: null, signal: 'SIGKILL' }])
    }
    const children: Child[] = [startChild(at.config), startChild(at.config, { role: 'mirror' })]
    await wait(2_000)
    stop.abort()
    await busy
    await drained(at, { seconds: 60 })
    await at.settled()
    for (const child of children) child.kill('SIGTERM')
    for (const child of children) expect(await child.ended).toEqual({ code: 0, signal: null })
    expect(await at.wrong()).toEqual([])
    expect((await at.jobs()).filter((job) => /parked/.test(job))).toEqual([])
    expect(new Set((await at.jobs()).filter((job) => job.endsWith(' verified')).map((job) => job.slice(0,
      -' verified'.length)))).toEqual(live)
    expect(await at.differences()).toEqual([])
  }, 120_000)
})
