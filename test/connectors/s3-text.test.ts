import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { base64Of, copySource, etagOf, hexOf, listedKey, receivedValue, sentValue, tagging } from '../../connectors/s3/text.ts'
import { HOSTILE_KEYS } from '../support/objects.ts'

describe('the source of a copy', () => {
  it('is percent-encoded byte by byte, slashes left, so that any decoder gives the key back', () => {
    for (const key of HOSTILE_KEYS) {
      const text = copySource({ bucket: 'b', key, version: null })
      expect(text).toMatch(/^[A-Za-z0-9%/._~-]+$/)
      expect(text.slice(2).split('/').map(decodeURIComponent).join('/')).toBe(key)
    }
    expect(copySource({ bucket: 'b', key: 'a?b', version: 'x/y+1' })).toBe('b/a%3Fb?versionId=x%2Fy%2B1')
  })
})

describe('text of S3', () => {
  it('metadata comes back as it was, also what is not ASCII', () => {
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const sent = sentValue(text)
      expect(sent).toMatch(/^[\t\x20-\x7e]*$/)
      if (sent !== text || !text.startsWith('=?')) expect(receivedValue(sent)).toBe(text)
    }))
    expect(receivedValue('=?UTF-8?Q?caf=C3=A9_au_lait?=')).toBe('café au lait')
    expect(receivedValue(Buffer.from('café', 'utf8').toString('latin1'))).toBe('café')
  })

  it.each([['a+b%2Bc', 'a b+c'], ['%C3%A9%01/x', 'é\u0001/x']])('a listed key %s', (listed, key) => expect(listedKey(listed)).toBe(key))

  it('tags are a query', () => expect(tagging({ 'a b': 'c&d', 'é': '=' })).toBe('a%20b=c%26d&%C3%A9=%3D'))

  it('digests', () => {
    expect(etagOf('"abc-2"')).toBe('abc-2')
    expect(etagOf('W/"abc"')).toBe('abc')
    expect(hexOf(base64Of('00ff10'))).toBe('00ff10')
    expect(hexOf(`${base64Of('00ff10')}-12`)).toBe('00ff10-12')
    expect(hexOf(undefined)).toBeNull()
  })
})
