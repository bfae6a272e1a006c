import { tableOf, type Catalog, type CatalogColumn, type CatalogTable } from '../catalog.ts'
import { looksLikeId } from '../compile/columns.ts'
import { isInteger, labelOf } from '../compile/draft.ts'
import { compileMapping } from '../compile/compile.ts'
import type { IdSpec } from '../compile/mapping-source.ts'
import { orderTables } from '../order.ts'
import { plannedDestination } from '../planned.ts'
import { guessReference, isFramework, isNameLike, naturalKey, prefixFor, type Referable } from './names.ts'
import { repair } from './repair.ts'
import { note, type Proposal } from './proposal.ts'
import { nameOf, type TableName } from '../relation.ts'

/** What the destination's rows say, beyond its catalog. Names are `schema.table` and `schema.table.column`. */
export interface Seen {
  readonly occupied: ReadonlySet<string>
  /** Greatest value of integer keys. */
  readonly greatest: ReadonlyMap<string, string>
}

export interface ProposeOptions {
  readonly source: Catalog
  readonly destination: Catalog
  readonly application: string
  readonly seen: Seen
}

interface Work extends ProposeOptions, Proposal {
  /** Without any table at the destination, it is planned as the source with text ids. */
  readonly empty: boolean
  readonly tables: readonly CatalogTable[]
}

/** A first mapping of every table and column, which compiles: what only a person can decide is told in notes that begin with `todo:`. */
export function propose(options: ProposeOptions): Proposal {
  const { source, destination } = options
  const captured = source.tables.filter((t) => (t.kind === 'r' || t.kind === 'p') && t.persistence === 'p' && t.parent === null)
  const { rank } = orderTables(captured)
  const tables = [...captured].sort((a, b) => rank.get(nameOf(a))! - rank.get(nameOf(b))!)
  const empty = !destination.tables.some((t) => t.kind === 'r' || t.kind === 'p')
  const schemas = { source: mainSchema(source), destination: empty ? 'public' : mainSchema(destination) }
  const spec = { application: options.application, digest: '', schemas, contexts: [], defaults: {}, entities: {}, tables: {} }
  const work: Work = { ...options, spec, notes: new Map(), empty, tables }
  for (const table of tables) proposeTable(table, work)
  for (const table of tables) proposeEntities(table, work)
  for (const table of tables) proposeReferences(table, work)
  for (const table of tables) proposeMerge(table, work)
  listContexts(work)
  const problems = (): ReturnType<typeof compileMapping>['problems'] =>
    compileMapping(spec, source, empty ? plannedDestination(spec, source).catalog : destination).problems
  repair(work, { problems, relist: () => listContexts(work), filler: (label, column) => fillerFor(work, label, column) })
  for (const problem of problems()) if (problem.severity === 'warning') note(work, tablePath(work, problem.where),
    `${problem.message}. ${problem.fix}`)
  return { spec, notes: work.notes }
}

/** The path at which a comment can stand: a column or a table that is written. */
function tablePath({ spec }: Proposal, where: string): string {
  const label = Object.keys(spec.tables).sort((a, b) => b.length - a.length).find((l) => where === `tables.${l}` ||
    where.startsWith(`tables.${l}.`))
  return label === undefined ? '' : `tables.${label}`
}

function mainSchema(catalog: Catalog): string {
  const counts = new Map<string, number>()
  for (const t of catalog.tables) if (t.kind === 'r' || t.kind === 'p') counts.set(t.schema, (counts.get(t.schema) ?? 0) + 1)
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0]?.[0] ?? 'public'
}

export function labelFor({ spec }: Proposal, table: TableName): string {
  return labelOf({ spec }, table)
}

function thereFor(table: CatalogTable, work: Work): CatalogTable | undefined {
  if (work.empty) return table
  const own = tableOf(work.destination, table)
  const named = tableOf(work.destination, { schema: work.spec.schemas.destination, table: table.table })
  const found = table.schema === work.spec.schemas.source ? named ?? own : own ?? named
  return found && (found.kind === 'r' || found.kind === 'p') ? found : undefined
}

