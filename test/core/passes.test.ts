import { describe, expect, it } from 'vitest'
import { judgeCycles } from '../../src/core/check/cycles.ts'
import { copyDeadlocks, planPasses } from '../../src/core/passes.ts'
import type { CatalogTable } from '../../src/core/catalog.ts'
import { catalog, table } from '../support/catalog-literals.ts'
import { compile } from '../support/mapping-literals.ts'

/** The plan for tables whose keys stay as they are. */
function passes(...tables: readonly CatalogTable[]) {
  const entities = Object.fromEntries(tables.filter((t) => t.primaryKey?.columns.length === 1).map((t) => [t.table,
    { id: 'keep' } as const]))
  const { mapping } = compile({ source: tables, entities })
  const { first, second, undivided } = planPasses(mapping, catalog(tables))
  const nulls = [...first.tables].flatMap(([name,
    rule]) => rule.columns.filter((c) => c.map.kind === 'constant').map((c) => `${name}.${c.target}`))
  return { nulls, second: [...second], undivided: [...undivided], mapping, first }
}

const parts = (name: string, refs: Record<string, string>, nullable = true) =>
  table(name, { columns: { id: 'bigint', ...Object.fromEntries(Object.keys(refs).map((c) => [c, nullable ? 'bigint null' : 'bigint'])),
    note: 'text null' }, refs })

describe('passes of the copy', () => {
  it('one is enough where nothing is circular', () => {
    const { nulls, second, undivided, mapping, first } = passes(parts('a', {}), parts('b', { a: 'a.id' }))
    expect([nulls, second, undivided]).toEqual([[], [], []])
    expect(first.tables).toEqual(mapping.tables)
  })

  it('a table that points at itself comes without that first', () => {
    const { nulls, second, undivided, mapping, first } = passes(parts('a', { up: 'a.id' }), parts('b', { a: 'a.id' }))
    expect([nulls, second, undivided]).toEqual([['public.a.up'], ['public.a'], []])
    expect(mapping.tables.get('public.a')!.columns.some((c) => c.map.kind === 'constant')).toBe(false)
    expect(first.tables.get('public.a')!.columns.find((c) => c.target === 'up')).toMatchObject({ source: null,
      map: { kind: 'constant', value: null } })
    expect(first.tables.get('public.a')!.dropped.map((d) => d.column)).toContain('up')
    expect(first.tables.get('public.b')).toEqual(mapping.tables.get('public.b'))
  })

  it('tables in a cycle come without what closes it, and only that', () => {
    const { nulls, second, undivided } = passes(parts('x', {}), parts('a', { b: 'b.id', x: 'x.id' }), parts('b', { c: 'c.id' }),
      parts('c', { a: 'a.id' }))
    expect([nulls.sort(), second.sort(), undivided]).toEqual([['public.a.b', 'public.b.c', 'public.c.a'],
      ['public.a', 'public.b', 'public.c'], []])
  })

  it('a circular column that may not be null makes its table one chunk', () => {
    const { nulls, second, undivided } = passes(parts('a', { up: 'a.id' }, false), parts('b', { a: 'a.id' }, false))
    expect([nulls, second, undivided]).toEqual([[], [], ['public.a']])
  })

  it('of a composite reference the columns that are not the key are left out', () => {
    const { nulls, second } = passes(table('a',
      { columns: { t: 'bigint', id: 'bigint', up: 'bigint null' }, key: ['t', 'id'], refs: { 't, up': 'a.t, id' } }))
    expect([nulls, second]).toEqual([['public.a.up'], ['public.a']])
  })
})

describe('circles that the copy cannot write', () => {
  const found = (...tables: readonly CatalogTable[]) => {
    const { mapping } = passes(...tables)
    return { cycles: copyDeadlocks(mapping, catalog(tables)).map((cycle) => [...cycle].sort()),
      findings: judgeCycles(mapping, catalog(tables)) }
  }
  const deferrable = (one: CatalogTable): CatalogTable => ({ ...one,
    foreignKeys: one.foreignKeys.map((fk) => ({ ...fk, deferrable: true })) })

  it('are those without a column that may be null, and check refuses them and says what to do', () => {
    const { cycles, findings } = found(
      parts('a', { b: 'b.id' }, false), parts('b', { c: 'c.id' }, false), parts('c', { a: 'a.id' }, false),
      parts('d', { a: 'a.id' }, false))
    expect(cycles).toEqual([['public.a', 'public.b', 'public.c']])
    expect(findings).toMatchObject([{ group: 'schema', severity: 'error', code: 'CYCLE' }])
    expect(findings[0].fix).toMatch(/^alter table "?public"?\."?[abc]"? alter column "?[abc]"? drop not null; at the destination/)
  })

  it('no constraint that is checked at the commit helps: each part of the copy is a commit', () => {
    const tables = [parts('a', { b: 'b.id' }, false), parts('b', { a: 'a.id' }, false)].map(deferrable)
    expect(found(...tables).findings.map((f) => f.code)).toEqual(['CYCLE'])
  })

  it('where every such column is a key, a foreign key has to go for a while', () => {
    const { findings } = found(
      table('a', { columns: { id: 'bigint' }, refs: { id: 'b.id' } }), table('b', { columns: { id: 'bigint' }, refs: { id: 'a.id' } }))
    expect(findings[0].fix).toContain('Drop one of these foreign keys')
  })

  it.each<[string, CatalogTable[]]>([
    ['one column in it may be null', [parts('a', { b: 'b.id' }, false), parts('b', { c: 'c.id' }), parts('c', { a: 'a.id' }, false)]],
    ['there is none', [parts('a', {}), parts('b', { a: 'a.id' }, false)]],
    ['a table points at itself by a column that may be null', [parts('a', { up: 'a.id' })]],
    ['a table points at itself and its constraint is checked at the commit', [deferrable(parts('a', { up: 'a.id' }, false))]],
  ])('not where %s', (_, tables) => expect(found(...tables)).toEqual({ cycles: [], findings: [] }))

  it('a table that points at itself by a column that may not be null is worth a warning', () => {
    const { cycles, findings } = found(parts('a', { up: 'a.id' }, false))
    expect([cycles, findings.map((f) => `${f.severity} ${f.code} ${f.subject}`)]).toEqual([[], ['warning SELF_REFERENCE public.a']])
    expect(findings[0].fix).toContain('deferrable')
  })
})
