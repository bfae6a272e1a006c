import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { mintersFor } from '../../src/planning/mint.ts'
import type { MappingSource, TableSpec } from '../../src/core/compile/mapping-source.ts'
import { objectRefs, objectsOf, rewriteKey } from '../../src/core/objects/named.ts'
import { compileProgram } from '../../src/core/program.ts'
import { rowOf } from '../../src/core/row.ts'
import { objectSpeed } from '../../src/core/objects/job.ts'
import { parseKeyTemplate } from '../../src/core/template.ts'
import { catalog, table } from '../support/catalog-literals.ts'
import { relation, type Values } from '../support/core-literals.ts'
import { compile, told, users, USR, usersThere } from '../support/mapping-literals.ts'

const COLUMNS = { path: 'text', owner_id: 'bigint null', link: 'boolean', folder: 'boolean', etag: 'text null', bytes: 'bigint null',
  url: 'text null' }
const files = table('files', { columns: COLUMNS, refs: { owner_id: 'users.id' } })
const filesThere = table('files', { columns: { ...COLUMNS, owner_id: 'text null' }, refs: { owner_id: 'users.id' } })
const STORE = { objects: { main: { keys: ['exports/{users}/{rest*}', '{users}/{rest*}', 'logo.png'] } } } satisfies Partial<MappingSource>
const OBJECT = { store: 'main', key: 'path', where: { link: false }, directory: { folder: true }, version: ['etag', 'bytes'],
  size: 'bytes' }

function given(spec: TableSpec, more: Partial<MappingSource> = STORE) {
  return { source: [users(), files], destination: [usersThere(), filesThere], tables: { files: spec }, entities: { users: USR }, more }
}

const there = { columns: { path: { object: 'main' } }, objects: [OBJECT] } satisfies TableSpec

describe('compileObjects', () => {
  it('takes over what is said of stores and of rows', () => {
    const { mapping, problems } = compile(given(there))
    expect(problems).toEqual([])
    const store = mapping.stores.get('main')!
    expect({ to: store.to, sweep: store.sweep, keys: store.keys.length }).toEqual({ to: 'main', sweep: [], keys: 3 })
    expect(mapping.tables.get('public.files')!.objects).toMatchObject([{ store: 'main', url: null, size: 'bytes', when: 'with',
      version: ['etag', 'bytes'] }])
    expect(mapping.tables.get('public.users')!.objects).toEqual([])
  })

  it('tells what cannot be: all at once', () => {
    const objects = [
      { ...OBJECT, key: 'pth' }, { ...OBJECT, store: 'other' }, { ...OBJECT, where: { lnk: true } }, { ...OBJECT,
        directory: { fldr: true } },
      { ...OBJECT, version: ['tag'], size: 'etag' }, { ...OBJECT, key: '{owner_id}/{nme}' },
    ]
    const where = 'tables.files.objects'
    expect(told(given({ ...there, objects }))).toEqual([
      `UNKNOWN_COLUMN ${where}.0.key`, `UNKNOWN_STORE ${where}.1.store`, `UNKNOWN_COLUMN ${where}.2.where`,
        `UNKNOWN_COLUMN ${where}.3.directory`,
      `UNKNOWN_COLUMN ${where}.4.version`, `OBJECTS ${where}.4.size`, `UNKNOWN_COLUMN ${where}.5.key`,
    ])
    expect(told(given(there, { objects: { main: { keys: ['{people}/{rest}', '{users}{rest}'] } } }))).toEqual(
      expect.arrayContaining(['UNKNOWN_ENTITY objects.main.keys', 'TEMPLATE objects.main.keys']))
    expect(told(given({ columns: { path: { object: 'none' } } }))).toEqual(['UNKNOWN_STORE tables.files.columns.path.object'])
  })

  it('refuses a key column that changes otherwise than the key, and takes one that changes alike', () => {
    const code = (spec: TableSpec): string[] => told(given({ objects: [OBJECT],
      ...spec })).map((t) => t.split(' ')[0]).filter((c) => c.startsWith('OBJECT'))
    expect(code({})).toEqual(['OBJECT_KEY'])
    expect(code({ columns: { path: { template: '{users}/{rest*}' } } })).toEqual(['OBJECT_KEY'])
    expect(code({ columns: { path: { template: STORE.objects.main.keys.slice(0, 2) } } })).toEqual(['OBJECT_KEY'])
    expect(code({ columns: { path: { when: { link: false }, object: 'main' } } })).toEqual([])
    const url = { objects: [{ ...OBJECT, key: 'url', url: 'https://old/' }] }
    expect(code({ ...url, columns: { url: { object: 'main', url: { from: 'https://old/', to: 'https://new/' } } } })).toEqual([])
    expect(code({ ...url, columns: {} })).toEqual(['OBJECT_KEY'])
  })

  it('refuses objects of rows that are not carried, or that cannot be told apart', () => {
    expect(told(given({ verdict: 'skip', reason: 'no need', objects: [OBJECT] }))).toEqual(['OBJECTS tables.files.objects'])
    const bare = { more: { identity: 'f' as const }, key: [] }
    const problems = told({
      ...given(there), source: [users(), table('files', { columns: COLUMNS, ...bare })],
      destination: [usersThere(), table('files', { columns: { ...COLUMNS, owner_id: 'text null' }, ...bare })],
    })
    expect(problems).toContain('OBJECTS tables.files.objects')
  })
})

const NAMES = ['path', 'owner_id', 'link', 'folder', 'etag', 'bytes', 'url']
const ID = (entity: string, key: string): string | null => (/^\d+$/.test(key) ? `${entity[0]}_${key}` : null)

