import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { rewriteJson } from '../../src/core/json/json.ts'
import { parseJsonPath } from '../../src/core/json/path.ts'
import { NotJson } from '../../src/core/json/scan.ts'
import { parseTemplate, Unmatched } from '../../src/core/template.ts'
import type { JsonEdit } from '../../src/core/mapping.ts'

const ref = (path: string, entity: string, more: Partial<JsonEdit> = {}): JsonEdit =>
  ({ path: parseJsonPath(path), at: 'value', map: { kind: 'ref', entity }, when: null, ...more })
const keys = (path: string, entity: string): JsonEdit => ref(path, entity, { at: 'keys' })
const template = (path: string, text: string, more: Partial<JsonEdit> = {}): JsonEdit =>
  ref(path, '', { map: { kind: 'template', templates: [parseTemplate(text)], strict: false }, ...more })

const prefix = (entity: string, key: string) => `${entity}_${key}`
const rewrite = (text: string, edits: readonly JsonEdit[], idOf: (e: string, k: string) => string | null = prefix) =>
  rewriteJson(Buffer.from(text), edits, idOf).toString()

describe('places', () => {
  test('members, indexes, every member, every item, any depth', () => {
    const text = '{"a":{"b":1,"c":[2,{"b":3}]},"b":4}'
    expect(rewrite(text, [ref('$.a.b', 'n')])).toBe('{"a":{"b":"n_1","c":[2,{"b":3}]},"b":4}')
    expect(rewrite(text, [ref('$.a.c[0]', 'n')])).toBe('{"a":{"b":1,"c":["n_2",{"b":3}]},"b":4}')
    expect(rewrite(text, [ref('$.*', 'n')])).toBe('{"a":{"b":1,"c":[2,{"b":3}]},"b":"n_4"}')
    expect(rewrite(text, [ref('$.a.c[*]', 'n')])).toBe('{"a":{"b":1,"c":["n_2",{"b":3}]},"b":4}')
    expect(rewrite(text, [ref('$..b', 'n')])).toBe('{"a":{"b":"n_1","c":[2,{"b":"n_3"}]},"b":"n_4"}')
    expect(rewrite(text, [ref('$..', 'n')])).toBe('{"a":{"b":"n_1","c":["n_2",{"b":"n_3"}]},"b":"n_4"}')
    expect(rewrite(text, [ref('$.a..b', 'n')])).toBe('{"a":{"b":"n_1","c":[2,{"b":"n_3"}]},"b":4}')
    expect(rewrite(' 7 ', [ref('$', 'n')])).toBe(' "n_7" ')
  })
  test('keys of the object that the path leads to, escapes decoded', () => {
    expect(rewrite('{"a": {"x" : 1, "\\u0078y":2, "":3}, "x":4}', [keys('$.a', 'n')])).toBe('{"a": {"n_x" : 1, "n_xy":2, "":3}, "x":4}')
    expect(rewrite('{"a":[{"x":1}]}', [keys('$..', 'n')])).toBe('{"n_a":[{"n_x":1}]}')
    expect(rewrite('{"a":[1]}', [keys('$.a', 'n')])).toBe('{"a":[1]}')
  })
  test('all members of the same name change', () => {
    expect(rewrite('{"a":1, "a":2}', [ref('$.a', 'n')])).toBe('{"a":"n_1", "a":"n_2"}')
  })
  test('paths see the names of the source', () => {
    expect(rewrite('{"x":{"a":1}}', [keys('$', 'n'), ref('$.x.a', 'm')])).toBe('{"n_x":{"a":"m_1"}}')
  })
})

describe('tokens', () => {
  test('a number becomes a string, or stays a number when the new id is an integer', () => {
    expect(rewrite('[17,"17"]', [ref('$[*]', 'n')])).toBe('["n_17","n_17"]')
    expect(rewrite('[17,"17",-5]', [ref('$[*]', 'n')], (_, k) => String(BigInt(k) + 1000n))).toBe('[1017,"1017",995]')
  })
  test('what is not an id stays byte for byte', () => {
    const text = '[ null,true , false,1.0,1e3,1E400,-0,1.10,"",{},[] ]'
    expect(rewrite(text, [ref('$[*]', 'n')])).toBe(text)
  })
  test('integers of any size are text', () => {
    expect(rewrite('[9007199254740993,0,-1]', [ref('$[*]', 'n')])).toBe('["n_9007199254740993","n_0","n_-1"]')
  })
  test('an id that is not known leaves the spelling as it was', () => {
    const text = '["\\u0061\\/b"]'
    expect(rewrite(text, [ref('$[*]', 'n')], () => null)).toBe(text)
    expect(rewrite(text, [ref('$[*]', 'n')], (_, k) => k)).toBe(text)
    expect(rewrite(text, [ref('$[*]', 'n')])).toBe('["n_a/b"]')
  })
  test('quotes, control characters and lone surrogates are escaped, other text is not', () => {
    expect(rewrite('["\\"\\\\\\u0001\\ud800é\\u00e9"]', [ref('$[*]', 'n')])).toBe('["n_\\"\\\\\\u0001\\ud800éé"]')
    expect(rewrite('["\\ud83d\\ude00"]', [ref('$[*]', 'n')])).toBe('["n_😀"]')
  })
  test('bytes that are not UTF-8 stay, and are refused only where they would be rewritten', () => {
    const text = Buffer.from('{"a\xff":"\xff","b":1}', 'latin1')
    expect(rewriteJson(text, [ref('$.b', 'n')], prefix).equals(Buffer.from('{"a\xff":"\xff","b":"n_1"}', 'latin1'))).toBe(true)
    expect(() => rewriteJson(text, [ref('$.*', 'n')], prefix)).toThrow(RangeError)
  })
})

