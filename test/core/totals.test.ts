import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Totals } from '../../src/core/plan.ts'
import { addTotals, closes, copyTotals, count, noTotals, recount, reopen, skippedOf, type Outcome } from '../../src/core/totals.ts'

const outcome = fc.constantFrom<Outcome>('inserted', 'updated', 'merged', 'deleted', 'parked', { skipped: 'pinned' }, { skipped: 'filtered' })
const counts = fc.array(fc.record({ table: fc.constantFrom('a', 'b'), outcome, n: fc.nat(5) }), { maxLength: 20 })
const from = (list: readonly { table: string; outcome: Outcome; n: number }[]): Record<string, Totals> => {
  const totals: Record<string, Totals> = {}
  for (const { table, outcome, n } of list) count(totals, table, outcome, n)
  return totals
}

describe('totals', () => {
  it('close whatever is counted, and add up', () => {
    fc.assert(fc.property(counts, counts, (one, two) => {
      const sum = from(one)
      addTotals(sum, from(two))
      expect(sum).toEqual(from([...one, ...two]))
      for (const t of Object.values(sum)) expect(closes(t)).toBe(true)
      expect(Object.values(sum).reduce((n, t) => n + t.read, 0)).toBe([...one, ...two].reduce((n, c) => n + c.n, 0))
    }))
  })

  it('one change by default; reasons are told apart', () => {
    const totals = from([])
    count(totals, 'a', 'inserted')
    count(totals, 'a', { skipped: 'pinned' })
    count(totals, 'a', { skipped: 'filtered' }, 2)
    expect(totals).toEqual({ a: { ...noTotals(), read: 4, inserted: 1, skipped: { pinned: 1, filtered: 2 } } })
    expect(skippedOf(totals.a)).toBe(3)
  })

  it('a parked change that goes through, and an inserted one that waits after all, were read once', () => {
    const totals = from([{ table: 'a', outcome: 'parked', n: 2 }, { table: 'a', outcome: 'inserted', n: 1 }])
    recount(totals, 'a', 'merged')
    recount(totals, 'a', { skipped: 'waived' })
    reopen(totals, 'a', 'inserted')
    expect(totals.a).toEqual({ ...noTotals(), read: 3, merged: 1, parked: 1, skipped: { waived: 1 } })
    expect(closes(totals.a)).toBe(true)
  })

  it('a copy is a copy, reasons included', () => {
    const totals = from([{ table: 'a', outcome: { skipped: 'pinned' }, n: 1 }])
    const copied = copyTotals(totals)
    count(totals, 'a', { skipped: 'pinned' })
    expect(copied.a).toEqual({ ...noTotals(), read: 1, skipped: { pinned: 1 } })
  })

  it('do not close when something was lost', () => expect(closes({ ...noTotals(), read: 1 })).toBe(false))
})
