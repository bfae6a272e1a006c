import type { CatalogColumn, CatalogTable } from '../catalog.ts'
import { mindsType, type ConstraintFact, type DdlFacts, type TypeFact } from './facts.ts'
import { orderTables } from '../order.ts'
import type { PlannedDestination, PlannedTable } from '../planned.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../quote.ts'
import { nameOf, type TableName } from '../relation.ts'

export interface CreateOptions {
  readonly planned: PlannedDestination
  readonly facts: DdlFacts
  /** Default schemas of the two sides: definitions are moved from one to the other. */
  readonly schemas: { readonly source: string; readonly destination: string }
}

interface Making extends CreateOptions {
  readonly tables: readonly PlannedTable[]
  /** Names of functions that this SQL does not make. */
  readonly functions: ReadonlySet<string>
}

/**
 * SQL that makes the tables of an empty destination: one statement or comment an entry, in the order in which they must run. What cannot
 * be decided from the catalog (functions, views, policies) is a comment.
 */
export function createStatements(options: CreateOptions): string[] {
  const own = options.planned.tables.filter((t) => !options.facts.extensionTables.includes(nameOf(t.from)))
  const { rank } = orderTables(own.map((t) => t.to))
  const tables = [...own].sort((a, b) => rank.get(nameOf(a.to))! - rank.get(nameOf(b.to))!)
  const making: Making = { ...options, tables, functions: new Set(options.facts.functions.map((f) => f.name)) }
  return [
    ...schemaStatements(making),
    ...options.facts.extensions.map((e) =>
      `create extension if not exists ${quoteIdent(e.name)} with schema ${quoteIdent(moved(e.schema, making))}`),
    ...options.facts.types.map((type) => moveNames(typeStatement(type), making)),
    ...sequenceStatements(making),
    ...tables.flatMap((t) => tableStatements(t, making)),
    ...ownedStatements(making),
    ...tables.flatMap((t) => constraintStatements(t, making)),
    ...tables.flatMap((t) => indexStatements(t, making)),
    ...tables.flatMap((t) => foreignKeyStatements(t, making)),
    ...comments(making),
  ]
}

export function comment(text: string): string {
  return text.split('\n').map((line) => `-- ${line}`.trimEnd()).join('\n')
}

function moved(schema: string, { schemas }: Making): string {
  return schema === schemas.source ? schemas.destination : schema
}

/** Names with the source's default schema, under the destination's. */
function moveNames(text: string, { schemas }: Making): string {
  if (schemas.source === schemas.destination) return text
  const bare = schemas.source.replace(/[^\w]/g, '\\$&')
  return text.replace(new RegExp(`(?<![\\w."])("${bare}"|${bare})\\.`, 'g'), `${quoteIdent(schemas.destination)}.`)
}

/** A definition of a table's parts under the new names. */
function rewrite(text: string, table: PlannedTable, making: Making): string {
  let out = moveNames(text, making)
  for (const [old, name] of table.columns) {
    if (name === null || name === old) continue
    const word = old.replace(/[^\w]/g, '\\$&')
    out = out.replace(new RegExp(`(?<![\\w"])("?)${word}\\1(?![\\w"])`, 'g'), () => quoteIdent(name))
  }
  return out
}

function schemaStatements({ tables, facts, schemas }: Making): string[] {
  const typed = facts.types.map((t) => t.name.split('.')[0]).filter((s) => /^\w+$/.test(s)).map((s) =>
    (s === schemas.source ? schemas.destination : s))
  const names = new Set([...tables.map((t) => t.to.schema), ...typed])
  return [...names].filter((name) => name !== 'public').sort().map((name) => `create schema if not exists ${quoteIdent(name)}`)
}

function typeStatement(type: TypeFact): string {
  const { name, kind } = type
  if (kind === 'e') return `create type ${name} as enum (${type.labels.map(quoteLiteral).join(', ')})`
  if (kind === 'c') return `create type ${name} as (${type.attributes.map((a) => `${quoteIdent(a.name)} ${a.type}`).join(', ')})`
  if (kind === 'r') return comment(`the range type ${name} is not made here`)
  const parts = [...(type.default === null ? [] : [`default ${type.default}`]), ...(type.notNull ? ['not null'] : []), ...type.checks]
  return `create domain ${name} as ${type.base}${parts.map((p) => ` ${p}`).join('')}`
}