describe('conditions', () => {
  const wallet = ref('$.value', 'wallets', { when: { member: 'kind', equals: ['wallet', '3'] } })
  test('the sibling may come before or behind, be a string or a number; the last of equal names counts', () => {
    expect(rewrite('{"kind":"wallet","value":17}', [wallet])).toBe('{"kind":"wallet","value":"wallets_17"}')
    expect(rewrite('{"value":17,"k\\u0069nd":"wallet"}', [wallet])).toBe('{"value":"wallets_17","k\\u0069nd":"wallet"}')
    expect(rewrite('{"value":17,"kind":3}', [wallet])).toBe('{"value":"wallets_17","kind":3}')
    for (const text of ['{"value":17}', '{"kind":"x","value":17}', '{"kind":"wallet","value":17,"kind":"x"}',
      '{"value":17,"kind":"wallet","kind":{}}', '{"value":17,"kind":["wallet"]}', '{"value":17,"x":{"kind":"wallet"}}']) {
      expect(rewrite(text, [wallet])).toBe(text)
    }
  })
  test('the innermost object around the place decides, also through arrays', () => {
    const edit = ref('$..ids[*]', 'n', { when: { member: 't', equals: ['y'] } })
    expect(rewrite('{"t":"y","o":{"ids":[1]},"ids":[2,3]}', [edit])).toBe('{"t":"y","o":{"ids":[1]},"ids":["n_2","n_3"]}')
  })
  test('for keys: the object around the one that has them, or itself when there is none', () => {
    const edit = ref('$.map', 'n', { at: 'keys', when: { member: 't', equals: ['y'] } })
    expect(rewrite('{"map":{"a":1},"t":"y"}', [edit])).toBe('{"map":{"n_a":1},"t":"y"}')
    expect(rewrite('{"map":{"a":1,"t":"y"}}', [edit])).toBe('{"map":{"a":1,"t":"y"}}')
    const root = ref('$', 'n', { at: 'keys', when: { member: 't', equals: ['y'] } })
    expect(rewrite('{"a":1,"t":"y"}', [root])).toBe('{"n_a":1,"n_t":"y"}')
  })
  test('the first edit that applies decides', () => {
    const edits = [ref('$.value', 'a', { when: { member: 'kind', equals: ['a'] } }), template('$.value', 'p:{b}'), ref('$.value', 'c')]
    expect(rewrite('{"kind":"a","value":"p:1"}', edits)).toBe('{"kind":"a","value":"a_p:1"}')
    expect(rewrite('{"value":"p:1"}', edits)).toBe('{"value":"p:b_1"}')
    expect(rewrite('{"value":1}', edits)).toBe('{"value":"c_1"}')
  })
})

describe('JSON inside a string', () => {
  const inner = ref('$.j', '', { map: { kind: 'json', edits: [ref('$.id', 'n'), keys('$.k', 'n')] } })
  test('is rewritten and encoded again', () => {
    expect(rewrite('{"j":"{\\"id\\": 7, \\"k\\":{\\"x\\":1e400}}"}',
      [inner])).toBe('{"j":"{\\"id\\": \\"n_7\\", \\"k\\":{\\"n_x\\":1e400}}"}')
  })
  test('stays if nothing changes or it is not JSON', () => {
    for (const text of ['{"j":"{\\u0022id\\": 1.5}"}', '{"j":"{id: 7}"}', '{"j":""}', '{"j":{"id":7}}',
      '{"j":"{\\"id\\":\\"\\ud800\\"}"}']) {
      expect(rewrite(text, [inner])).toBe(text)
    }
  })
  test('a strict template that matches nothing is an error', () => {
    const map = { kind: 'template', templates: [parseTemplate('p:{n}')], strict: true } as const
    expect(() => rewrite('{"a":"q"}', [ref('$.a', '', { map })])).toThrow(Unmatched)
    expect(rewrite('{"a":5}', [ref('$.a', '', { map })])).toBe('{"a":5}')
  })
})

