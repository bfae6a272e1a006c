import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { IN_MEMORY, LIMITS, rangeOf, wayOf, type Way } from '../../src/core/copy-path.ts'

const MiB = 2 ** 20
const GiB = 2 ** 30
const MD5 = 'd41d8cd98f00b204e9800998ecf8427e'
const source = (size: number, etag = MD5, partSize: number | null = null) => ({ size, etag, partSize })
const way = (from: ReturnType<typeof source>, near: boolean, etags: 'keep' | 'free' = 'keep'): Way => wayOf(from, { near, etags }).way

describe('the way of an object', () => {
  it.each<[string, number, boolean, Way]>([
    ['no bytes, near', 0, true, { path: 'store' }],
    ['no bytes, far', 0, false, { path: 'whole', streams: false }],
    ['in memory', IN_MEMORY, false, { path: 'whole', streams: false }],
    ['above memory, its ETag kept', IN_MEMORY + 1, false, { path: 'whole', streams: true }],
    ['exactly 5 GiB, far', 5 * GiB, false, { path: 'whole', streams: true }],
    ['5 GiB and a byte, far', 5 * GiB + 1, false, { path: 'parts', partSize: 16 * MiB, parts: 321 }],
    ['exactly 5 GiB, near', 5 * GiB, true, { path: 'store' }],
    ['5 GiB and a byte, near', 5 * GiB + 1, true, { path: 'store-parts', partSize: 256 * MiB, parts: 21 }],
    ['10,000 parts of 16 MiB', 160_000 * MiB, false, { path: 'parts', partSize: 16 * MiB, parts: 10_000 }],
    ['a byte more', 160_000 * MiB + 1, false, { path: 'parts', partSize: 17 * MiB, parts: 9_412 }],
    ['the largest there is', 50_000 * GiB, false, { path: 'parts', partSize: 5 * GiB, parts: 10_000 }],
  ])('%s', (_, size, near, expected) => expect(way(source(size), near)).toEqual(expected))

  it('with other ETags, large objects go in parts', () => {
    expect(way(source(IN_MEMORY + 1), false, 'free')).toEqual({ path: 'parts', partSize: 16 * MiB, parts: 2 })
    expect(way(source(IN_MEMORY + 1, 'not-an-md5'), false)).toEqual({ path: 'parts', partSize: 16 * MiB, parts: 2 })
    expect(wayOf(source(IN_MEMORY + 1, 'not-an-md5'), { near: false, etags: 'keep' }).sameEtag).toBe(false)
  })

  it('takes the parts of the source where it can tell them, near and far', () => {
    expect(way(source(20 * MiB, `${MD5}-3`), false)).toEqual({ path: 'parts', partSize: 8 * MiB, parts: 3 })
    expect(way(source(20 * MiB, `${MD5}-4`), true)).toEqual({ path: 'store-parts', partSize: 5 * MiB, parts: 4 })
    expect(way(source(20 * MiB, `${MD5}-2`, 13 * MiB), true)).toEqual({ path: 'store-parts', partSize: 13 * MiB, parts: 2 })
    expect(way(source(3, `${MD5}-1`), false)).toEqual({ path: 'parts', partSize: 5 * MiB, parts: 1 })
    expect(way(source(0, `${MD5}-1`), false)).toEqual({ path: 'whole', streams: false })
    // Neither a usual size nor one alone: 30 parts of 34 MiB or of some bytes more or less.
    expect(way(source(1_000 * MiB + 1, `${MD5}-30`), false)).toMatchObject({ partSize: 34 * MiB })
    // Parts that S3 would not take: the store that made them has other limits.
    expect(wayOf(source(4 * MiB, `${MD5}-4`), { near: false, etags: 'keep' })).toEqual({ way: { path: 'whole', streams: false }, sameEtag: false })
    expect(way(source(20 * MiB, `${MD5}-3`), true, 'free')).toEqual({ path: 'store' })
  })

  it('whatever the object, the parts fit it and what S3 takes', () => {
    const any = fc.record({
      size: fc.oneof(fc.bigInt(0n, 50_000n * BigInt(GiB)).map(Number), fc.integer({ min: 0, max: 200 * MiB })),
      parts: fc.option(fc.integer({ min: 1, max: 10_000 })), partSize: fc.option(fc.integer({ min: 1, max: 6 * GiB })),
      near: fc.boolean(), etags: fc.constantFrom('keep' as const, 'free' as const),
    })
    fc.assert(fc.property(any, ({ size, parts, partSize, near, etags }) => {
      const from = source(size, parts === null ? MD5 : `${MD5}-${parts}`, partSize)
      const { way: chosen, sameEtag } = wayOf(from, { near, etags })
      if (chosen.path === 'whole') expect(chosen.streams).toBe(size > IN_MEMORY)
      if (chosen.path === 'store' || chosen.path === 'whole') {
        expect(size).toBeLessThanOrEqual(LIMITS.whole)
        return
      }
      expect(chosen.partSize).toBeGreaterThanOrEqual(LIMITS.leastPart)
      expect(chosen.partSize).toBeLessThanOrEqual(LIMITS.part)
      expect(chosen.parts).toBeLessThanOrEqual(LIMITS.parts)
      const ranges = Array.from({ length: chosen.parts }, (__, i) => rangeOf(size, chosen.partSize, i + 1))
      expect(ranges[0].from).toBe(0)
      expect(ranges.at(-1)!.to).toBe(size - 1)
      expect(ranges.slice(1).every(({ from: start }, i) => start === ranges[i].to + 1)).toBe(true)
      if (sameEtag) expect(chosen.parts).toBe(parts)
    }), { numRuns: 300 })
  })
})
