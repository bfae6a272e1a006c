import fc from 'fast-check'
import { expect, test } from 'vitest'
import { IntegerSet } from '../../src/core/ids/integer-set.ts'

test('says of each integer whether it is new, as a Set does', () => {
  const integers = fc.oneof(fc.nat(50), fc.nat(2 ** 31 - 1), fc.nat(100_000).map((n) => n * 64), fc.constantFrom(0, 2 ** 31 - 1))
  fc.assert(fc.property(fc.array(integers, { maxLength: 2_000 }), (all) => {
    const set = new IntegerSet()
    const oracle = new Set<number>()
    for (const n of all) {
      expect(set.add(n)).toBe(!oracle.has(n))
      oracle.add(n)
    }
  }))
})

test('grows to many neighbours and many multiples', () => {
  const set = new IntegerSet()
  let added = 0
  for (let n = 0; n < 200_000; n++) if (set.add(n)) added++
  for (let n = 0; n < 200_000; n++) if (set.add((n * 4096) % 2 ** 31)) added++
  for (let n = 0; n < 200_000; n++) expect(set.add(n)).toBe(false)
  expect(added).toBe(new Set([...Array(200_000).keys(), ...Array.from({ length: 200_000 }, (_, n) => (n * 4096) % 2 ** 31)]).size)
})
