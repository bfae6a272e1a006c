import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RekeyError } from '../../src/core/errors.ts'
import { newBudget } from '../../src/mirror/budget.ts'
import { isBusy, newPace } from '../../src/mirror/pace.ts'

const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('the pace of a store', () => {
  it('never has more under way than is allowed, and gives every place back', async () => {
    let now = 0
    const pace = newPace({ most: 32, requestsPerSecond: null, bytesPerSecond: null, now: () => (now += 10) })
    let most = 0
    await Promise.all(Array.from({ length: 500 }, async (_, i) => {
      const leave = await pace.enter()
      most = Math.max(most, pace.inFlight)
      expect(pace.inFlight).toBeLessThanOrEqual(32)
      await soon()
      leave(i % 7 !== 0)
      leave(true)
    }))
    expect(most).toBeGreaterThan(8)
    expect(pace.inFlight).toBe(0)
  })

  it('a busy store is asked less and less, down to one at a time', async () => {
    let now = 0
    const pace = newPace({ most: 256, requestsPerSecond: null, bytesPerSecond: null, now: () => now })
    const seen: number[] = []
    for (let i = 0; i < 6; i++) {
      const leave = await pace.enter()
      leave(false)
      now += 1_000
      seen.push(pace.allowed)
    }
    expect(seen).toEqual([8, 4, 2, 1, 1, 1])
  })

  it('who waits for its share waits no longer when it is to end', async () => {
    const pace = newPace({ most: 4, requestsPerSecond: 1, bytesPerSecond: 1 })
    const end = new AbortController()
    const entered = [await pace.enter(end.signal), ...Array.from({ length: 8 }, () => pace.enter(end.signal))].slice(1) as Promise<unknown>[]
    const waiting = [pace.bytes(1_000_000, end.signal), ...entered.map((one) => expect(one).rejects.toMatchObject({ name: 'AbortError' }))]
    end.abort()
    await Promise.all(waiting)
    expect(pace.inFlight).toBe(1)
  })

  it('what asks for fewer requests: busy stores and missing answers, not refusals', () => {
    const busy = ['STORE_BUSY', 'REMOTE', 'OBJECT_REFUSED', 'OBJECT_CHANGED'] as const
    expect(busy.map((code) => isBusy(new RekeyError(code, '')))).toEqual([true, true, false, false])
  })

  it('waits when a second’s requests are used up', async () => {
    const pace = newPace({ most: 256, requestsPerSecond: 50, bytesPerSecond: null })
    const began = performance.now()
    for (let i = 0; i < 60; i++) (await pace.enter())(true)
    expect(performance.now() - began).toBeGreaterThan(150)
  })
})

describe('the memory that copies share', () => {
  it('is never exceeded, and whoever wants more than all of it gets all of it', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 150 }), { maxLength: 60 }), async (sizes) => {
      const budget = newBudget(100)
      let held = 0
      await Promise.all(sizes.map(async (size) => {
        const mine = await budget.take(size)
        held += Math.min(size, 100)
        expect(held).toBeLessThanOrEqual(100)
        await soon()
        held -= Math.min(size, 100)
        mine.give()
      }))
      expect(held).toBe(0)
    }), { numRuns: 50 })
  })

  it('gives memory again when its user is done with it, and never to two', async () => {
    const budget = newBudget(100)
    const [one, two] = [await budget.take(40), await budget.take(40)]
    const [mine, theirs] = [one.memory(40), two.memory(40)]
    expect(theirs).not.toBe(mine)
    one.give(mine)
    expect((await budget.take(40)).memory(40)).toBe(mine)
    two.give(Buffer.from('not of this budget'))
    const next = await budget.take(40)
    expect([mine, theirs]).not.toContain(next.memory(40))
  })
})
