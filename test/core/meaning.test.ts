import { describe, expect, it } from 'vitest'
import type { CatalogTable } from '../../src/core/catalog.ts'
import { gather } from '../../src/core/gather.ts'
import type { Mapping } from '../../src/core/mapping.ts'
import type { TableSpec } from '../../src/core/compile/mapping-source.ts'
import { changedMeaning, meaningOf, withHistory } from '../../src/core/meaning.ts'
import { Lines } from '../../src/core/out.ts'
import { compileProgram, type Minter } from '../../src/core/program.ts'
import { writeWhole } from '../../src/core/rekey.ts'
import { rowOf } from '../../src/core/row.ts'
import { catalog, table } from '../support/catalog-literals.ts'
import { insertOf, relation, transaction } from '../support/core-literals.ts'
import { compile, USR, users, usersThere } from '../support/mapping-literals.ts'

const posts = (columns: Record<string, string>): CatalogTable => table('posts', { columns: { id: 'bigint', ...columns } })
const sides = (source: CatalogTable, destination = source) => ({ source: [users(), source], destination: [usersThere(), destination] })
const mapped = (source: CatalogTable, destination = source, rule: TableSpec = {}) => {
  const { mapping, problems } = compile({ ...sides(source, destination), entities: { users: USR, posts: { id: 'keep' } }, tables: { posts: rule } })
  expect(problems.filter((p) => p.severity === 'error')).toEqual([])
  return mapping
}
const changed = (before: Mapping, after: Mapping, source: CatalogTable, destination = source) => {
  const given = sides(source, destination)
  return changedMeaning(meaningOf(before), after, { source: catalog(given.source), destination: catalog(given.destination) })
}

describe('what a mapping means', () => {
  const old = posts({ body: 'text null', writer: 'bigint null' })
  const rule: TableSpec = { where: { body: { not: 'x' } }, columns: { writer: { ref: 'users', to: 'by' } } }
  const there = posts({ body: 'text null', by: 'text null' })
  const before = mapped(old, there, rule)

  it('is the same after it was stored', () => {
    expect(JSON.parse(JSON.stringify(meaningOf(before)))).toEqual(meaningOf(before))
    expect(changed(before, before, old, there)).toEqual([])
  })

  it('follows a column that has another name now, in conditions and references too', () => {
    const now = posts({ text: 'text null', author: 'bigint null' })
    const after = mapped(now, there, {
      former: { body: 'text', writer: 'author' }, where: { text: { not: 'x' } }, columns: { text: { to: 'body' }, author: { ref: 'users', to: 'by' } },
    })
    expect(changed(before, after, now, there)).toEqual([])
  })

  it('changes when a column with another name means something else', () => {
    const now = posts({ text: 'text null', writer: 'bigint null' })
    const after = mapped(now, there, { former: { body: 'text' }, where: { text: { not: 'y' } }, columns: { text: { to: 'body' }, writer: { ref: 'users', to: 'by' } } })
    expect(changed(before, after, now, there)).toEqual(['public.posts: where was changed'])
  })

  it('stays when columns come, or are gone at the source', () => {
    const now = posts({ body: 'text null', more: 'text null' })
    const after = mapped(now, posts({ body: 'text null', by: 'text null', more: 'text null' }), { where: rule.where! })
    expect(changed(before, after, now, there)).toEqual([])
  })
})

describe('a table in several shapes', () => {
  const now = posts({ body: 'text null', extra: 'text null' })
  const mapping = withHistory(mapped(now), meaningOf(mapped(posts({ body: 'text null' }))), 50n)
  const keep: Minter = { ordered: null, mint: (key) => key, unmint: (id) => id }
  const programOf = (columns: string[], of = mapping) => compileProgram(of, new Map([['users', keep], ['posts', keep]]), relation('posts', columns))
  const lineOf = (columns: string[], values: string[], of = mapping): string => {
    const program = programOf(columns, of)
    const out = new Lines(64)
    writeWhole(program, rowOf(values), out, { decided: () => undefined, minters: new Map(), isDecided: () => false, renamed: () => undefined, stores: new Map() })
    return `${program.rule.columns.map((c) => c.target).join()}: ${out.view().toString()}`
  }

  it('is written in the columns that each has', () => {
    expect(lineOf(['id', 'body'], ['1', 'a'])).toBe('id,body: 1\ta\n')
    expect(lineOf(['id', 'body', 'extra'], ['1', 'a', 'b'])).toBe('id,body,extra: 1\ta\tb\n')
    expect(lineOf(['extra', 'id', 'body'], ['b', '1', 'a'])).toBe('id,body,extra: 1\ta\tb\n')
  })

  it('may lack a column that was added only up to where it was seen', () => {
    const old = relation('posts', ['id', 'body'])
    const at = (commitLsn: bigint) => gather([transaction([insertOf(old, ['1', 'a'])], { commitLsn })], () => programOf(['id', 'body']), new Map()).rows
    expect(at(50n)).toBe(1)
    expect(() => at(51n)).toThrow(expect.objectContaining({ code: 'SCHEMA_CHANGED', message: 'public.posts no longer has the column extra' }))
  })

  it('keeps to where a column was seen first, and needs those that it had', () => {
    const later = withHistory(mapped(now), meaningOf(mapping), 90n)
    expect(later.tables.get('public.posts')!.added).toEqual(new Map([['extra', 50n]]))
    expect(() => programOf(['id', 'extra'])).toThrow(expect.objectContaining({ message: 'public.posts no longer has the column body' }))
  })

  it('brings a former column under its name of now, and leaves out what is gone', () => {
    const text = mapped(posts({ text: 'text null' }), undefined, { former: { body: 'text', old: null } })
    expect(lineOf(['id', 'old', 'body'], ['1', 'x', 'a'], text)).toBe('id,text: 1\ta\n')
    expect(() => programOf(['id', 'older', 'body'], text)).toThrow(expect.objectContaining({ code: 'SCHEMA_CHANGED' }))
  })
})
