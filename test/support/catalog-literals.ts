import type { Catalog, CatalogColumn, CatalogTable, ForeignKey } from '../../src/core/catalog.ts'

const CATEGORIES: readonly [RegExp, string][] = [
  [/\[\]$/, 'A'], [/^(text|character)/, 'S'], [/^(smallint|integer|bigint|numeric|real|double)/, 'N'], [/^boolean/, 'B'],
    [/^(date|timestamp)/, 'D'],
  [/^public\./, 'E'],
]

/** `bigint`, `text null`, `text default`, `bigint always`, `text generated`: a column as a test needs it. */
function columnFrom(name: string, text: string): CatalogColumn {
  const words = text.split(' ')
  const flags = ['null', 'default', 'always', 'generated']
  const type = words.filter((w) => !flags.includes(w)).join(' ')
  return {
    name, type, typeOid: 0,
    typeCategory: CATEGORIES.find(([pattern]) => pattern.test(type))?.[1] ?? 'U',
    nullable: words.includes('null'),
    default: words.includes('default') ? 'something' : null,
    generated: words.includes('generated'),
    identity: words.includes('always') ? 'a' : '',
    collation: null,
  }
}

interface Shape {
  readonly columns: Readonly<Record<string, string>>
  readonly key?: readonly string[]
  readonly unique?: readonly (readonly string[])[]
  /** `owner_id: users.id`, or `a, b: parents.x, y`. */
  readonly refs?: Readonly<Record<string, string>>
  readonly more?: Partial<CatalogTable>
}

/** A catalog table from a few words. The first column is the primary key unless `key` says otherwise; `key: []` is none. */
export function table(name: string, shape: Shape): CatalogTable {
  const columns = Object.entries(shape.columns).map(([column, text]) => columnFrom(column, text))
  const key = shape.key ?? [columns[0].name]
  const unique = (list: readonly string[], n: number) => ({
    name: `${name}_${n}`, columns: list, deferrable: false, usable: list.every((c) => /^\w+$/.test(c)), definition: `(${list.join(', ')})`,
  })
  const primaryKey = key.length > 0 ? unique(key, 0) : null
  const identityColumns = shape.more?.identity === 'f' || shape.more?.identity === undefined ? key : []
  return {
    schema: 'public', table: name, oid: 1, kind: 'r', persistence: 'p', columns, primaryKey,
    uniques: [...(primaryKey ? [primaryKey] : []), ...(shape.unique ?? []).map((list, i) => unique(list, i + 1))],
    foreignKeys: Object.entries(shape.refs ?? {}).map(([from, to]) => foreignKey(name, from, to)),
    checks: [], triggers: [], identity: 'd', identityColumns, rowSecurity: false, shape: '', parent: null, rowsEstimate: 0, bytes: 0, ...shape.more,
  }
}

function foreignKey(name: string, from: string, to: string): ForeignKey {
  const [target, list] = [to.slice(0, to.indexOf('.')), to.slice(to.indexOf('.') + 1)]
  const words = (text: string): string[] => text.split(',').map((w) => w.trim())
  return {
    name: `${name}_${from}_fkey`, columns: words(from), target: { schema: 'public', table: target }, targetColumns: words(list),
    onDelete: 'a', onUpdate: 'a', deferrable: false, validated: true,
  }
}

export function catalog(tables: readonly CatalogTable[], enums: Readonly<Record<string, readonly string[]>> = {}): Catalog {
  return {
    major: 16, versionNum: 160000, database: 'test', systemId: '1', timeline: 1, encoding: 'UTF8', collation: 'C',
    tables, sequences: [], enums: new Map(Object.entries(enums)), extensions: new Map(),
  }
}
