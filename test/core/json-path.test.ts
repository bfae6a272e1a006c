import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatJsonPath, parseJsonPath } from '../../src/core/json/path.ts'
import type { JsonStep } from '../../src/core/mapping.ts'

test('every kind of step', () => {
  expect(parseJsonPath('$.a.*[0][*]..b["c.d\\""]..')).toEqual([
    { kind: 'member', name: 'a' }, { kind: 'members' }, { kind: 'index', index: 0 }, { kind: 'items' }, { kind: 'deep' },
    { kind: 'member', name: 'b' }, { kind: 'member', name: 'c.d"' }, { kind: 'deep' },
  ])
  expect(parseJsonPath('$')).toEqual([])
  expect(parseJsonPath('$..[2]..*')).toEqual([{ kind: 'deep' }, { kind: 'index', index: 2 }, { kind: 'deep' }, { kind: 'members' }])
  expect(parseJsonPath('$.prj-ntwrk_a/b%2Fc.é')).toEqual([{ kind: 'member', name: 'prj-ntwrk_a/b%2Fc' }, { kind: 'member', name: 'é' }])
})

test.each(['', 'a', '.a', '$a', '$.', '$.a.', '$...a', '$....a', '$[', '$[]', '$[-1]', '$[1', '$["a]', '$["\\x"]', '$[a]', '$.a b',
  '$.a*', '$[1234567890]', "$['a']"])(
  '%j is refused', (text) => {
    expect(() => parseJsonPath(text)).toThrow(RangeError)
  })

test('the error says where', () => {
  expect(() => parseJsonPath('$.ui.')).toThrow('a name expected at 6')
  expect(() => parseJsonPath('$.a[x]')).toThrow('expected at 4')
})

const step: fc.Arbitrary<JsonStep> = fc.oneof(
  fc.record({ kind: fc.constant('member' as const), name: fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.constantFrom('', '*',
    'a.b', '[0]', '"')) }),
  fc.record({ kind: fc.constant('index' as const), index: fc.nat(999_999_999) }),
  fc.constantFrom<JsonStep>({ kind: 'members' }, { kind: 'items' }, { kind: 'deep' }),
)

test('a path is printed as it is read', () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
    const path = steps.filter((s, i) => s.kind !== 'deep' || steps[i - 1]?.kind !== 'deep')
    expect(parseJsonPath(formatJsonPath(path))).toEqual(path)
  }), { numRuns: 1000 })
})
