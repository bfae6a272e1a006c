import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Decision } from '../../src/core/plan.ts'
import { keyOf } from '../../src/core/coalesce.ts'
import { rowOf } from '../../src/core/row.ts'
import type { IdMap } from '../../src/ports.ts'
import { destinationFixture } from '../support/destination-fixture.ts'
import { server } from '../support/servers.ts'

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

    it('20,000 keys in one look-up', async () => {
      const decisions = Array.from({ length: 20_000 }, (_, i) => decision(String(i), `usr_${i}`))
      await at.write(decisions)
      expect((await at.idMap.find('users', decisions.map((d) => d.key))).size).toBe(20_000)
      expect((await at.idMap.findIds(decisions.map((d) => d.id))).length).toBe(20_000)
    })
  })
}

const host = await server(16, 'destination')

idMapContract('the ledger in Postgres', async () => {
  const fixture = await destinationFixture(host, 'engine')
  const { destination, idMap } = fixture.make()
  const other = fixture.make({ pipeline: 'other' })
  await destination.open()
  await other.destination.open()
  let lsn = 0n
  return {
    idMap, other: other.idMap,
    async write(decisions) {
      await destination.apply(fixture.plan(lsn, {}, { decisions }))
      lsn++
    },
    close: () => fixture.close(),
  }
})
