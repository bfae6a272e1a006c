import { tableOf, type Catalog, type CatalogColumn, type CatalogTable, type ForeignKey, type UniqueKey } from './catalog.ts'
import { resolveTable, targetOf } from './compile/draft.ts'
import { wholeIds } from './compile/fit.ts'
import { compileMapping } from './compile/compile.ts'
import type { Mapping } from './mapping.ts'
import type { MappingSource, TableSpec } from './compile/mapping-source.ts'
import { nameOf, type TableName } from './relation.ts'

/** A table of the source and the one that the mapping makes of it. */
export interface PlannedTable {
  readonly from: CatalogTable
  readonly to: CatalogTable
  /** Destination column by source column; null for one that is not carried. */
  readonly columns: ReadonlyMap<string, string | null>
}

/** Columns whose type becomes text, by table name. */
export type Converted = ReadonlyMap<string, ReadonlySet<string>>

export interface PlannedDestination {
  readonly tables: readonly PlannedTable[]
  readonly converted: Converted
  /** The destination as it will be. */
  readonly catalog: Catalog
}

/**
 * The destination that a mapping wants where there is none yet: the source's tables under their new names, without the columns that are
 * not carried, with a text column wherever prefixed ids will stand. Skipped tables are there too: the application needs them, empty.
 */
export function plannedDestination(spec: MappingSource, source: Catalog): PlannedDestination {
  const specs = specsByName(spec)
  const kept = source.tables.filter((t) => (t.kind === 'r' || t.kind === 'p') && t.parent === null && t.persistence !== 't')
  const names = new Map(kept.map((t) => [nameOf(t), targetName(t, specs.get(nameOf(t)), spec)]))
  const columns = new Map(kept.map((t) => [nameOf(t), columnsOf(t, specs.get(nameOf(t)))]))
  const tables = kept.map((from) => ({ from, to: tableFrom(from, specs.get(nameOf(from)), { names, columns }),
    columns: columns.get(nameOf(from))! }))
  const before = withTables(source, tables.map((t) => t.to))
  const converted = convertedColumns(compileMapping(spec, source, before).mapping, before)
  const changed = tables.map((t) => ({ ...t, to: convertTable(t.to, converted.get(nameOf(t.to))) }))
  return { tables: changed, converted, catalog: withTables(source, changed.map((t) => t.to)) }
}

function withTables(catalog: Catalog, tables: readonly CatalogTable[]): Catalog {
  return { ...catalog, tables, sequences: [] }
}

/** Of tables that a context lists without a rule, too. */
function specsByName({ contexts, schemas, tables }: MappingSource): Map<string, TableSpec> {
  const named = (written: string, table: TableSpec): [string, TableSpec] => [nameOf(resolveTable(written, schemas.source)), table]
  return new Map([...contexts.flatMap((c) => c.tables.map((written) => named(written, {}))),
    ...Object.entries(tables).map(([written, table]) => named(written, table))])
}

/** A table that is not carried keeps its schema, unless that is the one that changes. */
function targetName(table: TableName, spec: TableSpec | undefined, { schemas }: MappingSource): TableName {
  const carried = spec !== undefined && spec.verdict !== 'skip'
  if (!carried && spec?.to === undefined && table.schema !== schemas.source) return { schema: table.schema, table: table.table }
  return targetOf(spec?.to, table.table, schemas.destination)
}

function columnsOf(table: CatalogTable, spec: TableSpec | undefined): Map<string, string | null> {
  return new Map(table.columns.map(({ name }) => {
    const said = spec?.columns?.[name]
    return [name, said?.drop === undefined ? said?.to ?? name : null]
  }))
}

interface Names {
  readonly names: ReadonlyMap<string, TableName>
  readonly columns: ReadonlyMap<string, ReadonlyMap<string, string | null>>
}

