import { describe, expect, it } from 'vitest'
import { ledgerChanges } from '../../src/core/ledger.ts'
import type { Decision } from '../../src/core/plan.ts'
import { decisionCache } from '../../src/planning/decisions.ts'

const decision = (key: string, kind: Decision['kind'], more: Partial<Decision> = {}): Decision =>
  ({ entity: 'users', key, id: `usr_${key}`, kind, rule: '', evidence: '', ...more })

/** Decisions over a ledger that holds these. */
function over(...entries: readonly Decision[]) {
  return decisionCache({
    find: async (_entity, keys) => new Map(entries.filter((d) => keys.includes(d.key)).map((d) => [d.key, d])),
    findIds: async () => [],
  })
}

describe('rows that go, in the ledger', () => {
  it('counts a key that was decided several times as what it is in the end, and as new if it was new at first', () => {
    const { added, replaced, gone, truncated } = ledgerChanges([
      decision('1', 'inserted'), decision('1', 'gone', { replaces: true }),
      decision('2', 'gone', { replaces: true }), decision('2', 'inserted', { replaces: true }),
      decision('3', 'gone', { replaces: true }), decision('4', 'merged'), decision('', 'truncated', { entity: 'things' }),
    ])
    expect(added.map((d) => [d.key, d.kind, d.replaces])).toEqual([['1', 'gone', false], ['4', 'merged', undefined]])
    expect(replaced.map((d) => [d.key, d.kind])).toEqual([['2', 'inserted']])
    expect([[...gone], [...truncated]]).toEqual([[['users', ['3']]], ['things']])
  })

  it('marks only what was inserted, and gives way to the row that comes again', async () => {
    const decisions = over(decision('1', 'inserted'), decision('2', 'merged'), decision('3', 'gone'))
    await decisions.load('users', ['1', '2', '3'])
    for (const key of ['1', '2', '3', '4']) decisions.gone('users', key)
    expect(decisions.taken().map((d) => [d.key, d.kind, d.replaces])).toEqual([['1', 'gone', true]])
    expect(['1', '3'].map((key) => decisions.isLeaving('users', key))).toEqual([true, false])
    decisions.decide(decision('3', 'inserted'))
    expect(decisions.taken()).toEqual([decision('3', 'inserted', { replaces: true })])
  })

  it('until a truncate is committed, what the ledger says was inserted before it is gone', async () => {
    const decisions = over(decision('1', 'inserted'), decision('2', 'merged'), decision('3', 'inserted'))
    await decisions.load('users', ['1'])
    decisions.decide(decision('9', 'inserted'))
    decisions.truncated('users')
    await decisions.load('users', ['2', '3'])
    expect(['1', '2', '3', '9'].map((key) => decisions.get('users', key)?.kind)).toEqual(['gone', 'merged', 'gone', 'gone'])
    decisions.decide(decision('3', 'inserted'))
    const taken = decisions.taken()
    expect([...ledgerChanges(taken).truncated]).toEqual(['users'])
    decisions.committed(taken)
    expect(decisions.get('users', '3')?.kind).toBe('inserted')
  })

  it('what is undone was never truncated', async () => {
    const decisions = over(decision('1', 'inserted'))
    await decisions.load('users', ['1'])
    const mark = decisions.mark()
    decisions.truncated('users')
    decisions.undo(mark)
    await decisions.load('users', ['1'])
    expect([decisions.get('users', '1')?.kind, decisions.taken()]).toEqual(['inserted', []])
  })
})
