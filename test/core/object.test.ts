import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { etagMeans, isObjectKey } from '../../src/core/objects/object.ts'

describe('object keys', () => {
  it('are measured in bytes of UTF-8, as S3 does', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 600 }), (key) => {
      expect(isObjectKey(key)).toBe(Buffer.byteLength(key, 'utf8') <= 1_024)
    }))
    expect(isObjectKey('é'.repeat(512))).toBe(true)
    expect(isObjectKey(`${'é'.repeat(512)}x`)).toBe(false)
    expect(isObjectKey('')).toBe(false)
  })

  it('have no lone surrogates: two of them would become one key', () => {
    expect(isObjectKey('a\ud800b')).toBe(false)
    expect(isObjectKey('a\u{1F600}b')).toBe(true)
  })
})

describe('ETags', () => {
  const md5 = 'd41d8cd98f00b204e9800998ecf8427e'
  it.each([
    [md5, { md5, parts: null }],
    [`${md5}-3`, { md5, parts: 3 }],
    [`${md5}-10000`, { md5, parts: 10_000 }],
    [`${md5}-0`, null],
    [`${md5.slice(1)}`, null],
    [md5.toUpperCase(), null],
    ['', null],
  ])('%s', (etag, means) => expect(etagMeans(etag)).toEqual(means))
})