describe('malformed text', () => {
  test.each(['', ' ', '{', '[', '[1', '[1,', '[1,]', '[,1]', '{"a"}', '{"a":}', '{"a":1,}', '{a:1}', '{1:1}', '[}', '{]', '[1]]', '1 2',
    '"', '"\\',
    '"\\x"', '"\\u12g4"', '"\\u12', '"\n"', 'tru', 'truex', 'nul', 'True', '01', '-', '1.', '.5', '1e', '1e+', '+1', '--1', '\ufeff1',
      '{"a" 1}', "['a']",
  ])('%j throws NotJson', (text) => {
    expect(() => rewrite(text, [ref('$.x', 'n')])).toThrow(NotJson)
  })
  test('every cut of a document throws or is JSON for JSON.parse too', () => {
    const text = '{"a":[1,-2.5e+3,"x\\u0041\\n",true,null,{"b":{}}],"c":[]} '
    for (let end = 0; end <= text.length; end++) {
      const cut = text.slice(0, end)
      const parses = (() => { try { JSON.parse(cut); return true } catch { return false } })()
      if (parses) expect(rewrite(cut, [ref('$.x', 'n')])).toBe(cut)
      else expect(() => rewrite(cut, [ref('$.x', 'n')])).toThrow(NotJson)
    }
  })
})

describe('size', () => {
  const deep = 100_000
  test('100,000 nested arrays and objects', () => {
    expect(rewrite('['.repeat(deep) + '7' + ']'.repeat(deep), [ref('$..', 'n')])).toBe('['.repeat(deep) + '"n_7"' + ']'.repeat(deep))
    const objects = '{"a":'.repeat(deep)
    expect(rewrite(`${objects}7${'}'.repeat(deep)}`, [ref('$..a..a', 'n')])).toBe(`${objects}"n_7"${'}'.repeat(deep)}`)
    expect(() => rewrite('['.repeat(deep), [ref('$..', 'n')])).toThrow(NotJson)
  })
  test('5 MB, wide and as one string', () => {
    const count = 250_000
    const wide = `[${Array.from({ length: count }, (_, i) => `{"id": ${i}, "t":1}`).join(',')}]`
    const out = rewrite(wide, [ref('$[*].id', 'n', { when: { member: 't', equals: ['1'] } })])
    expect(out.length).toBe(wide.length + 4 * count)
    expect(out.endsWith('{"id": "n_249999", "t":1}]')).toBe(true)
    const long = `["${'a\\n'.repeat(1_700_000)}"]`
    expect(rewrite(long, [ref('$[*]', 'n')])).toBe(`["n_${long.slice(2)}`)
  })
})

const anyString = fc.array(fc.constantFrom('a', 'b', 'é', '😀', '\\n', '\\u0061', '\\/', '\\"', '\\ud800', '17', ' ', '_', '{', '}'),
  { maxLength: 5 })
  .map((parts) => `"${parts.join('')}"`)
const anySpace = fc.constantFrom('', '', '', ' ', '\n', '\t\r\n  ')
const anyText = fc.letrec<{ value: string }>((tie) => {
  const spaced = fc.tuple(anySpace, tie('value'), anySpace).map((p) => p.join(''))
  const member = fc.tuple(anySpace, anyString, anySpace, spaced).map(([a, k, b, v]) => `${a}${k}${b}:${v}`)
  return {
    value: fc.oneof({ maxDepth: 5, withCrossShrink: true },
      fc.constantFrom('null', 'true', 'false', '1e400', '1.10', '-0', '0', '17', '-17', '1E+2', '123456789012345678901234567890'),
        anyString,
      fc.tuple(anySpace, fc.array(spaced, { maxLength: 5 })).map(([s, v]) => (v.length === 0 ? `[${s}]` : `[${v.join(',')}]`)),
      fc.tuple(anySpace, fc.array(member, { maxLength: 5 })).map(([s, v]) => (v.length === 0 ? `{${s}}` : `{${v.join(',')}}`))),
  }
}).value
const anyPath = fc.array(fc.constantFrom('.a', '.b', '.c', '[0]', '[1]', '.*', '[*]', '..a', '..*', '..[*]'), { maxLength: 4 })
  .map((parts) => parseJsonPath(`$${parts.join('')}`))