function proposeTable(table: CatalogTable, work: Work): void {
  const label = labelFor(work, table)
  const there = thereFor(table, work)
  const skip = (reason: string): void => void (work.spec.tables[label] = { verdict: 'skip', reason })
  if (isFramework(table.table)) return skip('kept by the framework of each side')
  if (there === undefined) return skip('todo: the destination has no table of this name')
  if (table.identity !== 'f' && table.identityColumns.length === 0) {
    return skip(`todo: it has no replica identity; alter table ${nameOf(table)} replica identity full, then move it`)
  }
  const schema = work.empty && table.schema === work.spec.schemas.source ? work.spec.schemas.destination : there.schema
  const here = schema === work.spec.schemas.destination && there.table === table.table
  work.spec.tables[label] = here ? {} : { to: nameOf({ schema, table: there.table }) }
}

function isSkipped(work: Work, label: string): boolean {
  return work.spec.tables[label].verdict === 'skip'
}

function proposeEntities(table: CatalogTable, work: Work): void {
  const label = labelFor(work, table)
  if (isSkipped(work, label)) return
  const [key, ...more] = table.identityColumns
  const isReference = table.foreignKeys.some((fk) => fk.columns.includes(key))
  if (key !== undefined && more.length === 0 && !isReference) work.spec.entities[label] = strategyFor(table, key, work)
  for (const { columns, usable } of table.uniques) {
    const column = table.columns.find((c) => columns.length === 1 && c.name === columns[0])
    const wanted = column?.type === 'uuid' || isPointedAt(table, columns, work)
    if (usable && column && wanted && column.name !== key &&
      !table.foreignKeys.some((fk) => fk.columns.includes(column.name))) work.spec.entities[`${label}.${column.name}`] = { id: 'keep' }
  }
}

/** Other tables point at this column by foreign key, and not at the table's key. */
function isPointedAt(table: CatalogTable, columns: readonly string[], { tables }: Work): boolean {
  return tables.some((t) => t.foreignKeys.some((fk) => nameOf(fk.target) === nameOf(table) &&
    fk.targetColumns.join('\n') === columns.join('\n')))
}

function strategyFor(table: CatalogTable, key: string, work: Work): IdSpec {
  const label = labelFor(work, table)
  const there = thereFor(table, work)!
  const from = table.columns.find((c) => c.name === key)!
  const to = there.columns.find((c) => c.name === key)
  const path = `entities.${label}`
  if (!isInteger(from.type) || to === undefined) return { id: 'keep' }
  if (work.empty || to.typeCategory === 'S') {
    const prefix = prefixFor(table.table, new Set(Object.values(work.spec.entities).map((e) => e.prefix ?? '')))
    return { id: 'prefixed', prefix }
  }
  if (!isInteger(to.type)) {
    note(work, path, `todo: ${nameOf(table)}.${key} is ${from.type} here and ${to.type} there`)
    return { id: 'keep' }
  }
  return offsetFor(there, to, { work, path })
}

/** Past the destination's own numbers, with room for those that it will still give out. */
function offsetFor(there: CatalogTable, key: CatalogColumn, { work, path }: { work: Work; path: string }): IdSpec {
  const name = `${nameOf(there)}.${key.name}`
  const last = work.seen.greatest.get(name) ?? work.destination.sequences.find((s) => s.ownedBy === name)?.last ?? null
  if (!work.seen.occupied.has(nameOf(there)) && (last === null || BigInt(last) <= 0n)) return { id: 'keep' }
  const greatest = last === null ? 0n : BigInt(last)
  const by = 10n ** BigInt(Math.max(6, greatest.toString().length + 1))
  const room = key.type === 'bigint' ? 2n ** 62n : key.type === 'integer' ? 2n ** 30n : 2n ** 14n
  if (by < room) {
    note(work, path, `the destination's numbers go up to ${greatest}; todo: see that they stay below ${by} while the migration runs`)
    return { id: 'offset', by: by <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(by) : by.toString() }
  }
  note(work, path, `todo: numbers of both sides do not fit beside each other into ${key.type}`)
  return { id: 'keep' }
}

