import { tableOf, type Catalog, type CatalogColumn, type CatalogTable, type ForeignKey } from '../catalog.ts'
import { comment, holdsInteger } from './create.ts'
import { mindsType, type DdlFacts } from './facts.ts'
import { orderTables } from '../order.ts'
import type { Converted } from '../planned.ts'
import { quoteIdent, quoteName } from '../quote.ts'
import { dropViews, makeViews, viewsInTheWay } from './views.ts'
import { nameOf } from '../relation.ts'

export interface AlterOptions {
  readonly destination: Catalog
  readonly facts: DdlFacts
  readonly converted: Converted
}

interface Altering extends AlterOptions {
  readonly tables: readonly CatalogTable[]
}

/**
 * SQL that turns integer id columns of a living destination into text, in the order in which it must run. Rows keep their ids as text
 * (`17` becomes '17'), so foreign keys hold again afterwards. What a person must look at is a comment above or below.
 */
export function alterStatements(options: AlterOptions): string[] {
  if (options.converted.size === 0) return []
  const { rank } = orderTables(options.destination.tables)
  const tables = [...options.converted.keys()]
    .map((name) => options.destination.tables.find((t) => nameOf(t) === name)!)
    .sort((a, b) => rank.get(nameOf(a))! - rank.get(nameOf(b))!)
  const altering: Altering = { ...options, tables }
  const views = viewsInTheWay(options.facts, options.converted)
  return [
    ...warnings(altering),
    ...dropViews(views),
    ...foreignKeys(altering).map(({ table, fk }) => `alter table ${quoteName(table)} drop constraint ${quoteIdent(fk.name)}`),
    ...checks(altering).flatMap(({ table, name, definition }) => [
      comment('decide: this check names a column that becomes text\n' +
        `alter table ${quoteName(table)} add constraint ${quoteIdent(name)} ${definition}`),
      `alter table ${quoteName(table)} drop constraint ${quoteIdent(name)}`,
    ]),
    ...tables.flatMap((table) => tableStatements(table, altering)),
    ...foreignKeys(altering).map(({ table, fk, definition }) =>
      `alter table ${quoteName(table)} add constraint ${quoteIdent(fk.name)} ${definition}`),
    ...makeViews(views),
  ]
}

function tableStatements(table: CatalogTable, altering: Altering): string[] {
  const columns = table.columns.filter((c) => altering.converted.get(nameOf(table))!.has(c.name))
  const name = quoteName(table)
  const before = columns.flatMap((c) => dropDefault(table, c, altering))
  const types = columns.map((c) => {
    const type = c.typeCategory === 'A' ? 'text[]' : 'text'
    return `alter column ${quoteIdent(c.name)} type ${type} collate pg_catalog."C" using ${quoteIdent(c.name)}::${type}`
  })
  const after = columns.filter((c) => c.default !== null && !isSerial(c)).map((c) => {
    const type = c.typeCategory === 'A' ? 'text[]' : 'text'
    return `alter table ${name} alter column ${quoteIdent(c.name)} set default (${c.default})::${type}`
  })
  return [...before, `alter table ${name}\n  ${types.join(',\n  ')}`, ...after]
}

function isSerial(column: CatalogColumn): boolean {
  return (column.default ?? '').startsWith('nextval(')
}

/** Numbers that the database gave out are the application's to give from now on. */
function dropDefault(table: CatalogTable, column: CatalogColumn, { facts }: Altering): string[] {
  const alter = `alter table ${quoteName(table)} alter column ${quoteIdent(column.name)}`
  if (column.identity !== '') return [noteIds(table, column), `${alter} drop identity`]
  if (column.default === null) return []
  const owned = facts.sequences.filter((s) => !s.identity && s.table === nameOf(table) && s.column === column.name)
  const drops = owned.map((s) => `drop sequence ${quoteName({ schema: s.schema, table: s.name })}`)
  return [...(isSerial(column) ? [noteIds(table, column)] : []), `${alter} drop default`, ...drops]
}

function noteIds(table: CatalogTable, column: CatalogColumn): string {
  return comment(`from here on the application must supply ${nameOf(table)}.${column.name} itself`)
}

function foreignKeys({ destination, facts, converted }: Altering): { table: CatalogTable; fk: ForeignKey; definition: string }[] {
  return destination.tables.flatMap((table) => (table.parent ? [] : table.foreignKeys).flatMap((fk) => {
    const touched = fk.columns.some((c) => converted.get(nameOf(table))?.has(c)) ||
      fk.targetColumns.some((c) => converted.get(nameOf(fk.target))?.has(c))
    const fact = facts.constraints.find((c) => c.table === nameOf(table) && c.name === fk.name)
    return touched && fact ? [{ table, fk, definition: fact.definition }] : []
  }))
}

function checks({ tables, facts, converted }: Altering): { table: CatalogTable; name: string; definition: string }[] {
  return tables.flatMap((table) => facts.constraints
    .filter((c) => c.kind === 'c' && c.table === nameOf(table) && mindsType(c.definition, [...converted.get(nameOf(table))!]))
    .map(({ name, definition }) => ({ table, name, definition })))
}

/** What Postgres will refuse to alter under, and what will fail later when it meets a text. */
function warnings({ tables, facts, converted, destination }: Altering): string[] {
  const isTouched = (table: string, column: string): boolean => converted.get(table)?.has(column) ?? false
  const standing = facts.dependents.filter((d) => d.kind !== 'view' && isTouched(d.table, d.column)).map((d) => comment(
    `${d.kind} ${d.name} names ${d.table}.${d.column}: ` +
      `Postgres refuses to alter that column until it is dropped; make it again afterwards\n${d.definition}`))
  const indexes = facts.indexes.filter((i) => mindsType(i.computes, i.columns.filter((c) => isTouched(i.table, c))))
    .map((i) => comment(`index ${i.name} computes with a column that becomes text; ` +
      `drop it first if it does not fit a text\n${i.definition}`))
  const divided = facts.partitions.filter((p) => p.key !== null && p.columns.some((c) => isTouched(p.table, c)))
    .map((p) => comment(`${p.table} is divided by ${p.key}: the type of that column cannot be altered; make the table anew`))
  const triggers = destination.tables.flatMap((table) =>
    table.triggers.filter((t) => holdsInteger(facts, t.function) || tables.includes(table)).map((t) => comment(
    `trigger ${t.name} of ${nameOf(table)} runs ${t.function}` +
      `${holdsInteger(facts, t.function) ? ', which declares an integer' : ''}: read it, ids are text from here on`)))
  return [...standing, ...indexes, ...divided, ...triggers]
}

/** True when there is a table of the mapping at the destination: then it is altered and not made. */
export function isLiving(destination: Catalog, targets: Iterable<{ readonly schema: string; readonly table: string }>): boolean {
  return [...targets].some((name) => tableOf(destination, name) !== undefined)
}
