import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mintOrdered, mintOrderedText, orderedKey, readBase32, unmintOrdered } from '../../src/core/ids/ids.ts'
import { hash, siphash8 } from '../../src/core/ids/siphash.ts'

const counting = Uint8Array.from({ length: 16 }, (_, i) => i)
const key = orderedKey('usr', counting)
const int8 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })

describe('siphash8', () => {
  test('the reference implementation: key 00..0f, message 00..07', () => {
    siphash8(Uint32Array.from([0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c]), 0x07060504, 0x03020100)
    expect([hash.hi >>> 0, hash.lo >>> 0]).toEqual([0x93f5f579, 0x9a932462])
  })
})

describe('ordered ids', () => {
  test.each([
    ['-9223372036854775808', 'usr_0000000000g0081ste2hs83pg6'],
    ['-1', 'usr_3zzzzzzzzzhzzvy856z1cmkvwv'],
    ['0', 'usr_4000000000g00825z4rj1m8w8b'],
    ['1', 'usr_4000000000g0089fa184er5br1'],
    ['17', 'usr_4000000000g00ra50e3qg57hb8'],
    ['9007199254740993', 'usr_4040000000g008exw2gs24c24f'],
    ['9223372036854775807', 'usr_7zzzzzzzzzhzzvsad3zk18ysv8'],
  ])('test vector: %s under the key 00..0f is %s', (integer, id) => {
    expect(mintOrderedText(key, integer)).toBe(id)
    expect(unmintOrdered(key, id)).toBe(integer)
  })

  test('every int8 comes back, and ids sort as bytes the way integers sort', () => {
    fc.assert(fc.property(int8, int8, (a, b) => {
      const [idA, idB] = [mintOrderedText(key, `${a}`)!, mintOrderedText(key, `${b}`)!]
      expect(unmintOrdered(key, idA)).toBe(`${a}`)
      expect(Math.sign(Buffer.compare(Buffer.from(idA), Buffer.from(idB)))).toBe(a < b ? -1 : a > b ? 1 : 0)
    }))
  })

  test('it is a UUIDv8 of the RFC 9562 variant', () => {
    fc.assert(fc.property(int8, (n) => {
      const [, w1, w2] = readBase32(mintOrderedText(key, `${n}`)!.slice(4))!
      expect((w1 >>> 12) & 15).toBe(8)
      expect(w2 >>> 30).toBe(2)
    }))
  })

  test.each(['', '007', '-0', '+1', '1.0', ' 1', '1 ', 'abc', '1e3', '9223372036854775808', '-9223372036854775809',
    '123456789012345678901'])(
    'what is not a canonical int8 is not minted: %j', (text) => expect(mintOrderedText(key, text)).toBeNull())

  test('another key, prefix, form, or any changed character is not ours', () => {
    const id = mintOrderedText(key, '17')!
    expect(unmintOrdered(orderedKey('usr', counting.toReversed()), id)).toBeNull()
    expect(unmintOrdered(orderedKey('prj', counting), id)).toBeNull()
    fc.assert(fc.property(fc.integer({ min: 4, max: id.length - 1 }), fc.constantFrom(...Array.from('0123456789abcdefghjkmnpqrstvwxyz')),
      (at, digit) => {
      fc.pre(id[at] !== digit)
      expect(unmintOrdered(key, id.slice(0, at) + digit + id.slice(at + 1))).toBeNull()
    }))
  })

  test('the fast way reads its integer out of the middle of a buffer', () => {
    const line = Buffer.from('x\t-42\t9')
    const out = Buffer.alloc(30)
    expect(mintOrdered(key, line, 2, 5, out, 0)).toBe(30)
    expect(out.toString()).toBe(mintOrderedText(key, '-42'))
  })
})
