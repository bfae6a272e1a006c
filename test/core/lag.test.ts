import { expect, test } from 'vitest'
import { lagOf, type Lag } from '../../src/core/lag.ts'
import type { Checkpoint } from '../../src/core/plan.ts'

const at = (commitLsn: bigint, endLsn = commitLsn + 8n): Checkpoint => ({
  epoch: 1, commitLsn, endLsn, phase: 'stream', convergeLsn: 0n, totals: {}, mappingDigest: '', sourceSystem: '', sourceTimeline: 1,
})
/** Times are seconds here. */
function lag(): { [name in 'read' | 'sampled']: (lsn: bigint, now: number) => void } & {
  applied: (lsn: bigint, commit: number, now: number) => void
  seconds: (now: number) => number | null
  raw: Lag
} {
  const raw = lagOf(2_000)
  raw.from(at(100n))
  return {
    raw, read: (lsn, now) => raw.read(lsn, now * 1e3), sampled: (lsn, now) => raw.sampled(lsn, now * 1e3),
    applied: (lsn, commit, now) => raw.applied(at(lsn), commit * 1e6, now * 1e3), seconds: (now) => raw.seconds(now * 1e3),
  }
}

test('nothing is known before anything was applied', () => {
  const { seconds, read, raw } = lag()
  read(200n, 5)
  expect([seconds(6), raw.bytes()]).toEqual([null, null])
})

test('an idle source: 0, however long ago the last commit was', () => {
  const { read, applied, seconds } = lag()
  read(200n, 10)
  applied(200n, 10, 10.1)
  expect([seconds(10.2), seconds(5_000)]).toEqual([0, 0])
})

test('the first commit after an idle hour has waited since it was read', () => {
  const { read, applied, seconds } = lag()
  applied(200n, 10, 10.1)
  read(300n, 3_610)
  expect(seconds(3_610.5)).toBe(0.5)
  read(310n, 3_611)
  expect(seconds(3_612)).toBe(2)
  applied(300n, 3_610, 3_613)
  expect(seconds(3_613)).toBe(3)
  applied(310n, 3_611, 3_613)
  expect(seconds(3_614)).toBe(0)
})

test('a backlog: the age of the newest commit that is applied', () => {
  const { read, applied, seconds } = lag()
  read(500n, 1_000)
  applied(200n, 100, 1_001)
  expect(seconds(1_001)).toBe(901)
  applied(400n, 990, 1_002)
  expect(seconds(1_002)).toBe(12)
})

test('WAL that does not come is behind after a while, and no more when it was passed', () => {
  const { applied, sampled, seconds, raw } = lag()
  applied(200n, 10, 10)
  sampled(900n, 11)
  sampled(1_000n, 12)
  expect([seconds(12), raw.bytes()]).toEqual([0, 792])
  expect(seconds(14)).toBe(3)
  applied(950n, 0, 15)
  expect([seconds(15), seconds(100)]).toEqual([0, 0])
  sampled(1_000n, 16)
  expect(seconds(19)).toBe(3)
})

test('a stream that begins again begins at its checkpoint', () => {
  const { read, applied, seconds, raw } = lag()
  applied(200n, 10, 10)
  read(300n, 11)
  raw.from(at(200n))
  expect(seconds(20)).toBe(0)
})