function proposeReferences(table: CatalogTable, work: Work): void {
  const label = labelFor(work, table)
  if (isSkipped(work, label)) return
  const rule = work.spec.tables[label]
  const things: Referable[] = work.tables.flatMap((t) => Object.keys(work.spec.entities).flatMap((entity) => {
    const own = labelFor(work, t)
    const name = entity === own ? t.identityColumns[0] : entity.startsWith(`${own}.`) ? entity.slice(own.length + 1) : undefined
    const column = t.columns.find((c) => c.name === name)
    return column ? [{ entity, table: t.table, column }] : []
  }))
  const json = table.columns.filter((c) => /^jsonb?$/.test(c.type)).map((c) => c.name)
  if (json.length > 0) note(work, `tables.${label}`, `todo: does ${json.join(' or ')} hold ids (json)? Then say where, with json`)
  for (const column of table.columns) {
    const path = `tables.${label}.columns.${column.name}`
    const known = table.foreignKeys.some((fk) => fk.columns.includes(column.name)) ||
      work.spec.entities[`${label}.${column.name}`] !== undefined
    if (known || !looksLikeId(column) || (table.identityColumns.length === 1 && table.identityColumns[0] === column.name)) continue
    const entity = guessReference(column, things)
    if (entity === null) continue
    const kind = column.typeCategory === 'A' ? { array: entity } : { ref: entity }
    rule.columns = { ...rule.columns, [column.name]: kind }
    note(work, path, 'todo: guessed from the name; no foreign key says so')
  }
}

/** True for a column whose values become ids that no row of the destination has: of a table that is moved under new ids, or of its children. */
function isFresh(table: CatalogTable, column: string, work: Work): boolean {
  const changes = (label: string): boolean => {
    const id = work.spec.entities[label]?.id
    return id !== undefined && id !== 'keep' && work.spec.tables[label]?.verdict !== 'merge'
  }
  const label = labelFor(work, table)
  if (table.identityColumns.length === 1 && table.identityColumns[0] === column && changes(label)) return true
  const guessed = work.spec.tables[label].columns?.[column]?.ref
  if (guessed !== undefined && changes(guessed)) return true
  return table.foreignKeys.some((fk) => {
    const parent = work.tables.find((t) => nameOf(t) === nameOf(fk.target))
    return parent !== undefined && parent !== table && fk.columns.some((c, i) => c === column && isFresh(parent, fk.targetColumns[i], work))
  })
}

function proposeMerge(table: CatalogTable, work: Work): void {
  const label = labelFor(work, table)
  const there = thereFor(table, work)
  if (isSkipped(work, label) || !there || work.empty || !work.seen.occupied.has(nameOf(there))) return
  const rule = work.spec.tables[label]
  const made = work.spec.entities[label]
  const ids = new Set(made && made.id !== 'keep' ? table.identityColumns : [])
  const key = naturalKey(table, there, {
    ids: new Set([...ids, ...there.columns.filter((c) => c.type === 'uuid').map((c) => c.name)]),
    fresh: new Set(table.columns.map((c) => c.name).filter((column) => isFresh(table, column, work))),
  })
  if (key !== null) {
    work.spec.tables[label] = { ...rule, verdict: 'merge', on: key.length === 1 ? key : [key] }
    note(work, `tables.${label}`, `todo: rows with the same ${key.join(', ')} on both sides are one thing; else say verdict: move`)
    if (key.length === 1 && /mail/i.test(key[0]) && !key[0].startsWith('lower')) note(work, `tables.${label}`,
      `todo: lower(${key[0]}) if letter case makes no difference`)
  }
  const single = there.uniques.filter((u) => u.usable && u.columns.length === 1 && isNameLike(u.columns[0]) &&
    !key?.some((k) => k.includes(u.columns[0])))
  const texts = single.map((u) => u.columns[0]).filter((c) =>
    /^(text|character varying)/.test(table.columns.find((o) => o.name === c)?.type ?? '') && !ids.has(c))
  if (texts.length === 0 || texts.some((c) => table.identityColumns.includes(c))) return
  work.spec.tables[label] = { ...work.spec.tables[label], rename: Object.fromEntries(texts.map((c) => [c, {}])) }
  note(work, `tables.${label}`, `todo: where another thing has the same ${texts.join(' or ')}, ours gets a suffix (name-2)`)
}

function listContexts(work: Work): void {
  const labels = work.tables.map((t) => labelFor(work, t))
  const carried = labels.filter((label) => !isSkipped(work, label))
  work.spec.contexts = [{ name: 'all', tables: carried.length > 0 ? carried : labels }]
}

function fillerFor(work: Work, label: string, column: string): string | null {
  const table = work.tables.find((t) => labelFor(work, t) === label)
  const found = table && thereFor(table, work)?.columns.find((c) => c.name === column)
  if (!found || looksLikeId(found)) return null
  if (found.typeCategory === 'S') return ''
  if (found.type === 'boolean') return 'false'
  return /^(smallint|integer|bigint|numeric|real|double precision)/.test(found.type) ? '0' : null
}