const anyWhen = fc.option(fc.record({ member: fc.constantFrom('a', 'b'), equals: fc.constantFrom(['1'], ['a', '17'], ['true']) }))
const anyMap = fc.constantFrom<JsonEdit['map']>({ kind: 'ref', entity: 'n' }, { kind: 'ref', entity: 'm' },
  { kind: 'template', templates: [parseTemplate('a{n}'), parseTemplate('{m}_{rest}')], strict: false })
const anyEdit: fc.Arbitrary<JsonEdit> = fc.record({ path: anyPath, at: fc.constantFrom('value', 'keys'), map: anyMap, when: anyWhen })

describe('properties', () => {
  test('nothing changes when ids do not', () => {
    fc.assert(fc.property(anyText, fc.array(anyEdit, { maxLength: 4 }), fc.boolean(), (text, edits, known) => {
      const inner: JsonEdit = { path: parseJsonPath('$..'), at: 'value', map: { kind: 'json', edits }, when: null }
      for (const all of [edits, [inner], [...edits, inner]]) {
        const value = Buffer.from(text)
        expect(rewriteJson(value, all, (_, key) => (known ? key : null)).equals(value)).toBe(true)
      }
    }), { numRuns: 400 })
  })
  test('both walks ask for the same keys in the same order', () => {
    fc.assert(fc.property(anyText, fc.array(anyEdit, { maxLength: 4 }), (text, edits) => {
      const asked = (answer: (e: string, k: string) => string | null) => {
        const keysAsked: string[] = []
        rewrite(text, edits, (e, k) => {
          keysAsked.push(`${e} ${k}`)
          return answer(e, k)
        })
        return keysAsked
      }
      expect(asked(prefix)).toEqual(asked(() => null))
    }), { numRuns: 300 })
  })
  test('equal to a plain model on documents that JSON.parse keeps', () => {
    const scalar = fc.oneof(fc.integer({ min: -20, max: 20 }), fc.constantFrom('a', 'b', '17', 'ab', 'm_x', '', 'a_b'), fc.boolean(),
      fc.constant(null))
    const doc = fc.letrec<{ v: unknown }>((tie) => ({
      v: fc.oneof({ maxDepth: 5 }, scalar, fc.array(tie('v'), { maxLength: 4 }),
        fc.dictionary(fc.constantFrom('a', 'b', 'c', 'ad', 'm_y'), tie('v'), { maxKeys: 4, noNullPrototype: true })),
    })).v
    fc.assert(fc.property(doc, fc.array(anyEdit, { maxLength: 4 }), fc.constantFrom(undefined, 1), (value, edits, indent) => {
      const text = JSON.stringify(value, null, indent)
      expect(JSON.parse(rewrite(text, edits))).toEqual(model({ value: JSON.parse(text), path: [], around: null }, edits))
    }), { numRuns: 1500 })
  })
})

interface Place { value: any; path: (string | number)[]; around: any }

/** The meaning of edits, said with whole paths and parsed values. */
function model({ value, path, around }: Place, edits: readonly JsonEdit[]): unknown {
  const here = (at: string, object: any) => edits.filter((e) => e.at === at && fits(e.path, path)
    && (e.when === null || (object !== null && e.when.member in object && e.when.equals.includes(sibling(object[e.when.member])))))
  if (Array.isArray(value)) return value.map((v, i) => model({ value: v, path: [...path, i], around }, edits))
  if (value !== null && typeof value === 'object') {
    const naming = here('keys', around ?? value)
    return Object.fromEntries(Object.entries(value).map(([k, v]) =>
      [firstOf(naming, k) ?? k, model({ value: v, path: [...path, k], around: value }, edits)]))
  }
  return firstOf(here('value', around), value) ?? value
}

function sibling(value: unknown): string {
  return value !== null && typeof value === 'object' ? 'container' : String(value)
}

function fits(steps: JsonEdit['path'], path: (string | number)[]): boolean {
  if (steps.length === 0) return path.length === 0
  const [step, ...rest] = steps
  if (step.kind === 'deep') return fits(rest, path) || (path.length > 0 && fits(steps, path.slice(1)))
  if (path.length === 0) return false
  const [head, ...tail] = path
  const leads = step.kind === 'member' ? step.name === head : step.kind === 'index' ? step.index === head
    : (typeof head === 'number') === (step.kind === 'items')
  return leads && fits(rest, tail)
}

function firstOf(edits: readonly JsonEdit[], value: unknown): string | undefined {
  for (const { map } of edits) {
    if (map.kind === 'ref' && (typeof value === 'number' || (typeof value === 'string' && value !== ''))) return `${map.entity}_${value}`
    if (map.kind !== 'template' || typeof value !== 'string') continue
    if (/^a./.test(value)) return `an_${value.slice(1)}`
    if (/^._|^[^_]+_/.test(value)) return `m_${value}`
  }
  return undefined
}