function named(row: Values, spec: TableSpec = there) {
  const { mapping } = compile(given(spec))
  const program = compileProgram(mapping, mintersFor(mapping, { deployment: 'd', secret: 'not-a-secret-at-all' }, catalog([users(),
    files])), relation('files', NAMES))
  return { all: objectsOf(program, rowOf(row), mapping.stores, ID), program, mapping }
}

describe('objectsOf', () => {
  const row: Values = ['17/a b/é.txt', '17', 'f', 'f', 'abc', '12', null]

  it('gives key, new key, stamp and size', () => {
    expect(named(row).all).toEqual([{
      kind: 'object', store: 'main', key: '17/a b/é.txt', to: 'main', newKey: 'u_17/a b/é.txt', fault: null, stamp: 'abc\t12', size: 12,
        when: 'with',
    }])
  })

  it('names nothing where a condition does not hold, and a prefix where the row is a directory', () => {
    expect(named(row.with(2, 't')).all).toEqual([])
    expect(named(row.with(0, null)).all).toEqual([])
    expect(named(row.with(3, 't')).all).toMatchObject([{ kind: 'directory', newKey: 'u_17/a b/é.txt' }])
  })

  it('does not know what was not sent', () => {
    expect(named(row.with(0, undefined)).all).toBeNull()
    expect(named(row.with(2, undefined)).all).toBeNull()
    expect(named(row.with(4, undefined)).all).toMatchObject([{ stamp: null, size: 12 }])
  })

  it('decodes the key of a URL, and leaves other addresses alone', () => {
    const spec = { objects: [{ ...OBJECT, key: 'url', url: 'https://old/' }], columns: { url: { object: 'main',
      url: { from: 'https://old/', to: 'https://new/' } } } }
    const keys = (url: string) => named(row.with(6, url), spec).all!.map((o) => [o.key, o.newKey, o.fault])
    expect(keys('https://old/17/a%20b%2Fc')).toEqual([['17/a b/c', 'u_17/a b/c', null]])
    expect(keys('https://old/17/%zz')).toEqual([['17/%zz', null, 'NOT_A_KEY']])
    expect(keys('https://else/17/x')).toEqual([])
  })

  it('reports the ids that its keys hold', () => {
    const { program, mapping } = named(row)
    const seen: string[] = []
    objectRefs(program, rowOf(row), mapping.stores, (entity, key) => void seen.push(`${entity} ${key}`))
    expect(seen).toEqual(['users 17'])
  })
})

describe('rewriteKey', () => {
  const store = { keys: ['exports/{users}/{rest*}', '{projects}/{nodes}/{rest*}', 'fixed.txt'].map(parseKeyTemplate) }
  const key = (text: string) => {
    const { key: made, fault } = rewriteKey(store, text, ID)
    return fault ?? made
  }

  it('takes the first template that matches, and guesses nothing', () => {
    expect(key('exports/17/a.zip')).toBe('exports/u_17/a.zip')
    expect(key('1/41/a//../b%2F+')).toBe('p_1/n_41/a//../b%2F+')
    expect(key('fixed.txt')).toBe('fixed.txt')
    expect(key('exports/seventeen/a')).toBe('UNRESOLVED')
    expect(key('1/x/a')).toBe('UNRESOLVED')
    expect(key('loose')).toBe('UNMATCHED')
    expect(key('')).toBe('NOT_A_KEY')
  })

  it('counts bytes of UTF-8 after rewriting', () => {
    expect(key(`1/41/${'x'.repeat(1_015)}`)).toMatch(/^p_1/)
    expect(key(`1/41/${'x'.repeat(1_016)}`)).toBe('KEY_TOO_LONG')
    expect(key(`1/41/${'é'.repeat(508)}`)).toBe('KEY_TOO_LONG')
    expect(key('x'.repeat(1_025))).toBe('NOT_A_KEY')
  })

  it('is injective and leaves every other byte as it is', () => {
    const part = fc.string({ unit: fc.constantFrom('a', '7', '/', '.', '%', '+', ' ', 'é', '\u{1f600}', '{', '#', '?', '\n'),
      maxLength: 12 })
    const one = fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 99 }), fc.integer({ min: 0, max: 99 }), part)
      .map(([exports, a, b, rest]) => ({ text: exports ? `exports/${a}/${rest}` : `${a}/${b}/${rest}`, want: exports
        ? `exports/u_${a}/${rest}` : `p_${a}/n_${b}/${rest}` }))
    fc.assert(fc.property(one, one, (x, y) => {
      expect(key(x.text)).toBe(x.want)
      expect(key(x.text) === key(y.text)).toBe(x.text === y.text)
    }))
  })
})

describe('objectSpeed', () => {
  const totals = (done: number, waiting: number, bytesDone: number, bytes: number) => ({ total: done + waiting, done, waiting, parked: 0,
    leaving: 0, bytes, bytesDone })

  it('says how long it takes at the pace of the last seconds, by objects or by bytes', () => {
    const speed = objectSpeed()
    expect(speed(totals(0, 100, 0, 1_000), 0)).toMatchObject({ etaSeconds: null, bytesPerSecond: 0 })
    expect(speed(totals(10, 90, 500, 1_000), 1_000)).toMatchObject({ etaSeconds: 9, bytesPerSecond: 500, objectsPerSecond: 10 })
    expect(speed(totals(20, 80, 500, 100_000), 2_000)).toMatchObject({ etaSeconds: 398 })
    expect(speed(totals(100, 0, 100_000, 100_000), 3_000)).toMatchObject({ etaSeconds: 0 })
    for (let at = 4; at < 60; at++) speed(totals(100, 50, 100_000, 100_000), at * 1_000)
    expect(speed(totals(100, 50, 100_000, 100_000), 60_000)).toMatchObject({ etaSeconds: null, objectsPerSecond: 0 })
  })
})
