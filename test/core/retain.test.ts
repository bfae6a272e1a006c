import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { retain } from '../../src/core/retain.ts'

describe('retain', () => {
  it('without a delay confirms what is durable, never less than before', () => {
    const retained = retain(0)
    expect([retained.note(5n, 0), retained.note(7n, 0), retained.note(6n, 1), retained.note(8n, 1)]).toEqual([5n, 7n, 7n, 8n])
  })

  it('holds a sample back for the delay', () => {
    const retained = retain(10_000)
    expect([retained.note(5n, 0), retained.note(5n, 9_999), retained.note(9n, 10_000), retained.note(9n, 19_999),
      retained.note(9n, 20_000)])
      .toEqual([0n, 0n, 5n, 5n, 9n])
  })

  it('confirms nothing that was not durable a delay ago, and everything that was a delay and a second ago', () => {
    const steps = fc.array(fc.record({ more: fc.bigInt(0n, 3n), wait: fc.constantFrom(0, 10, 400, 1_000, 5_000) }),
      { minLength: 1, maxLength: 80 })
    fc.assert(fc.property(steps, fc.constantFrom(1, 1_000, 4_000), (list, delay) => {
      const retained = retain(delay)
      const notes: { lsn: bigint; at: number }[] = []
      let [lsn, at, before] = [0n, 0, 0n]
      for (const { more, wait } of list) {
        lsn += more
        at += wait
        notes.push({ lsn, at })
        const confirmed = retained.note(lsn, at)
        const durableBy = (then: number): bigint => notes.findLast((note) => note.at <= then)?.lsn ?? 0n
        expect(confirmed >= before && confirmed <= durableBy(at - delay)).toBe(true)
        before = confirmed
      }
      // Time goes by and nothing is new: in the end all is confirmed.
      expect([retained.note(lsn, at + 1_000), retained.note(lsn, at + 2_000 + 2 * delay)].at(-1)).toBe(lsn)
    }))
  })

  it('keeps a sample a second at most, so it stays exact over millions of notes', () => {
    const retained = retain(60_000)
    let confirmed = 0n
    for (let ms = 0; ms <= 600_000; ms++) confirmed = retained.note(BigInt(ms), ms)
    expect(confirmed).toBe(540_000n)
  })
})
