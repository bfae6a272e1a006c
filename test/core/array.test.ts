import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { rewriteArray, scanArray } from '../../src/core/array.ts'

const rewrite = (text: string, replace: (e: string) => string | null = (e) => `u_${e}`) => rewriteArray(Buffer.from(text),
  replace).toString()

describe('rewriteArray', () => {
  test.each([
    ['{1,2,NULL}', '{u_1,u_2,NULL}'],
    ['{}', '{}'],
    ['{"a b","NULL",""}', '{"u_a b",u_NULL,""}'],
    ['[0:2]={1,2,3}', '[0:2]={u_1,u_2,u_3}'],
    ['[-1:0][2:2]={{1},{NULL}}', '[-1:0][2:2]={{u_1},{NULL}}'],
    ['{"a\\"b\\\\c",é,"x,y"}', '{"u_a\\"b\\\\c",u_é,"u_x,y"}'],
    ['{null,nulls,\u00a0}', '{null,u_nulls,u_\u00a0}'],
  ])('%s', (text, expected) => {
    expect(rewrite(text)).toBe(expected)
  })
  test('a new element is quoted if it must be', () => {
    for (const [id, spelled] of [['', '""'], ['Null', '"Null"'], ['a{', '"a{"'], ['a"', '"a\\""'], ['\\', '"\\\\"'], ['a\tb', '"a\tb"'],
      ['a.b-c', 'a.b-c']]) {
      expect(rewrite('{x,"y z"}', (e) => (e === 'x' ? id : null))).toBe(`{${spelled},"y z"}`)
    }
  })
  test('an element that does not change keeps its spelling', () => {
    expect(rewrite('{"1","a\\b"}', (e) => e)).toBe('{"1","a\\b"}')
    expect(rewrite('{"1","\\a"}', () => null)).toBe('{"1","\\a"}')
  })
  test.each(['', '1', '{', '{1', '{1,', '{1,}', '{,1}', '{1}}', '{1}x', '{"a', '{"a\\', '{"a"b}', '{a"b"}', '{ 1}', '{{1}', '{{1}2}',
    '[0:1]', '[0:1]=1', '}'])(
    '%j is refused', (text) => {
      expect(() => rewrite(text)).toThrow(RangeError)
    })
  test('bytes that are not UTF-8 are refused', () => {
    expect(() => rewriteArray(Buffer.from('{\xff}', 'latin1'), () => null)).toThrow(RangeError)
  })
  test('200,000 elements', () => {
    const text = `{${'1,é,'.repeat(100_000)}1}`
    expect(rewrite(text, (e) => (e === '1' ? '22' : null))).toBe(`{${'22,é,'.repeat(100_000)}22}`)
  })
})

type Nested = (string | null | Nested)[]
const print = (value: Nested): string => `{${value.map((v) => (v === null ? 'NULL' : Array.isArray(v) ? print(v) : `"${v.replace(/["\\]/g,
  '\\$&')}"`)).join(',')}}`
const element = fc.option(fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('NULL', 'a b', '{', '}', ',', '"', '\\', '1')))
const nested = fc.oneof(fc.array(element), fc.array(fc.array(element, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 3 }))

describe('properties', () => {
  test('elements are read as they were written, nothing changes by itself', () => {
    fc.assert(fc.property(nested, (value) => {
      const read: (string | null)[] = []
      scanArray(Buffer.from(print(value as Nested)), (e) => read.push(e))
      expect(read).toEqual((value as (string | null)[][]).flat())
      expect(rewrite(print(value as Nested), (e) => e)).toBe(print(value as Nested))
    }), { numRuns: 500 })
  })
  test('new elements are read as they were given', () => {
    fc.assert(fc.property(nested, (value) => {
      const read: (string | null)[] = []
      scanArray(Buffer.from(rewrite(print(value as Nested), (e) => `${e} `.repeat(2).slice(0, -1))), (e) => read.push(e))
      expect(read).toEqual((value as (string | null)[][]).flat().map((e) => (e === null || e === '' ? e : `${e} ${e}`)))
    }), { numRuns: 500 })
  })
})