/** Sequences of columns that stay numbers, and those that nobody owns. */
function remaining(making: Making): { sql: TableName; options: string; owner: { table: PlannedTable; column: string } | null }[] {
  return making.facts.sequences.flatMap((s) => {
    if (s.identity) return []
    const sql = { schema: moved(s.schema, making), table: s.name }
    const table = making.tables.find((t) => nameOf(t.from) === s.table)
    const column = table?.columns.get(s.column!) ?? null
    if (s.table !== null && (!table || column === null || isConverted(table, column, making))) return []
    return [{ sql, options: s.options, owner: table && column !== null ? { table, column } : null }]
  })
}

function sequenceStatements(making: Making): string[] {
  return remaining(making).map(({ sql, options }) => `create sequence ${quoteName(sql)} ${options}`)
}

function ownedStatements(making: Making): string[] {
  return remaining(making).flatMap(({ sql, owner }) =>
    owner === null ? [] : [`alter sequence ${quoteName(sql)} owned by ${quoteName(owner.table.to)}.${quoteIdent(owner.column)}`])
}

/** Of these source columns, those that become text. */
function convertedOf(columns: readonly string[], table: PlannedTable, making: Making): string[] {
  return columns.filter((name) => isConverted(table, table.columns.get(name)!, making))
}

function isConverted(table: PlannedTable, column: string, { planned }: Making): boolean {
  return planned.converted.get(nameOf(table.to))?.has(column) ?? false
}

function tableStatements(table: PlannedTable, making: Making): string[] {
  const { from, to } = table
  const notes: string[] = []
  const columns = to.columns.map((c) => columnText(c, { table, making, notes }))
  const root = from.kind === 'p' ? making.facts.partitions.find((p) => p.table === nameOf(from)) : undefined
  const divided = root !== undefined && !root.columns.some((c) => isConverted(table, table.columns.get(c) ?? c, making))
  if (root && !divided) notes.push(`${nameOf(to)} was divided by ${root.key}; that column is a text id now, so the table is made whole`)
  const by = divided ? ` partition by ${rewrite(root.key!, table, making)}` : ''
  const logged = from.persistence === 'u' ? 'unlogged ' : ''
  const made = `create ${logged}table ${quoteName(to)} (\n  ${columns.join(',\n  ')}\n)${by}`
  return [...notes.map(comment), made, ...(divided ? partitionStatements(nameOf(from), table, making) : [])]
}

function partitionStatements(parent: string, table: PlannedTable, making: Making): string[] {
  return making.facts.partitions.filter((p) => p.parent === parent).flatMap((p) => {
    const [schema, ...rest] = p.table.split('.')
    const parentName = parent === nameOf(table.from) ? quoteName(table.to) : leafName(parent, making)
    const by = p.key === null ? '' : ` partition by ${rewrite(p.key, table, making)}`
    return [
      `create table ${quoteName({ schema: moved(schema, making), table: rest.join('.') })} partition of ${parentName} ${p.bound}${by}`,
      ...partitionStatements(p.table, table, making),
    ]
  })
}

function leafName(name: string, making: Making): string {
  const [schema, ...rest] = name.split('.')
  return quoteName({ schema: moved(schema, making), table: rest.join('.') })
}

interface Column {
  readonly table: PlannedTable
  readonly making: Making
  readonly notes: string[]
}

function columnText(column: CatalogColumn, { table, making, notes }: Column): string {
  const parts = [quoteIdent(column.name), moveNames(column.type, making)]
  if (column.collation !== null && column.collation !== 'default') parts.push(`collate ${quoteIdent(column.collation)}`)
  const source = [...table.columns].find(([, to]) => to === column.name)?.[0]
  const generated = making.facts.generated.find((g) => g.table === nameOf(table.from) && g.column === source)
  if (generated) {
    parts.push(`generated always as (${rewrite(generated.expression, table, making)}) ${generated.stored ? 'stored' : 'virtual'}`)
  } else if (column.identity !== '') parts.push(`generated ${column.identity === 'a' ? 'always' : 'by default'} as identity`)
  else if (column.default !== null) {
    const needs = functionsIn(column.default, making)
    if (needs.length === 0) parts.push(`default ${moveNames(column.default, making)}`)
    else notes.push(`the default of ${nameOf(table.to)}.${column.name} needs ${needs.join(', ')}: ${column.default}`)
  }
  if (!column.nullable) parts.push('not null')
  return parts.join(' ')
}

