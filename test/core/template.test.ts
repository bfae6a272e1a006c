import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatTemplate, matchTemplate, parseTemplate, printTemplate, rewriteTemplates, Unmatched } from '../../src/core/template.ts'
import type { Template } from '../../src/core/mapping.ts'

const match = (template: string, text: string) => matchTemplate(parseTemplate(template), text)

describe('parseTemplate', () => {
  test('literals, keys, free text, braces', () => {
    expect(parseTemplate('a{{b}_{users}/{rest}-{rest:path*}')).toEqual([
      { kind: 'literal', text: 'a{b}_' }, { kind: 'key', entity: 'users' }, { kind: 'literal', text: '/' },
      { kind: 'rest', name: 'rest', greedy: false }, { kind: 'literal', text: '-' }, { kind: 'rest', name: 'path', greedy: true },
    ])
    expect(parseTemplate('{projects.uuid}')).toEqual([{ kind: 'key', entity: 'projects.uuid' }])
  })
  test.each(['', 'abc', 'a{b', '{}', '{a b}', '{users}{rest}', '{rest*}/{rest*}', '{1}', '{users*}'])('%j is refused', (text) => {
    expect(() => parseTemplate(text)).toThrow(RangeError)
  })
  test('is printed as it is read', () => {
    for (const text of ['comp_{users}_{projects}_{nodes}_{rest}', '{{{users}}x', '{projects}/{nodes}/{rest:path*}.zip']) {
      expect(printTemplate(parseTemplate(text))).toBe(text)
    }
  })
})

describe('matchTemplate', () => {
  test.each<[string, string, string[] | null]>([
    ['comp_{u}_{p}_{n}_{rest}', 'comp_17_aa-bb_cc_3', ['17', 'aa-bb', 'cc', '3']],
    ['comp_{u}_{p}_{n}_{rest}', 'comp_17_aa_cc_3_4', ['17', 'aa', 'cc', '3_4']],
    ['comp_{u}_{p}_{n}_{rest}', 'comp_17_aa_cc_', ['17', 'aa', 'cc', '']],
    ['comp_{u}_{p}_{n}_{rest}', 'comp__aa_cc_3', null],
    ['comp_{u}_{p}_{n}_{rest}', 'comp__a_b_c_3', ['_a', 'b', 'c', '3']],
    ['comp_{u}_{p}_{n}_{rest}', 'xcomp_17_a_b_3', null],
    ['{rest}.zip', 'a.zip.zip', ['a.zip']],
    ['{rest}.zip', '.zip', ['']],
    ['{u}.zip', '.zip', null],
    ['{rest}/{u}', 'a/b/c', ['a', 'b/c']],
    ['{rest*}/{u}', 'a/b/c', ['a/b', 'c']],
    ['{rest*}/{u}', 'a/b/', ['a', 'b/']],
    ['{rest*}/{u}', 'a//b/', ['a/', 'b/']],
    ['{p}/{rest*}/{u}_{n}.csv', 'p/a/b/17_c.csv', ['p', 'a/b', '17', 'c']],
    ['{p}/{rest*}/{u}', 'p/u', null],
    ['ab{rest}ba', 'aba', null],
    ['{u}', '', null],
    ['{rest}', '', ['']],
    ['{u}', 'a\nb', ['a\nb']],
  ])('%s on %j', (template, text, texts) => {
    expect(match(template, text)).toEqual(texts)
  })
  test('long text that almost matches', () => {
    expect(match(`${'{rest}a'.repeat(20)}b`, 'a'.repeat(200_000))).toBe(null)
    expect(match(`{rest*}${'a{rest}'.repeat(20)}b`, 'a'.repeat(200_000))).toBe(null)
  })
})

describe('rewriteTemplates', () => {
  const rule = (strict: boolean, ...texts: string[]) => ({ templates: texts.map(parseTemplate), strict })
  const prefix = (entity: string, key: string) => (entity === 'lost' ? null : `${entity}-${key}`)
  test('the first template that matches decides; keys without an id stay', () => {
    const files = rule(false, 'exports/{users}/{rest*}', 'api/{rest*}', '{projects}/{lost}/{rest*}')
    expect(rewriteTemplates(files, 'exports/17/x.zip', prefix)).toBe('exports/users-17/x.zip')
    expect(rewriteTemplates(files, 'api/u/b.csv', prefix)).toBe('api/u/b.csv')
    expect(rewriteTemplates(files, 'p/n/a/b.vtk', prefix)).toBe('projects-p/n/a/b.vtk')
    expect(rewriteTemplates(files, 'plain', prefix)).toBe(null)
    expect(() => rewriteTemplates(rule(true, 'x{users}'), 'plain', prefix)).toThrow(Unmatched)
  })
})

const place = fc.constantFrom('{users}', '{projects}', '{rest}', '{rest:x}')
const literal = fc.constantFrom('_', '/', 'a', 'ab', ':x_', 'é', 'aa', '{{', '}')
const anyTemplate: fc.Arbitrary<Template> = fc.tuple(fc.option(literal), fc.array(fc.tuple(place, literal), { maxLength: 3 }), place,
  fc.option(literal), fc.nat(5))
  .map(([first, pairs, last, end, star]) => {
    const places = [...pairs.map((p) => p[0]), last].map((p, i) => (i === star ? '{rest*}' : p))
    return parseTemplate((first ?? '') + places.map((p, i) => p + (pairs[i]?.[1] ?? '')).join('') + (end ?? ''))
  })
const anyText = fc.array(fc.constantFrom('_', '/', 'a', 'b', ':x_', 'é', '{', '}', '1'), { maxLength: 12 }).map((p) => p.join(''))

/** The same question to the regular expression engine: lazy places, greedy stars. */
function pattern(template: Template): RegExp {
  const parts = template.map((p) => (p.kind === 'literal' ? p.text.replace(/[{}/:]/g,
    '\\$&') : p.kind === 'key' ? '(.+?)' : p.greedy ? '(.*)' : '(.*?)'))
  return new RegExp(`^${parts.join('')}$`, 's')
}

describe('properties', () => {
  test('what is matched is written back the same', () => {
    fc.assert(fc.property(anyTemplate, anyText, (template, text) => {
      const texts = matchTemplate(template, text)
      if (texts !== null) expect(formatTemplate(template, texts)).toBe(text)
      expect(parseTemplate(printTemplate(template))).toEqual(template)
    }), { numRuns: 2000 })
  })
  test('matches exactly when some division of the text fits; without a star the places are the lazy ones', () => {
    fc.assert(fc.property(anyTemplate, anyText, (template, text) => {
      const texts = matchTemplate(template, text)
      const found = pattern(template).exec(text)
      expect(texts !== null).toBe(found !== null)
      if (!template.some((p) => p.kind === 'rest' && p.greedy)) expect(texts).toEqual(found === null ? null : found.slice(1))
    }), { numRuns: 3000 })
  })
  test('texts that hold no literal come back from what they were put into', () => {
    fc.assert(fc.property(anyTemplate, fc.array(fc.stringMatching(/^[0-9-]{1,6}$/), { minLength: 6, maxLength: 6 }), (template, all) => {
      const texts = all.slice(0, template.filter((p) => p.kind !== 'literal').length)
      expect(matchTemplate(template, formatTemplate(template, texts))).toEqual(texts)
    }), { numRuns: 1000 })
  })
})
