import type { CatalogTable } from '../../src/core/catalog.ts'
import { compileMapping } from '../../src/core/compile/compile.ts'
import type { IdSpec, MappingSource, TableSpec } from '../../src/core/compile/mapping-source.ts'
import { catalog, table } from './catalog-literals.ts'

export const users = (columns: Record<string, string> = {}, more = {}) => table('users', { columns: { id: 'bigint', ...columns }, ...more })
export const usersThere = (columns: Record<string, string> = {}, more = {}) =>
  table('users', { columns: { id: 'text', ...columns }, ...more })
export const USR: IdSpec = { id: 'prefixed', prefix: 'usr' }

interface Given {
  readonly source: readonly CatalogTable[]
  readonly destination?: readonly CatalogTable[]
  readonly entities?: Record<string, IdSpec>
  readonly tables?: Record<string, TableSpec>
  readonly more?: Partial<MappingSource>
}

/** All source tables in one context, unless the mapping says otherwise. */
export function compile({ source, destination = source, entities = { users: USR }, tables = {}, more = {} }: Given) {
  const spec: MappingSource = {
    application: 'test', digest: '00', schemas: { source: 'public', destination: 'public' }, defaults: {}, entities, tables,
    contexts: [{ name: 'all', tables: source.map((t) => t.table) }], ...more,
  }
  return compileMapping(spec, catalog(source), catalog(destination))
}

/** `CODE where`, errors first. */
export function told(given: Given): string[] {
  return compile(given).problems.map((p) => `${p.severity === 'error' ? '' : 'warning '}${p.code} ${p.where}`)
}
