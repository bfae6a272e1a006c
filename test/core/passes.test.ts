import { describe, expect, it } from 'vitest'
import { planPasses } from '../../src/core/passes.ts'
import type { CatalogTable } from '../../src/core/catalog.ts'
import { catalog, table } from '../support/catalog-literals.ts'
import { compile } from '../support/mapping-literals.ts'

/** The plan for tables whose keys stay as they are. */
function passes(...tables: readonly CatalogTable[]) {
  const entities = Object.fromEntries(tables.filter((t) => t.primaryKey?.columns.length === 1).map((t) => [t.table, { id: 'keep' } as const]))
  const { mapping } = compile({ source: tables, entities })
  const { first, second, undivided } = planPasses(mapping, catalog(tables))
  const nulls = [...first.tables].flatMap(([name, rule]) => rule.columns.filter((c) => c.map.kind === 'constant').map((c) => `${name}.${c.target}`))
  return { nulls, second: [...second], undivided: [...undivided], mapping, first }
}

const parts = (name: string, refs: Record<string, string>, nullable = true) =>
  table(name, { columns: { id: 'bigint', ...Object.fromEntries(Object.keys(refs).map((c) => [c, nullable ? 'bigint null' : 'bigint'])), note: 'text null' }, refs })

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
    expect(first.tables.get('public.a')!.columns.find((c) => c.target === 'up')).toMatchObject({ source: null, map: { kind: 'constant', value: null } })
    expect(first.tables.get('public.a')!.dropped.map((d) => d.column)).toContain('up')
    expect(first.tables.get('public.b')).toEqual(mapping.tables.get('public.b'))
  })

  it('tables in a cycle come without what closes it, and only that', () => {
    const { nulls, second, undivided } = passes(parts('x', {}), parts('a', { b: 'b.id', x: 'x.id' }), parts('b', { c: 'c.id' }), parts('c', { a: 'a.id' }))
    expect([nulls.sort(), second.sort(), undivided]).toEqual([['public.a.b', 'public.b.c', 'public.c.a'], ['public.a', 'public.b', 'public.c'], []])
  })

  it('a circular column that may not be null makes its table one chunk', () => {
    const { nulls, second, undivided } = passes(parts('a', { up: 'a.id' }, false), parts('b', { a: 'a.id' }, false))
    expect([nulls, second, undivided]).toEqual([[], [], ['public.a']])
  })

  it('of a composite reference the columns that are not the key are left out', () => {
    const { nulls, second } = passes(table('a', { columns: { t: 'bigint', id: 'bigint', up: 'bigint null' }, key: ['t', 'id'], refs: { 't, up': 'a.t, id' } }))
    expect([nulls, second]).toEqual([['public.a.up'], ['public.a']])
  })
})
