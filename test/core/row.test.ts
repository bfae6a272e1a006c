import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { escapeField, fieldEnd, fieldStart, isNull, isUnchanged, rawField, rowOf, textField, unescapeField,
  valuesOf } from '../../src/core/row.ts'

const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('', '\\N', '\\U', '\\', '\t', '\\t', 'a\nb', '\\.', '\b\f\v\r'))
const values = fc.array(fc.oneof(text, fc.constant(null), fc.constant(undefined)), { minLength: 1, maxLength: 8 })

describe('COPY text', () => {
  it('every byte, and any bytes, survive escaping', () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    expect(unescapeField(escapeField(all))).toEqual(all)
    fc.assert(fc.property(fc.uint8Array(), (bytes) => {
      const raw = Buffer.from(bytes)
      const escaped = escapeField(raw)
      expect(unescapeField(escaped)).toEqual(raw)
      expect([escaped.includes(9), escaped.includes(10), escaped.includes(13)]).toEqual([false, false, false])
    }))
  })

  it('text without anything to escape is not copied', () => {
    const plain = Buffer.from('plain ü')
    expect(escapeField(plain)).toBe(plain)
    expect(unescapeField(plain)).toBe(plain)
  })

  it.each(['\\', 'a\\', '\\x41', '\\N', '\\U', '\\101', '\\\t'])('%j is not an escape that is written', (field) => {
    expect(() => unescapeField(Buffer.from(field))).toThrow(RangeError)
  })
})

describe('rows', () => {
  it('values, null and what was not sent come back as they were', () => {
    fc.assert(fc.property(values, (list) => {
      const row = rowOf(list)
      expect(valuesOf(row)).toEqual(list)
      list.forEach((value, i) => expect([isNull(row, i), isUnchanged(row, i)]).toEqual([value === null, value === undefined]))
    }))
  })

  it('are one line: fields joined by a tab, from the start to the end', () => {
    fc.assert(fc.property(values, (list) => {
      const row = rowOf(list)
      const fields = list.map((_, i) => rawField(row, i))
      expect(row.buf.toString('latin1', fieldStart(row, 0), fieldEnd(row, row.width - 1))).toBe(fields.join('\t'))
      expect(row.buf.toString('latin1').split('\t')).toEqual(fields)
    }))
  })

  it('can lie anywhere in a shared buffer', () => {
    const [first, second] = [rowOf(['a', null]), rowOf(['\t', undefined, 'c'])]
    const buf = Buffer.concat([first.buf, Buffer.from('\n'), second.buf])
    const ends = Int32Array.from([...first.ends, ...[...second.ends].map((end) => end + first.buf.length + 1)])
    expect(valuesOf({ buf, ends, at: 0, width: 2 })).toEqual(['a', null])
    expect(valuesOf({ buf, ends, at: 3, width: 3 })).toEqual(['\t', undefined, 'c'])
  })

  it('text that looks like a mark is not one', () => {
    const row = rowOf(['\\N', '\\U', 'N', ''])
    expect([0, 1, 2, 3].map((i) => isNull(row, i) || isUnchanged(row, i))).toEqual([false, false, false, false])
    expect(textField(row, 0)).toBe('\\N')
  })

  it('a value that was not sent cannot be read', () => expect(() => textField(rowOf([undefined]), 0)).toThrow('did not send'))
})