function functionsIn(text: string, { functions }: Making): string[] {
  return [...functions].filter((name) => text.includes(`${name}(`))
}

function constraintStatements(table: PlannedTable, making: Making): string[] {
  return making.facts.constraints.filter((c) => c.table === nameOf(table.from) && c.kind !== 'f').sort(keysFirst).map((c) => {
    const add = `alter table ${quoteName(table.to)} add constraint ${quoteIdent(c.name)} ${rewrite(c.definition, table, making)}`
    if (c.columns.some((name) => table.columns.get(name) === null)) return comment(`left out, a column of it is not carried:\n${add}`)
    const touched = c.kind === 'c' && mindsType(c.definition, convertedOf(c.columns, table, making))
    const needs = functionsIn(c.definition, making)
    if (touched) return comment(`decide: a column of it is a text id now\n${add}`)
    return needs.length > 0 ? comment(`it needs ${needs.join(', ')}:\n${add}`) : add
  })
}

function keysFirst(a: ConstraintFact, b: ConstraintFact): number {
  const order = 'pucxf'
  return order.indexOf(a.kind) - order.indexOf(b.kind)
}

function indexStatements(table: PlannedTable, making: Making): string[] {
  return making.facts.indexes.filter((i) => i.table === nameOf(table.from)).map((i) => {
    const on = new RegExp(` ON (ONLY )?(\\S+) USING `)
    const definition = rewrite(i.definition.replace(on, ' ON \0 USING '), table, making).replace('\0', quoteName(table.to))
    const lost = i.columns.some((name) => table.columns.get(name) === null)
    if (lost) return comment(`left out, a column of it is not carried:\n${definition}`)
    const touched = mindsType(i.computes, convertedOf(i.columns, table, making))
    if (touched) return comment(`decide: a column of it is a text id now\n${definition}`)
    const needs = functionsIn(i.definition, making)
    return needs.length > 0 ? comment(`it needs ${needs.join(', ')}:\n${definition}`) : definition
  })
}

/** What follows the two column lists of a foreign key: match, actions, deferrable, not valid. */
export function foreignKeyTail(definition: string): string {
  return definition.replace(/^FOREIGN KEY \(.+?\) REFERENCES .+?\(.+?\)/s, '')
}

function foreignKeyStatements({ from, to }: PlannedTable, { facts }: Making): string[] {
  return to.foreignKeys.map((fk) => {
    const fact = facts.constraints.find((c) => c.table === nameOf(from) && c.name === fk.name)
    const list = (names: readonly string[]): string => names.map(quoteIdent).join(', ')
    return `alter table ${quoteName(to)} add constraint ${quoteIdent(fk.name)} foreign key (${list(fk.columns)}) ` +
      `references ${quoteName(fk.target)} (${list(fk.targetColumns)})${foreignKeyTail(fact?.definition ?? '')}`
  })
}

function comments({ tables, facts }: Making): string[] {
  const integer = (name: string): string => (holdsInteger(facts, name) ? '; it declares an integer: read it, an id is text now' : '')
  const triggers = tables.flatMap(({ from }: { from: CatalogTable }) => from.triggers.map((t) =>
    comment(`a trigger of the source, not made here${integer(t.function)}:\n${t.definition}`)))
  const policies = tables.filter((t) => t.from.rowSecurity).map((t) =>
    comment(`${nameOf(t.to)} has row security at the source: its policies are not made here`))
  return [...triggers, ...policies, ...facts.views.map((v) => comment(`a view of the source, not made here: ${v.schema}.${v.view}\n${v.definition}`))]
}

/** True for a function with a variable or a cast that cannot hold a text id. */
export function holdsInteger(facts: DdlFacts, name: string): boolean {
  return facts.functions.some((f) => f.name === name && /\b(bigint|integer|int|int4|int8|smallint)\b/i.test(f.source))
}
