import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RATE, answered, backoffMs, newBucket, newRate, refused, taken } from '../../src/core/rate.ts'

describe('how many requests at a time', () => {
  it('doubles with each round while nothing is refused, up to the most', () => {
    let rate = newRate()
    const rounds = [rate.allowed]
    for (let round = 0; round < 6; round++) {
      const inFlight = Math.floor(rate.allowed)
      for (let i = 0; i < inFlight; i++) rate = answered(rate, Math.floor(rate.allowed))
      rounds.push(rate.allowed)
    }
    expect(rounds).toEqual([16, 32, 64, 128, 256, 256, 256])
  })

  it('is halved by a refusal, once for all that were under way, and then grows by one a round', () => {
    let rate = { ...newRate(), allowed: 200 }
    for (let i = 0; i < 200; i++) rate = refused(rate, 5_000 + i)
    expect(rate.allowed).toBe(100)
    for (let i = 0; i < 101; i++) rate = answered(rate, Math.floor(rate.allowed))
    expect(rate.allowed).toBeCloseTo(101, 0)
    expect(refused(rate, 5_000 + RATE.restMs).allowed).toBeCloseTo(50.5, 0)
  })

  it('does not grow for a caller that does not use it, and never falls below one', () => {
    expect(answered(newRate(), 15)).toEqual(newRate())
    let rate = newRate()
    for (let i = 0; i < 20; i++) rate = refused(rate, i * RATE.restMs)
    expect(rate.allowed).toBe(1)
    expect(newRate(4).allowed).toBe(4)
  })
})

describe('pauses before another try', () => {
  it('double up to 20 s, and are spread over their second half', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 60 }), fc.double({ min: 0, max: 0.999, noNaN: true }), (tries, chance) => {
      const most = Math.min(20_000, 100 * 2 ** tries)
      expect(backoffMs(tries, chance)).toBeGreaterThanOrEqual(most / 2)
      expect(backoffMs(tries, chance)).toBeLessThanOrEqual(most)
    }))
  })
})

describe('a limit a second', () => {
  it('lets a second’s worth go at once, and over any time no more than that and what the time allows', () => {
    const step = fc.record({ amount: fc.integer({ min: 0, max: 5_000 }), after: fc.integer({ min: 0, max: 2_000 }) })
    fc.assert(fc.property(fc.integer({ min: 1, max: 3_000 }), fc.array(step, { maxLength: 100 }), (perSecond, steps) => {
      let bucket = newBucket(perSecond, 0)
      let [now, gone] = [0, 0]
      for (const { amount, after } of steps) {
        now += after
        const next = taken(bucket, amount, now)
        bucket = next.bucket
        gone += amount
        now += next.waitMs
        expect(gone).toBeLessThanOrEqual(perSecond * (1 + now / 1_000) + 1e-6)
      }
    }))
  })
})
