import { describe, expect, it } from 'vitest'
import { parseOptions } from '../../bench/objects/options.ts'
import { ratioOf, table, type Run } from '../../bench/objects/results.ts'

const set = { name: 'small', objects: 1_000, bytes: 4_096 } as const
const run = (pair: number, contender: Run['contender'], seconds: number): Run =>
  ({ set, pair, contender, seconds, cpu: { contender: 1, servers: 2, databases: 0 }, rssMiB: 90 })

describe('the benchmark of objects', () => {
  it('a ratio is the median over pairs, each pair by itself', () => {
    const runs = [run(0, 'rclone', 2), run(0, 'rekey', 1), run(1, 'rclone', 3), run(1, 'rekey', 3), run(2, 'rclone', 3), run(2, 'rekey', 2)]
    expect(ratioOf(runs, 'small', 'rclone')).toBe(1.5)
    expect(table({ runs })).toContain('| 1000 of 4 KiB | rclone | 333 | 1.4 | 1.0, 2.0, 0.0 | 90 MiB | **1.50** |')
    expect(table({ runs })).not.toContain('rclone-parts')
  })

  it('options have defaults, a quick size, and clear errors', () => {
    expect(parseOptions([])).toMatchObject({ pairs: 3, small: { objects: 20_000 }, large: { objects: 20 }, verify: 2 })
    expect(parseOptions(['--quick', '--large', '0'])).toMatchObject({ pairs: 2, small: { objects: 4_000 }, large: { objects: 0 } })
    expect(() => parseOptions(['--small', 'many'])).toThrow('--small: expected a whole number')
  })
})
