import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import type { Decision } from '../../src/core/plan.ts'
import { keyOf } from '../../src/core/coalesce.ts'
import { rowOf } from '../../src/core/row.ts'
import type { IdMap } from '../../src/ports.ts'
import { redisCache } from '../../connectors/redis/cache.ts'
import { readThrough } from '../../src/id-map/read-through.ts'
import { destinationFixture } from '../support/destination-fixture.ts'
import { server } from '../support/servers.ts'
import { startRedis } from '../support/services/redis.ts'

interface Ledger {
  readonly idMap: IdMap
  /** Another pipeline's view of the same place. */
  readonly other: IdMap
  /** Makes decisions durable, all or none; rejects when a key has one already. */
  write(decisions: readonly Decision[]): Promise<void>
  close(): Promise<void>
}

/** A raw key or id, as rows have it. */
const raw = (...values: string[]): string => keyOf(rowOf(values), values.map((_, i) => i))

/** Everything that an id map promises. `make` gives an empty one. */
function idMapContract(name: string, make: () => Promise<Ledger>): void {
  describe(name, () => {
    let at: Ledger
    beforeEach(async () => {
      at = await make()
    })
    afterEach(() => at.close())

    const decision = (key: string, id: string, more: Partial<Decision> = {}): Decision =>
      ({ entity: 'users', key, id, kind: 'inserted', rule: 'r', evidence: 'e', ...more })

    it('finds what was decided; keys without a decision are absent', async () => {
      const merged = decision('2', 'usr_x', { kind: 'merged', evidence: 'same "e-mail"' })
      const decisions = [decision('1', 'usr_1'), merged, decision('1', 'grp_1', { entity: 'groups' })]
      await at.write(decisions)
      expect(await at.idMap.find('users', ['2', '3', '1', '2'])).toEqual(new Map([['1', decisions[0]], ['2', decisions[1]]]))
      expect(await at.idMap.find('groups', ['1'])).toEqual(new Map([['1', decisions[2]]]))
      expect(await at.idMap.find('nobody', ['1'])).toEqual(new Map())
      expect(await at.idMap.find('users', [])).toEqual(new Map())
    })

    it('finds decisions by id, of any entity', async () => {
      const decisions = [decision('1', 'x', { kind: 'merged' }), decision('2', 'x', { kind: 'merged' }),
        decision('1', 'y', { entity: 'groups' })]
      await at.write(decisions)
      const byKey = (a: Decision, b: Decision): number => (a.entity + a.key < b.entity + b.key ? -1 : 1)
      expect([...(await at.idMap.findIds(['x', 'y', 'z']))].sort(byKey)).toEqual([...decisions].sort(byKey))
      expect(await at.idMap.findIds(['1'])).toEqual([])
      expect(await at.idMap.findIds([])).toEqual([])
    })

    it('keys and ids are bytes: nothing is folded, trimmed or read as a pattern', async () => {
      const keys = [
        raw('a'), raw('A'), raw('a '), raw(''), raw('ä'), raw('a\u0308'), raw('日本'), raw('😀'), raw('a', 'b'), raw('a\tb'), raw('a\\'),
        raw('\\N'),
        raw("o'x"), raw('"q"'), raw('{1,2}'), raw('NULL'), raw('%'), raw('$1'), raw('a\nb'),
      ]
      const decisions = keys.map((key, i) => decision(key, i % 2 === 0 ? key : raw(`usr_${i}`)))
      await at.write(decisions)
      expect(await at.idMap.find('users', keys)).toEqual(new Map(decisions.map((d) => [d.key, d])))
      for (const one of decisions) {
        expect(await at.idMap.find('users', [one.key])).toEqual(new Map([[one.key, one]]))
        expect(await at.idMap.findIds([one.id])).toEqual([one])
      }
    })

    it('the first writer wins: a key is decided once, and a refused write leaves nothing', async () => {
      await at.write([decision('1', 'first')])
      await expect(at.write([decision('2', 'usr_2'), decision('1', 'second')])).rejects.toMatchObject({ code: 'CONFLICT' })
      expect([...(await at.idMap.find('users', ['1', '2'])).values()].map((d) => d.id)).toEqual(['first'])
    })

    it('a dangling decision gives way to the row that came after all; no other does', async () => {
      await at.write([decision('1', 'usr_1', { kind: 'dangling' }), decision('2', 'usr_2')])
      const late = decision('1', 'usr_x', { kind: 'merged', rule: 'late', replaces: true })
      await at.write([late, decision('2', 'usr_y', { replaces: true })])
      const found = await at.idMap.find('users', ['1', '2'])
      expect(['1', '2'].map((key) => [found.get(key)?.id, found.get(key)?.kind, found.get(key)?.rule]))
        .toEqual([['usr_x', 'merged', 'late'], ['usr_2', 'inserted', 'r']])
    })

    it('pipelines do not see each other', async () => {
      await at.write([decision('1', 'usr_1')])
      expect([...(await at.other.find('users', ['1']))]).toEqual([])
      expect(await at.other.findIds(['usr_1'])).toEqual([])
    })

    it('says the same again and again, also of what has changed since', async () => {
      await at.write([decision('1', 'usr_1', { kind: 'dangling' }), decision('2', 'usr_2'), decision('3', 'usr_3')])
      const kinds = async (): Promise<(string | undefined)[]> => {
        const found = await at.idMap.find('users', ['1', '2', '3', '4'])
        return ['1', '2', '3', '4'].map((key) => found.get(key)?.kind)
      }
      for (let i = 0; i < 3; i++) expect(await kinds()).toEqual(['dangling', 'inserted', 'inserted', undefined])
      await at.write([decision('1', 'usr_1', { replaces: true }), decision('2', 'usr_2', { kind: 'gone', replaces: true })])
      for (let i = 0; i < 3; i++) expect(await kinds()).toEqual(['inserted', 'gone', 'inserted', undefined])
      await at.write([{ entity: 'users', key: '', id: '', kind: 'truncated', rule: '', evidence: '' }, decision('4', 'usr_4')])
      for (let i = 0; i < 3; i++) expect(await kinds()).toEqual(['gone', 'gone', 'gone', 'inserted'])
    })

    it('20,000 keys in one look-up', async () => {
      const decisions = Array.from({ length: 20_000 }, (_, i) => decision(String(i), `usr_${i}`))
      await at.write(decisions)
      expect((await at.idMap.find('users', decisions.map((d) => d.key))).size).toBe(20_000)
      expect((await at.idMap.findIds(decisions.map((d) => d.id))).length).toBe(20_000)
    })
  })
}

