import { describe, expect, test } from 'vitest'
import { serverRole, ticksOf } from '../../bench/cpu.ts'
import { parseOptions } from '../../bench/options.ts'
import { renderReport } from '../../bench/report.ts'
import { ratioOf, summarize } from '../../bench/results.ts'
import type { Run } from '../../bench/run.ts'
import { median, percentile } from '../../bench/stats.ts'

const cpu = { source: 3, destination: 5, node: 0, background: 1, rssMiB: 0 }

function run(phase: string, pair: number, contender: Run['contender'], rowsPerSecond: number): Run {
  return { phase, pair, contender, rows: 1_000, seconds: 1, startupSeconds: 0, rowsPerSecond, cpu }
}

const measured = {
  options: parseOptions(['--runs', '2']), serverSettings: {}, machine: { postgres: 'PostgreSQL 15.18', node: 'v20', cores: 2, cpu: 'x' },
  workloads: [{ phase: 'a' as const, title: 'bulk', rows: 500_000, transactions: 500, walBytes: 1 }],
  runs: [run('a', 1, 'native', 100_000), run('a', 1, 'rekey', 50_000), run('a', 2, 'native', 50_000), run('a', 2, 'rekey', 40_000)],
  latencies: [{ pair: 1, contender: 'native' as const, samples: 400, p50: 0.4, p90: 0.6, p99: 1.234, max: 3 }],
}

describe('statistics', () => {
  test('median and percentiles lie between neighbours', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
    expect(percentile([0, 10], 0.99)).toBeCloseTo(9.9)
    expect(median([])).toBeNaN()
  })
})

describe('results', () => {
  test('a ratio is the median over pairs, each pair by itself', () => {
    expect(ratioOf(measured.runs, 'a')).toBe(0.65)
  })
  test('without a whole pair there is no ratio', () => {
    expect(ratioOf([run('b', 1, 'native', 1), run('b', 2, 'rekey', 1)], 'b')).toBeNull()
    expect(summarize({ ...measured, runs: [] }, new Date(0)).ratios).toEqual({ a: null, b: null, c: null, d: null })
  })
  test('the report shows medians, ratio and latency, and dashes for what was not measured', () => {
    const text = renderReport(summarize(measured, new Date('2024-05-06T00:00:00Z')))
    expect(text).toContain('2024-05-06, PostgreSQL 15.18, Node v20, 2 cores (x), medians of 2 interleaved pairs, size 1.')
    expect(text).toContain('| (a) bulk | 500,000 | 75,000 | 45,000 | **0.65** | 3.0, 5.0 | 3.0, 0.0, 5.0 | 0 MiB |')
    expect(text).toContain('| native | 0.40 ms | 1.23 ms |')
    const half = renderReport(summarize({ ...measured, runs: measured.runs.slice(0, 1), latencies: [] }, new Date(0)))
    expect(half).toContain('| (a) bulk | 500,000 | 100,000 | – | – | 3.0, 5.0 | – | – |')
    expect(half).not.toContain('p50')
  })
})

describe('options', () => {
  test('quick is three smaller pairs', () => {
    expect(parseOptions(['--quick'])).toMatchObject({ quick: true, runs: 3, scale: 0.3, major: 15, checks: 'set', indexes: 'rebuild' })
    expect(parseOptions(['--quick', '--runs', '1', '--only', 'latency,a']).only).toEqual(['a', 'latency'])
  })
  test.each([
    ['--only', 'e'], ['--runs', '0'], ['--runs', '1.5'], ['--rows', ''], ['--checks', 'none'], ['--fast', ''],
  ])('refuses %s %s', (name, value) => {
    expect(() => parseOptions([name, value])).toThrow()
  })
})

describe('processes', () => {
  test('CPU ticks are read behind a name with blanks and parentheses', () => {
    expect(ticksOf('17 (a) b (c) S 1 17 17 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 1 0')).toBe(300)
  })
  test.each([
    ['postgres: walsender postgres source_a 127.0.0.1(40000) START_REPLICATION', 'source'],
    ['postgres: postgres source_d 127.0.0.1(40001) COPY', 'source'],
    ['postgres: checkpointer', 'background'],
    ['postgres: logical replication launcher', 'background'],
    ['postgres', null],
  ])('%s', (title, role) => {
    expect(serverRole(title, 'source')).toBe(role)
  })
  test.each([
    'postgres: logical replication worker for subscription 16501',
    'postgres: logical replication apply worker for subscription 16501',
    'postgres: logical replication tablesync worker for subscription 16501 sync 16390',
    'postgres: postgres run_rekey 127.0.0.1(40002) idle',
  ])('%s', (title) => {
    expect(serverRole(title, 'destination')).toBe('destination')
  })
})
