import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { heartbeatSeconds, passedAt } from '../../src/core/heartbeat.ts'
import { stageLag } from '../../src/core/stage-lag.ts'
import { transaction } from '../support/core-literals.ts'

const NONE = { seconds: null, heartbeat: null }
/** The source's clock is so far ahead of ours. */
const AHEAD = 3_600

describe('heartbeats', () => {
  it('carry the clock of the source', () => {
    expect(heartbeatSeconds('heartbeat 1764049001.123456')).toBe(1_764_049_001.123456)
    for (const text of ['heartbeat', 'heartbeat ', 'heartbeat -1', 'heartbeat 1e9', 'heartbeat 12 ', 'converged 12', 'xheartbeat 1']) {
      expect(heartbeatSeconds(text), text).toBeNull()
    }
  })

  it('and commits tell how far a batch has come; a keepalive, whose time is ours, does not', () => {
    const commit = transaction([], { xid: 7, commitMicros: 5e6 })
    const beat = transaction([], { messages: ['heartbeat 9.5'] })
    const keepalive = transaction([], { commitMicros: 99e6 })
    const fragment = transaction([], { xid: 8, commitMicros: 70e6, last: false })
    expect(passedAt([])).toEqual(NONE)
    expect(passedAt([keepalive])).toEqual(NONE)
    expect(passedAt([commit, keepalive, fragment])).toEqual({ seconds: 5, heartbeat: null })
    expect(passedAt([beat, commit])).toEqual({ seconds: 5, heartbeat: 9.5 })
    expect(passedAt([commit, beat, keepalive])).toEqual({ seconds: 9.5, heartbeat: 9.5 })
  })
})

describe('the lag of the stages', () => {
  it('is not known before one has begun', () => {
    const lag = stageLag()
    lag.passed('decode', { seconds: 1, heartbeat: 1 }, 10n, 1)
    expect([lag.seconds(2), lag.bytes(), lag.heartbeat(2), lag.latency()]).toEqual([{}, {}, null, null])
  })

  it('begins with the age of the checkpoint, and grows while nothing moves', () => {
    const lag = stageLag()
    lag.sampled(100 + AHEAD, 500n, 100)
    lag.begin(['decode', 'apply'], 200n, 30, 100)
    expect(lag.seconds(100)).toEqual({ decode: 30, apply: 0, end_to_end: 30 })
    expect(lag.seconds(160)).toEqual({ decode: 90, apply: 0, end_to_end: 90 })
    expect(lag.heartbeat(160)).toBe(60)
    expect(lag.bytes()).toEqual({ decode: 300, apply: 0, end_to_end: 300 })
  })

  it('is told by stage, by the clock of the source', () => {
    const lag = stageLag()
    lag.sampled(100 + AHEAD, 500n, 100)
    lag.begin(['decode', 'apply'], 200n, 0, 100)
    lag.passed('decode', { seconds: 105 + AHEAD, heartbeat: null }, 450n, 105.25)
    expect(lag.latency()).toBeCloseTo(0.25)
    expect(lag.seconds(107)).toEqual({ decode: 2, apply: 5, end_to_end: 7 })
    expect(lag.bytes()).toEqual({ decode: 50, apply: 250, end_to_end: 300 })
    lag.passed('apply', { seconds: 105 + AHEAD, heartbeat: null }, 450n, 107)
    expect(lag.seconds(107)).toEqual({ decode: 2, apply: 0, end_to_end: 2 })
  })

  it('has the stages that a process has', () => {
    const capture = stageLag()
    capture.sampled(100, 500n, 100)
    capture.begin(['decode'], 200n, 0, 100)
    expect([capture.seconds(103), capture.bytes()]).toEqual([{ decode: 3 }, { decode: 300 }])
    const deliver = stageLag()
    deliver.sampled(100, 500n, 100)
    deliver.begin(['kafka', 'apply'], 200n, 0, 100)
    deliver.passed('kafka', { seconds: 104, heartbeat: 104 }, 300n, 105)
    expect(deliver.seconds(106)).toEqual({ kafka: 2, apply: 4, end_to_end: 6 })
    expect(deliver.heartbeat(106)).toBe(2)
    const both = stageLag()
    both.begin(['decode'], 200n, 0, 100)
    both.begin(['kafka', 'apply'], 200n, 0, 100)
    both.passed('decode', { seconds: 108, heartbeat: null }, 400n, 108)
    both.passed('kafka', { seconds: 105, heartbeat: null }, 300n, 108)
    expect(both.seconds(110)).toEqual({ decode: 2, kafka: 3, apply: 5, end_to_end: 10 })
  })

  it('goes on growing over an interruption: what was decoded is lost, what was applied stays, and no heartbeat came', () => {
    const lag = stageLag()
    lag.sampled(100, 500n, 100)
    lag.begin(['decode', 'apply'], 200n, 0, 100)
    lag.passed('decode', { seconds: 120, heartbeat: 120 }, 400n, 120)
    lag.passed('apply', { seconds: 110, heartbeat: null }, 300n, 120)
    lag.begin(['decode', 'apply'], 300n, 0, 170)
    expect(lag.seconds(170)).toEqual({ decode: 60, apply: 0, end_to_end: 60 })
    expect(lag.heartbeat(170)).toBe(50)
  })

  it('is never negative, and the stages add up', () => {
    const step = fc.record({
      stage: fc.constantFrom('source' as const, 'decode' as const, 'kafka' as const, 'apply' as const), at: fc.integer({ min: 0, max: 1_000 }), end: fc.bigInt(0n, 1_000n),
    })
    fc.assert(fc.property(fc.array(step), fc.integer({ min: 0, max: 1_000 }), (steps, now) => {
      const lag = stageLag()
      lag.begin(['decode', 'kafka', 'apply'], 5n, 0, 0)
      for (const { stage, at, end } of steps) {
        if (stage === 'source') lag.sampled(at, end, at)
        else lag.passed(stage, { seconds: at, heartbeat: at }, end, at)
      }
      for (const { decode = 0, kafka = 0, apply = 0, end_to_end: whole = 0 } of [lag.seconds(now), lag.bytes()]) {
        expect(Math.min(decode, kafka, apply)).toBeGreaterThanOrEqual(0)
        expect(decode + kafka + apply).toBe(whole)
      }
    }))
  })
})
