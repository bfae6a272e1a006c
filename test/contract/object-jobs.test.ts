import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openSession } from '../../connectors/postgres/session.ts'
import { objectJobs, areVerified } from '../../connectors/postgres-destination/object-jobs.ts'
import type { RowObjects } from '../../src/core/objects/named.ts'
import { jobTotals, type JobResult, type ObjectJob } from '../../src/core/objects/job.ts'
import type { WritePlan } from '../../src/core/plan.ts'
import { destinationFixture, type Fixture } from '../support/destination-fixture.ts'
import { copied, names, object } from '../support/job-literals.ts'
import { server } from '../support/servers.ts'

const LEASE = { leaseMs: 60_000, most: 100 }

describe('jobs of objects', () => {
  let at: Fixture
  let lsn: bigint
  let apply: (objects: readonly RowObjects[], more?: Partial<WritePlan>) => Promise<void>
  let query: (sql: string, params: readonly unknown[]) => Promise<(string | null)[][]>
  beforeEach(async () => {
    at = await destinationFixture(await server(16, 'destination'), 'engine')
    const made = at.make()
    await made.destination.open()
    lsn = 0n
    query = made.query
    apply = async (objects, more = {}) => {
      await made.destination.apply(at.plan(lsn, {}, { objects, ...more }))
      lsn++
    }
  })
  afterEach(() => at.close())

  const jobs = () => objectJobs(query, 'main')
  const seen = async (): Promise<string[]> => (await at.db.query('select kind, src_key, state, error, dst_key from rekey.object order by src_key, kind'))
    .map((r) => [r.kind === 'object' ? '' : r.kind, r.src_key, r.state, r.error, r.dst_key === `new/${r.src_key}` ? ''
      : `-> ${r.dst_key}`].filter(Boolean).join(' '))
  const take = async (key: string): Promise<ObjectJob> => (await jobs().take(LEASE)).find((job) => job.key === key)!
  const settle = (job: ObjectJob, result: JobResult) => jobs().settle([{ job, result }])
  const verify = async (...keys: string[]): Promise<void> => {
    for (const job of await jobs().take(LEASE)) if (keys.includes(job.key)) await settle(job, { state: 'verified',
      copied: copied(job.key) })
  }

  it('come with the rows, in their transaction or not at all', async () => {
    await expect(apply([names('1', 'a')], { parts: [{ writes: at.writes({ children: [['c', 'nobody']] }),
      truncate: [] }] })).rejects.toMatchObject({ sqlstate: '23503' })
    expect(await seen()).toEqual([])
    await apply([names('1', 'a', object('d', { kind: 'directory' })), names('2', 'b')])
    expect(await seen()).toEqual(['a wanted', 'b wanted', 'directory d wanted'])
  })

  it('replays change nothing, and a new version of the object has it copied again', async () => {
    await apply([names('1', object('a', { stamp: 'v1' })), names('1', object('a', { stamp: 'v1' }))])
    await verify('a')
    await apply([names('1', object('a', { stamp: 'v1' }))])
    await apply([names('1', object('a', { stamp: null }))])
    expect(await seen()).toEqual(['a verified'])
    await apply([names('1', object('a', { stamp: 'v2' }))])
    expect(await seen()).toEqual(['a wanted'])
  })

  it('what a worker reports counts only while the job is as it took it', async () => {
    await apply([names('1', object('a', { stamp: 'v1' }))])
    const job = await take('a')
    await apply([names('1', object('a', { stamp: 'v2' }))])
    await settle(job, { state: 'verified', copied: copied('old') })
    expect(await seen()).toEqual(['a wanted'])
    await verify('a')
    expect(await seen()).toEqual(['a verified'])
  })

  it('the last word on a row counts; an object that no row names is buried, and comes back with its row', async () => {
    await apply([names('1', 'a', 'b'), names('2', 'b')])
    await verify('a', 'b')
    await apply([names('1', 'c'), names('1', 'a'), names('3')])
    expect(await seen()).toEqual(['a verified', 'b verified'])
    await apply([names('2')])
    expect(await seen()).toEqual(['a verified', 'b tombstone'])
    await apply([names('2', 'b')])
    expect(await seen()).toEqual(['a verified', 'b wanted'])
  })

  it('a truncate buries all that only its table named, not what comes behind it', async () => {
    await apply([names('1', 'a'), names('2', 'b')])
    await apply([names('9', 'x'), { table: 'public.parents', key: null, names: [] }, names('2', 'b')])
    expect(await seen()).toEqual(['a tombstone', 'b wanted'])
  })

  it('two objects never get one key: the later is parked', async () => {
    await apply([names('1', object('a', { newKey: 'same' })), names('2', object('b', { newKey: 'same' }))])
    expect(await seen()).toEqual(['a wanted -> same', 'b parked CONFLICT -> null'])
    await apply([names('3', object('c', { newKey: 'same' }))])
    await apply([names('4', object('d', { newKey: null, fault: 'UNRESOLVED' }))])
    expect((await seen()).slice(2)).toEqual(['c parked CONFLICT -> null', 'd parked UNRESOLVED -> null'])
  })

  it('each job is given to one worker, and again when that one is lost', async () => {
    await apply(Array.from({ length: 60 }, (_, i) => names(`${i}`, `k${i}`)))
    const sessions = await Promise.all(Array.from({ length: 6 }, () => openSession(at.db.url, 'destination')))
    const taken = await Promise.all(sessions.map((session) => objectJobs(session.query, 'main').take({ leaseMs: 60_000, most: 15 })))
    await Promise.all(sessions.map((session) => session.close()))
    taken.push([...(await jobs().take(LEASE))])
    const keys = taken.flat().map((job) => job.key)
    expect([keys.length, new Set(keys).size]).toEqual([60, 60])
    expect(await jobs().take(LEASE)).toEqual([])
    await at.db.query("update rekey.object set not_before = clock_timestamp() - interval '1s' where src_key = 'k7'")
    const [again] = await jobs().take(LEASE)
    expect([again.key, again.attempts]).toEqual(['k7', 2])
    await settle(taken.flat().find((job) => job.key === 'k7')!, { state: 'verified', copied: copied('late') })
    expect((await at.db.query("select state from rekey.object where src_key = 'k7'"))[0].state).toBe('copying')
  })

  it('a failed try waits its pause and remembers its upload; a renewed lease is longer', async () => {
    await apply([names('1', 'a')])
    const job = await take('a')
    expect(await jobs().notes.withoutUpload('main', ['new/a', 'none'])).toEqual(new Set(['new/a']))
    const begun = { id: 'u1', partSize: 5, sourceEtag: 'e' }
    await settle(job, { state: 'wanted', error: 'STORE_BUSY', afterMs: 60_000, begun })
    expect(await jobs().take(LEASE)).toEqual([])
    await at.db.query("update rekey.object set not_before = not_before - interval '60s'")
    const again = await take('a')
    expect(again).toMatchObject({ attempts: 2, begun })
    expect(await jobs().notes.withoutUpload('main', ['new/a', 'none'])).toEqual(new Set())
    await jobs().renew([again], 3_600_000)
    const [{ far }] = await at.db.query("select (not_before > clock_timestamp() + interval '50 minutes')::text far from rekey.object")
    expect(far).toBe('true')
  })

  it('a listing adds, repairs and goes on where it was, and never buries', async () => {
    await apply([names('1', object('d', { kind: 'directory' })), names('2', 'd/own')])
    await verify('d/own')
    await at.db.query("update rekey.object set not_before = clock_timestamp() where kind = 'directory'")
    const job = await take('d')
    const page = ['d/own', 'd/x', 'd/y'].map((key) => ({ key, newKey: `new/${key}`, fault: null, size: 3, etag: `${key}-there` }))
    expect(await jobs().listed.found(job, page)).toBe(true)
    expect(await seen()).toEqual(['directory d wanted', 'd/own verified', 'd/x wanted', 'd/y wanted'].map((s) => s.replace('d wanted',
      'd copying')))
    expect(await jobs().listed.isWhole(job)).toBe(false)
    await settle(job, { state: 'wanted', error: 'REMOTE', afterMs: 0 })
    const on = await take('d')
    expect(on.listedTo).toBe('d/y')
    await verify('d/x', 'd/y')
    for (const key of ['d/x', 'd/y']) await at.db.query("update rekey.object set state = 'verified', src_etag = $1 where src_key = $2",
      [`${key}-there`, key])
    expect(await jobs().listed.isWhole(on)).toBe(true)
    expect(await jobs().listed.found(on, [{ ...page[1], etag: 'another' }])).toBe(true)
    expect((await seen()).slice(1)).toEqual(['d/own verified', 'd/x wanted', 'd/y verified'])
    expect(await jobs().listed.found(job, page)).toBe(false)
    await apply([names('1')])
    expect(await seen()).toEqual(['directory d tombstone', 'd/own verified', 'd/x tombstone', 'd/y tombstone'])
  })

  it('a directory has what was found below it, by whomever, and what was gone before it could be copied keeps it from nothing', async () => {
    const page = (...keys: string[]) => keys.map((key) => ({ key, newKey: `new/${key}`, fault: null, size: 3, etag: `${key}-there` }))
    const only = async (kind: string): Promise<ObjectJob> => {
      await at.db.query('update rekey.object set not_before = clock_timestamp() where kind = $1', [kind])
      return (await jobs().take(LEASE)).find((job) => job.kind === kind)!
    }
    await apply([names('1', object('p/d', { kind: 'directory' })), names('2', 'p/d/own')])
    await jobs().listed.sweep([{ store: 'main', to: 'main', prefix: 'p/' }], 60_000)
    await jobs().listed.found(await only('sweep'), page('p/d/a', 'p/d/own', 'p/else'))
    await apply([names('3', object('p/d/in/', { kind: 'directory' }))])
    await jobs().listed.found(await only('sweep'), page('p/d/in/b'))
    await verify('p/d/own', 'p/else')
    const [directory] = await at.db.query("select id::text from rekey.object where src_key = 'p/d'")
    const isWhole = () => jobs().listed.isWhole(directory as unknown as ObjectJob)
    expect(await isWhole()).toBe(false)
    await at.db.query("update rekey.object set state = 'parked', error = 'OBJECT_REFUSED' where src_key = 'p/d/a'")
    expect(await isWhole()).toBe(false)
    await at.db.query("update rekey.object set error = 'OBJECT_MISSING' where src_key = 'p/d/a'")
    expect(await isWhole()).toBe(true)
    await apply([names('1')])
    expect((await seen()).filter((job) => job.includes('tombstone'))).toEqual(['directory p/d tombstone', 'p/d/a tombstone'])
    await apply([names('3')])
    expect((await seen()).filter((job) => job.includes('tombstone'))).toContain('p/d/in/b tombstone')
  })

  it('sweeps know the parked by their new keys, and leave buried ones buried', async () => {
    await apply([names('1', object('a', { newKey: null, fault: 'UNRESOLVED' })), names('2', 'b')])
    await apply([names('2')])
    const prefixes = [{ store: 'main', to: 'main', prefix: '' }]
    await jobs().listed.sweep(prefixes, 60_000)
    await jobs().listed.sweep(prefixes, 60_000)
    const [job] = (await jobs().take(LEASE)).filter(({ kind }) => kind === 'sweep')
    await jobs().listed.found(job, [
      { key: 'a', newKey: 'new/a', fault: null, size: 1, etag: 'e' }, { key: 'b', newKey: 'new/b', fault: null, size: 1, etag: 'e' },
      { key: 'c', newKey: null, fault: 'UNMATCHED', size: 1, etag: 'e' },
    ])
    expect(await seen()).toEqual(['sweep copying -> null', 'a wanted', 'b tombstone', 'c parked UNMATCHED -> null'])
    await settle(job, { state: 'verified', copied: null })
    await jobs().listed.sweep(prefixes, 60_000)
    expect((await seen())[0]).toBe('sweep verified -> null')
    await jobs().listed.sweep(prefixes, 0)
    expect((await seen())[0]).toBe('sweep wanted -> null')
  })

  it('copies to be removed are given out after their time of grace, and then only agreed ones', async () => {
    await apply([names('1', 'a'), names('2', 'b')])
    await verify('a', 'b')
    await apply([names('1'), names('2')])
    const leaving = (graceMs: number, approved: boolean) => jobs().takeLeaving({ ...LEASE, graceMs, approved })
    expect(await leaving(60_000, false)).toEqual([])
    expect((await jobs().notes.counts(60_000)).due).toBe(0)
    expect((await jobs().notes.counts(0)).due).toBe(2)
    expect(await leaving(0, true)).toEqual([])
    await at.db.query("update rekey.object set approved = true where src_key = 'a'")
    const [job, ...more] = await leaving(0, true)
    expect([job.key, job.etag, more]).toEqual(['a', 'a', []])
    await settle(job, { state: 'gone', error: null })
    expect(await seen()).toEqual(['a gone', 'b tombstone'])
    await apply([names('3', object('other', { newKey: 'new/a' }))])
    expect((await seen())[2]).toBe('other wanted -> new/a')
  })

  it('a row that comes back while its copy is being removed waits until that is over', async () => {
    await apply([names('1', 'a')])
    await verify('a')
    await apply([names('1')])
    expect(await jobs().takeLeaving({ ...LEASE, graceMs: 0, approved: false })).toHaveLength(1)
    await apply([names('1', 'a')])
    expect(await seen()).toEqual(['a wanted'])
    expect(await jobs().take(LEASE)).toEqual([])
    await at.db.query("update rekey.object set not_before = clock_timestamp() - interval '1s'")
    expect(await jobs().take(LEASE)).toHaveLength(1)
  })

  it('what a copy that was not reported has left is told by its mark, not by the ETag of an earlier one', async () => {
    const leaving = async () => (await jobs().takeLeaving({ ...LEASE, graceMs: 0, approved: false })).map(({ key, etag }) => `${key} ${etag}`).toSorted()
    for (const stamp of ['v1', 'v2']) {
      await apply([names('1', object('a', { stamp })), names('2', object('b', { stamp: 'v1' }))])
      if (stamp === 'v1') await verify('a', 'b')
    }
    await take('a')
    await apply([names('1'), names('2')])
    expect(await leaving()).toEqual(['a null', 'b b'])
  })

  it('counts close', async () => {
    await apply([names('1', object('a', { size: 5 }), 'b', object('x', { newKey: null, fault: 'UNMATCHED' })), names('2', 'c')])
    await verify('a')
    await apply([names('2')])
    expect(jobTotals((await jobs().notes.counts(0)).counts)).toEqual({ total: 4, done: 1, waiting: 1, parked: 1, leaving: 1, bytes: 7,
      bytesDone: 7 })
  })

  const parked = (key: string) => ({
    table: 'public.parents', key, op: 'insert', sqlstate: 'RK004', reason: 'waits for its object', change: '{}', behind: false,
      left: false, commitLsn: 1n, ordinal: 0, leaves: null,
  })
  const states = async () => (await at.db.query('select key, state from rekey.parked order by key')).map((r) => `${r.key} ${r.state}`)

  it('a row that waits for its object is due when that is verified, whichever comes first', async () => {
    await apply([names('1', 'a', 'b')], { parked: [parked('1')] })
    await verify('a')
    expect(await states()).toEqual(['1 waiting'])
    await at.db.query('update rekey.object set not_before = clock_timestamp()')
    await verify('b')
    expect(await states()).toEqual(['1 retry'])
    await apply([names('2', 'a')], { parked: [parked('2')] })
    expect(await states()).toEqual(['1 retry', '2 retry'])
    const objects = [object('a'), object('b', { stamp: 'other' }), object('b', { newKey: 'else' }), object('b', { stamp: null }),
      object('none')]
    expect(await areVerified(query, 'main', objects)).toEqual([true, false, false, true, false])
  })

  it('a row that nobody told of its object, because the connection was lost between, is told by the next who takes jobs', async () => {
    await apply([names('1', 'a')], { parked: [parked('1')] })
    const job = await take('a')
    await at.db.query("create function lost() returns trigger language plpgsql as 'begin raise exception using errcode = ''57P01''; end'")
    await at.db.query('create trigger lost before update on rekey.parked for each statement execute function lost()')
    const here = jobs()
    await expect(here.settle([{ job, result: { state: 'verified', copied: copied('a') } }])).rejects.toMatchObject({ sqlstate: '57P01' })
    await at.db.query('drop trigger lost on rekey.parked')
    expect([await seen(), await states()]).toEqual([['a verified'], ['1 waiting']])
    await here.take(LEASE)
    expect(await states()).toEqual(['1 retry'])
  })
})