function tableFrom(from: CatalogTable, spec: TableSpec | undefined, names: Names): CatalogTable {
  const renamed = names.columns.get(nameOf(from))!
  const columns = from.columns.flatMap((c) => (renamed.get(c.name) === null ? [] : [{ ...c, name: renamed.get(c.name)! }]))
  const unique = (key: UniqueKey): UniqueKey[] => {
    const list = key.columns.map((c) => (renamed.has(c) ? renamed.get(c)! : c))
    return list.some((c) => c === null) ? [] : [{ ...key, columns: list as string[] }]
  }
  const uniques = from.uniques.flatMap(unique)
  return {
    ...from, ...names.names.get(nameOf(from))!,
    columns: [...columns, ...madeColumns(from, spec)],
    uniques,
    primaryKey: from.primaryKey === null ? null : unique(from.primaryKey)[0] ?? null,
    foreignKeys: from.foreignKeys.flatMap((fk) => foreignKey(fk, renamed, names)),
    triggers: [], checks: [], rowSecurity: false, rowsEstimate: 0, bytes: 0,
  }
}

/** Columns that only the mapping knows: constants and expressions under a name that the source does not have. */
function madeColumns(from: CatalogTable, spec: TableSpec | undefined): CatalogColumn[] {
  const known = new Set(from.columns.map((c) => c.name))
  return Object.entries(spec?.columns ?? {}).filter(([name, c]) => !known.has(name) &&
    (c.constant !== undefined || c.expression !== undefined))
    .map(([name, c]) => ({
      name: c.to ?? name, type: 'text', typeOid: 25, typeCategory: 'S', nullable: true, default: null, generated: false, identity: '',
      collation: 'default',
    }))
}

function foreignKey(fk: ForeignKey, renamed: ReadonlyMap<string, string | null>, names: Names): ForeignKey[] {
  const target = names.names.get(nameOf(fk.target))
  const there = names.columns.get(nameOf(fk.target))
  const columns = fk.columns.map((c) => renamed.get(c) ?? null)
  const targetColumns = fk.targetColumns.map((c) => there?.get(c) ?? null)
  if (!target || columns.includes(null) || targetColumns.includes(null)) return []
  return [{ ...fk, target, columns: columns as string[], targetColumns: targetColumns as string[] }]
}

/**
 * Destination columns that will hold text ids and do not hold text now: those that the mapping writes whole ids into, and what hangs on
 * them by foreign keys, in tables of the mapping or not.
 */
export function convertedColumns(mapping: Mapping, destination: Catalog): Converted {
  const found = new Map<string, Set<string>>()
  const textual = (name: string): boolean => {
    const strategy = mapping.entities.get(name)?.strategy.kind
    return strategy === 'prefixed' || strategy === 'random' || strategy === 'literal'
  }
  const add = (table: TableName, column: string): boolean => {
    const there = tableOf(destination, table)?.columns.find((c) => c.name === column)
    if (!there || holdsText(there) || found.get(nameOf(table))?.has(column)) return false
    found.set(nameOf(table), new Set([...(found.get(nameOf(table)) ?? []), column]))
    return true
  }
  for (const rule of mapping.tables.values()) {
    for (const { target, map } of rule.columns) if (wholeIds(map).some(({ entity }) => textual(entity))) add(rule.target, target)
  }
  for (let more = true; more;) {
    more = false
    for (const table of destination.tables) {
      for (const fk of table.foreignKeys) {
        fk.columns.forEach((column, i) => {
          const ends: [TableName, string][] = [[table, column], [fk.target, fk.targetColumns[i]]]
          if (ends.some(([t, c]) => found.get(nameOf(t))?.has(c))) for (const [t, c] of ends) more = add(t, c) || more
        })
      }
    }
  }
  return found
}

function holdsText(column: CatalogColumn): boolean {
  return column.typeCategory === 'S' || (column.typeCategory === 'A' &&
    /^(text|character varying|.*citext)(\(\d+\))?\[\]$/.test(column.type))
}

function convertTable(table: CatalogTable, columns: ReadonlySet<string> | undefined): CatalogTable {
  if (!columns) return table
  return { ...table, columns: table.columns.map((c) => (columns.has(c.name) ? convertColumn(c) : c)) }
}

function convertColumn(column: CatalogColumn): CatalogColumn {
  const array = column.typeCategory === 'A'
  const kept = column.default !== null && !/nextval\(/.test(column.default) ? `(${column.default})::${array ? 'text[]' : 'text'}` : null
  return { ...column, type: array ? 'text[]' : 'text', typeOid: array ? 1009 : 25, typeCategory: array ? 'A' : 'S', default: kept,
    identity: '', collation: 'C' }
}