const [host, redis] = await Promise.all([server(16, 'destination'), startRedis()])
afterAll(() => redis.stop())

type Fixture = Awaited<ReturnType<typeof destinationFixture>>
type Through = Pick<ReturnType<Fixture['make']>, 'idMap' | 'destination'>

/** The ledger of a database of its own, and what `through` puts before it. */
async function ledgerOf(through: (pipeline: string, ledger: Through) => Promise<Through & { close(): Promise<void> }>): Promise<Ledger> {
  const fixture = await destinationFixture(host, 'engine')
  const made = await Promise.all(['main', 'other'].map(async (pipeline) => {
    const ledger = fixture.make({ pipeline })
    await ledger.destination.open()
    return through(pipeline, ledger)
  }))
  let lsn = 0n
  return {
    idMap: made[0].idMap, other: made[1].idMap,
    async write(decisions) {
      await made[0].destination.apply(fixture.plan(lsn, {}, { decisions }))
      lsn++
    },
    async close() {
      await Promise.all(made.map((one) => one.close()))
      await fixture.close()
    },
  }
}

idMapContract('the ledger in Postgres', () => ledgerOf(async (_pipeline, ledger) => ({ ...ledger, close: async () => {} })))

let runs = 0

idMapContract('Redis before the ledger', () => {
  // Each time another life of the ledger on the same server, under the same names.
  const life = `life ${++runs}`
  return ledgerOf(async (pipeline, ledger) => {
    const cache = redisCache({ url: redis.url, prefix: 'contract', pipeline, key: Buffer.from(`${pipeline} ${life}`), generation: life, timeoutMs: 1_000 })
    while ((await cache.state()) !== 'empty') await sleep(5)
    await cache.filled()
    const events = { looked() {}, corrected() {}, refilled() {}, copyAnswers() {} }
    return { ...readThrough({ ...ledger, cache, events, reads: true }), close: () => cache.close() }
  })
})

test('two that reserve the same 200 keys at once, each with a copy in Redis: one of them gets a key, and both know which', async () => {
  const fixture = await destinationFixture(host, 'engine')
  const main = fixture.make()
  const joined = fixture.make({ join: () => main.writer() })
  const caches: ReturnType<typeof redisCache>[] = []
  try {
    await main.destination.open()
    await joined.destination.open()
    const keys = Array.from({ length: 200 }, (_, i) => String(i))
    const parents = { schema: 'public', table: 'parents' }
    const children = { schema: 'public', table: 'children' }
    const chunk = (table: typeof parents, index: number) => ({ table, index, after: null, upTo: null, pass: 1 as const, done: false })
    await main.destination.chunks(async () => keys.flatMap((_, i) => [chunk(parents, i), chunk(children, i)]))
    const both = [[main, 'public.parents', 'a'], [joined, 'public.children', 'b']] as const
    const sides = await Promise.all(both.map(async ([ledger, table, name]) => {
      const cache = redisCache({ url: redis.url, prefix: 'reserve', pipeline: 'main', key: Buffer.from('k'), generation: 'one', timeoutMs: 1_000 })
      caches.push(cache)
      while ((await cache.state()) !== 'full') {
        if ((await cache.state()) === 'empty') await cache.filled()
        await sleep(5)
      }
      const events = { looked() {}, corrected() {}, refilled() {}, copyAnswers() {} }
      return { ...readThrough({ ...ledger, cache, events, reads: true }), table, name }
    }))
    const won: Record<string, string> = {}
    let refused = 0
    await Promise.all(sides.map(async ({ idMap, destination, table, name }) => {
      for (const [i, key] of keys.entries()) {
        if ((await idMap.find('users', [key])).size > 0) continue
        const decision: Decision = { entity: 'users', key, id: `usr_${key}_${name}`, kind: 'inserted', rule: '', evidence: '' }
        const done = { table, pass: 1 as const, index: i, rows: 0, since: null }
        const plan = fixture.plan(0n, {}, { decisions: [decision], chunk: done })
        const error = await destination.apply(plan).then(() => null, (cause: { sqlstate?: string }) => cause)
        if (error) {
          expect(error).toMatchObject({ code: 'CONFLICT', sqlstate: '23505' })
          refused++
        } else won[key] = `${won[key] ?? ''}${name}`
      }
    }))
    expect(Object.keys(won)).toHaveLength(200)
    expect(refused).toBeGreaterThan(0)
    for (const { idMap } of sides) {
      const found = await idMap.find('users', keys)
      expect(keys.map((key) => found.get(key)?.id)).toEqual(keys.map((key) => `usr_${key}_${won[key]}`))
    }
  } finally {
    await Promise.all(caches.map((cache) => cache.close()))
    await fixture.close()
  }
})
