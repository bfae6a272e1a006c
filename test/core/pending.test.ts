import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { pendingTransactions, takePart } from '../../src/core/pending.ts'
import { insertOf, relation, transaction } from '../support/core-literals.ts'

const shape = relation('t', ['id'])
const NO_LIMIT = { rows: Infinity, bytes: Infinity }
const of = (lsn: number, rows: number, bytes: number, last = true) =>
  transaction(Array.from({ length: rows }, () => insertOf(shape, ['1'])), { commitLsn: BigInt(lsn), bytes, last })

describe('pending transactions', () => {
  it('come out in order, once, and are counted', () => {
    const limits = fc.record({ rows: fc.integer({ min: 1, max: 6 }), bytes: fc.integer({ min: 1, max: 20 }) })
    const step = fc.record({ rows: fc.nat(4), bytes: fc.nat(9), last: fc.boolean(), take: fc.boolean(), limit: limits })
    fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const pending = pendingTransactions()
      const model: ReturnType<typeof of>[] = []
      steps.forEach(({ rows, bytes, last, take, limit }, i) => {
        const one = of(i, rows, bytes, last)
        pending.push([one])
        model.push(one)
        if (take) {
          const taken = pending.take(limit)
          expect(taken.length).toBeGreaterThan(0)
          expect(taken).toEqual(model.splice(0, taken.length))
          const before = taken.slice(0, -1)
          expect(before.every((t) => t.last), 'a fragment ends its batch').toBe(true)
          expect(before.reduce((n, t) => n + t.changes.length, 0)).toBeLessThan(limit.rows)
          expect(before.reduce((n, t) => n + t.bytes, 0)).toBeLessThan(limit.bytes)
        }
        expect([pending.length(), pending.rows(), pending.bytes()])
          .toEqual([model.length, model.reduce((n, t) => n + t.changes.length, 0), model.reduce((n, t) => n + t.bytes, 0)])
      })
    }))
  })

  it('one that is larger than the limit is taken by itself', () => {
    const pending = pendingTransactions()
    pending.push([of(1, 100, 100), of(2, 1, 1)])
    expect(pending.take({ rows: 10, bytes: 10 }).map((t) => t.commitLsn)).toEqual([1n])
    expect(pending.take({ rows: 10, bytes: 10 }).map((t) => t.commitLsn)).toEqual([2n])
    expect(pending.take(NO_LIMIT)).toEqual([])
  })

  it('empty ones ride along', () => {
    const pending = pendingTransactions()
    pending.push([of(1, 0, 0), of(2, 0, 0), of(3, 5, 5), of(4, 0, 0)])
    expect(pending.take({ rows: 5, bytes: 99 }).map((t) => t.commitLsn)).toEqual([1n, 2n, 3n])
    expect(pending.length()).toBe(1)
  })
})

describe('a part of a queue', () => {
  it('has at least one transaction and no more than it takes to reach its bytes; the rest stays, in order', () => {
    fc.assert(fc.property(fc.array(fc.nat(9), { maxLength: 30 }), fc.nat(20), (sizes, bytes) => {
      const all = sizes.map((size, i) => of(i, 1, size))
      const queue = [...all]
      const taken: ReturnType<typeof of>[] = []
      while (queue.length > 0) {
        const part = takePart(queue, bytes)
        expect(part.taken.length).toBeGreaterThan(0)
        expect(part.size).toBe(part.taken.reduce((sum, t) => sum + t.bytes, 0))
        expect(part.taken.length === 1 || part.size - part.taken.at(-1)!.bytes < bytes).toBe(true)
        taken.push(...part.taken)
      }
      expect(taken).toEqual(all)
    }))
  })
})
