import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openSession, type SqlSession } from '../../connectors/postgres/session.ts'
import { objectJobs } from '../../connectors/postgres-destination/object-jobs.ts'
import type { Copied } from '../../src/core/objects/copy.ts'
import type { RowObjects } from '../../src/core/objects/named.ts'
import { mirror, type MirrorOptions } from '../../src/mirror/mirror.ts'
import type { ObjectJobs, ObjectStore } from '../../src/ports.ts'
import { destinationFixture, type Fixture } from '../support/destination-fixture.ts'
import { copied, names, object } from '../support/job-literals.ts'
import { server } from '../support/servers.ts'

describe('workers of objects', () => {
  let at: Fixture
  let session: SqlSession
  let jobs: ObjectJobs
  let apply: (...objects: readonly RowObjects[]) => Promise<void>
  beforeEach(async () => {
    at = await destinationFixture(await server(16, 'destination'), 'engine')
    const { destination } = at.make()
    await destination.open()
    session = await openSession(at.db.url, 'destination')
    jobs = objectJobs(session.query, 'main')
    let lsn = 0n
    apply = (...objects) => destination.apply(at.plan(lsn++, {}, { objects }))
  })
  afterEach(async () => {
    await session.close()
    await at.close()
  })

  const copiedAll = async (): Promise<void> => {
    const taken = await jobs.take({ leaseMs: 60_000, most: 100 })
    await jobs.settle(taken.map((job) => ({ job, result: { state: 'verified', copied: copied(job.key) } })))
  }
  const seen = async (): Promise<string[]> =>
    (await at.db.query('select src_key, state from rekey.object order by src_key')).map(({ src_key: key, state }) => `${key} ${state}`)
  const gone = async (): Promise<number> => (await seen()).filter((job) => job.endsWith(' gone')).length
  /** A store that removes all it is told to. */
  const obliging = { remove: async () => true } as unknown as ObjectStore

  /** Workers until `until` resolves. */
  const mirrored = async (more: Partial<MirrorOptions>, until: () => Promise<unknown>): Promise<void> => {
    const nowhere = (): never => { throw new Error('no store is asked') }
    const end = new AbortController()
    const ended = mirror({
      jobs, source: nowhere, destination: nowhere, workers: 4, leaseMs: 60_000, idleMs: 10, firstMs: 10,
      mostMs: 100, run: 'main', deletes: { graceMs: 0, most: 10 }, sweep: { prefixes: [], everyMs: 60_000 }, copied: async () => false,
      tidy: async () => 0, onSeen: () => {}, onNote: () => {}, point: async () => {}, keysFor: async () => [],
      copy: async ({ key }) => copied(key), ...more,
    }, end.signal)
    try {
      await Promise.race([until(), ended])
    } finally {
      end.abort()
      await ended
    }
  }
  it('no more copies are removed than were counted, however many come to be due meanwhile, and none when those are too many', async () => {
    await apply(...Array.from({ length: 60 }, (_, i) => names(`${i}`, `k${i}`)))
    await copiedAll()
    let left = 0
    const leave = (): Promise<void> => apply(...[0, 1, 2, 3, 4].map(() => names(`${left++}`)))
    await leave()
    let told: () => void = () => {}
    const stopped = new Promise<void>((resolve) => (told = resolve))
    await mirrored({
      jobs: { ...jobs, takeLeaving: async (what) => (await leave(), jobs.takeLeaving(what)) }, destination: () => obliging,
      onNote: ({ event }) => event === 'deletes' && told(),
    }, () => stopped)
    expect(await gone()).toBe(5)
  })

  it('what a person has agreed to is removed, also where nothing else may be', async () => {
    await apply(names('1', 'a'), names('2', 'b'))
    await copiedAll()
    await apply(names('1'), names('2'))
    await at.db.query("update rekey.object set approved = true where src_key = 'a'")
    const deletes = { graceMs: 0, most: 0 }
    await mirrored({ deletes, destination: () => obliging }, () => expect.poll(gone, { timeout: 10_000 }).toBe(1))
    expect(await seen()).toEqual(['a gone', 'b tombstone'])
  })

  it('a job that was taken again, as its row had changed, keeps its lease when the earlier copy ends', async () => {
    await apply(names('1', object('a', { stamp: 'v1' })))
    const begun: (() => void)[] = []
    const copy = async (): Promise<Copied> => {
      await new Promise<void>((resolve) => begun.push(resolve))
      return copied('a')
    }
    await mirrored({ leaseMs: 500, copy }, async () => {
      await expect.poll(() => begun.length, { timeout: 10_000 }).toBe(1)
      await apply(names('1', object('a', { stamp: 'v2' })))
      await expect.poll(() => begun.length, { timeout: 10_000 }).toBe(2)
      begun[0]()
      await new Promise((resolve) => setTimeout(resolve, 1_200))
      begun.forEach((end) => end())
    })
    expect([begun.length, await seen()]).toEqual([2, ['a verified']])
  })
})
