import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Decision } from '../../src/core/plan.ts'
import { decisionCache } from '../../src/planning/decisions.ts'
import type { IdMap } from '../../src/ports.ts'

const decision = (key: string, more: Partial<Decision> = {}): Decision =>
  ({ entity: 'users', key, id: `usr_${key}`, kind: 'inserted', rule: '', evidence: '', ...more })

/** A ledger in memory that notes what it is asked. */
function ledger(...entries: readonly Decision[]) {
  const asked: string[][] = []
  const map = new Map(entries.map((d) => [`${d.entity}/${d.key}`, d]))
  const idMap: IdMap = {
    async find(entity, keys) {
      asked.push([...keys])
      return new Map(keys.flatMap((key) => (map.has(`${entity}/${key}`) ? [[key, map.get(`${entity}/${key}`)!]] : [])))
    },
    findIds: async () => [],
  }
  return { idMap, asked, map }
}

const numbers = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, i) => String(from + i))

describe('decisions', () => {
  it('asks for a key once, together with the others that are not known', async () => {
    const { idMap, asked } = ledger(decision('1'), decision('2'))
    const decisions = decisionCache(idMap)
    await decisions.load('users', ['1', '2'])
    await decisions.load('users', ['2', '1'])
    await decisions.load('users', ['1', '3'])
    expect(asked).toEqual([['1', '2'], ['3']])
    expect([decisions.get('users', '1')?.id, decisions.get('users', '3'), decisions.get('groups', '1')]).toEqual(['usr_1', undefined,
      undefined])
  })

  it('what one plan has loaded is at hand until it is made, however small the memory', async () => {
    const { idMap } = ledger(...numbers(0, 1_000).map((key) => decision(key)))
    const decisions = decisionCache(idMap, 10)
    await decisions.load('users', numbers(0, 1_000))
    expect(numbers(0, 1_000).filter((key) => !decisions.get('users', key))).toEqual([])
  })

  it('is bounded: of many plans, at most two generations are kept', async () => {
    const { idMap, asked } = ledger(...numbers(0, 1_000).map((key) => decision(key)))
    const decisions = decisionCache(idMap, 100)
    for (let i = 0; i < 1_000; i += 50) {
      await decisions.load('users', numbers(i, i + 50))
      decisions.taken()
    }
    asked.length = 0
    const kept = numbers(0, 1_000).filter((key) => decisions.get('users', key))
    expect(kept.length).toBeLessThanOrEqual(300)
    expect(kept).toEqual(expect.arrayContaining(numbers(950, 1_000)))
    await decisions.load('users', ['0'])
    expect([asked, decisions.get('users', '0')?.id]).toEqual([[['0']], 'usr_0'])
  })

  it('what is used stays', async () => {
    const { idMap } = ledger(...numbers(0, 1_000).map((key) => decision(key)))
    const decisions = decisionCache(idMap, 100)
    await decisions.load('users', ['0'])
    for (let i = 1; i < 1_000; i += 1) {
      await decisions.load('users', [String(i)])
      expect(decisions.get('users', '0')?.id).toBe('usr_0')
    }
  })

  it('one look-up of as many keys as the cache holds knows them all, whatever was there before', async () => {
    const { idMap } = ledger(...numbers(0, 300).map((key) => decision(key)))
    await fc.assert(fc.asyncProperty(fc.array(fc.array(fc.nat(99), { maxLength: 30 }), { maxLength: 12 }), async (looks) => {
      const decisions = decisionCache(idMap, 30)
      for (const keys of looks.map((list) => list.map(String))) {
        await decisions.load('users', keys)
        expect(keys.filter((key) => !decisions.get('users', key))).toEqual([])
      }
    }))
  })

  it('what is not committed is never evicted', async () => {
    const { idMap } = ledger(...numbers(0, 500).map((key) => decision(key)))
    const decisions = decisionCache(idMap, 10)
    for (const key of numbers(1_000, 1_200)) decisions.decide(decision(key))
    await decisions.load('users', numbers(0, 500))
    expect(numbers(1_000, 1_200).every((key) => decisions.get('users', key))).toBe(true)
    expect(decisions.taken().map((d) => d.key)).toEqual(numbers(1_000, 1_200))
    await decisions.load('users', numbers(0, 500))
    expect(numbers(1_000, 1_200).every((key) => decisions.get('users', key))).toBe(true)
  })

  it('pending ids are those of rows that are new and not in the ledger yet', () => {
    const decisions = decisionCache(ledger().idMap)
    decisions.decide(decision('1'))
    decisions.decide(decision('2', { kind: 'merged' }))
    decisions.decide(decision('3', { entity: 'groups' }))
    expect([...decisions.pendingIds('users')]).toEqual(['usr_1'])
    decisions.committed(decisions.taken())
    expect([[...decisions.pendingIds('users')], decisions.get('users', '1')?.id, decisions.taken()]).toEqual([[], 'usr_1', []])
  })

  it('a row that comes after a reference to it takes the place of the dangling decision', async () => {
    const decisions = decisionCache(ledger(decision('1', { kind: 'dangling' })).idMap)
    await decisions.load('users', ['1'])
    decisions.decide(decision('1'))
    expect(decisions.taken()).toEqual([decision('1', { replaces: true })])
  })

  it('undo forgets what was decided since the mark, and nothing else', () => {
    const keys = fc.array(fc.constantFrom('1', '2', '3'), { maxLength: 6 })
    fc.assert(fc.property(keys, keys, (before, after) => {
      const decisions = decisionCache(ledger().idMap)
      const decide = (list: readonly string[],
        rule: string): void => list.forEach((key, i) => decisions.decide(decision(key, { rule: `${rule} ${i}` })))
      decide(before, 'before')
      const held = ['1', '2', '3'].map((key) => decisions.get('users', key))
      const mark = decisions.mark()
      decide(after, 'after')
      decisions.undo(mark)
      expect(['1', '2', '3'].map((key) => decisions.get('users', key))).toEqual(held)
      expect(decisions.taken().map((d) => d.rule)).toEqual(before.map((_, i) => `before ${i}`))
    }))
  })

  it('what was taken and never written is forgotten, unless it was decided again since', () => {
    const decisions = decisionCache(ledger().idMap)
    for (const key of ['1', '2']) decisions.decide(decision(key))
    const taken = decisions.taken()
    const again = decision('2', { rule: 'again' })
    decisions.decide(again)
    decisions.forget(taken)
    expect([decisions.get('users', '1'), decisions.get('users', '2'), decisions.taken()]).toEqual([undefined, again, [again]])
  })

  it('a reset forgets all that is not in the ledger', async () => {
    const { idMap, asked } = ledger(decision('1'))
    const decisions = decisionCache(idMap)
    await decisions.load('users', ['1'])
    decisions.decide(decision('2'))
    decisions.reset()
    expect([decisions.get('users', '2'), decisions.taken(), decisions.mark()]).toEqual([undefined, [], 0])
    await decisions.load('users', ['1', '2'])
    expect(asked.at(-1)).toEqual(['1', '2'])
  })
})
