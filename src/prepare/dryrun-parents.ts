import { tableOf, type Catalog, type CatalogTable } from '../core/catalog.ts'
import { keyOf } from '../core/coalesce.ts'
import type { ColumnRule, Mapping, TableRule } from '../core/mapping.ts'
import { Lines } from '../core/out.ts'
import type { Program } from '../core/program.ts'
import { nameOf, type Relation, type TableName } from '../core/relation.ts'
import { type Scope, writeColumns } from '../core/rekey.ts'
import { isNull, type Row, unescapeField } from '../core/row.ts'
import type { Destination, Source } from '../ports.ts'

/** A foreign key of the destination, and how to tell whether a row's parent will be there. */
interface Edge {
  /** Positions of the child's columns in its row, and of the same columns in what is written. */
  readonly at: readonly number[]
  readonly written: readonly number[]
  /** The parent's rule and source columns; null when its rows are the destination's own. */
  readonly parent: { readonly rule: TableRule; readonly columns: readonly string[] } | null
  readonly target: { readonly table: TableName; readonly columns: readonly string[]; readonly types: readonly string[] }
  readonly self: boolean
  /** The source guarantees that the parent is there (it may still not be carried). */
  readonly enforced: boolean
}

export interface ParentOptions {
  readonly mapping: Mapping
  readonly source: Catalog
  readonly destination: Catalog
  readonly relations: ReadonlyMap<string, Relation>
  readonly match: Destination['match']
  readonly read: Source['read']
}

export interface Parents {
  edgesOf(program: Program): readonly Edge[]
  /** Which rows of a block have a parent that is not there; self references are left to settle(). */
  orphans(program: Program, rows: readonly Row[], scope: Scope): Promise<ReadonlySet<number>>
  /** Says that this row will not be at the destination. */
  absent(program: Program, row: Row): void
  /** The same in two steps: what to remember of a row, and that it is not there. */
  keysOf(program: Program, row: Row): readonly string[]
  absentKeys(program: Program, keys: readonly string[]): void
  isAbsent(edge: Edge, key: string): boolean
}

/** Knows which rows are not carried, by the columns that other tables point at. Only those are kept in memory. */
export function parentsOf(options: ParentOptions): Parents {
  const missing = new Map<string, Set<string>>()
  const referenced = referencedColumns(options)
  const setOf = (table: TableName, columns: readonly string[]): Set<string> => {
    const name = `${nameOf(table)}\n${columns.join('\n')}`
    const found = missing.get(name)
    if (found) return found
    missing.set(name, new Set())
    return missing.get(name)!
  }
  const edges = new WeakMap<Program, readonly Edge[]>()
  const edgesOf = (program: Program): readonly Edge[] => {
    const known = edges.get(program) ?? makeEdges(program, options)
    edges.set(program, known)
    return known
  }
  const isAbsent = (edge: Edge, key: string): boolean => edge.parent !== null &&
    setOf(edge.parent.rule.source, edge.parent.columns).has(key)
  const columnsOf = ({ rule }: Program): readonly string[][] => referenced.get(nameOf(rule.source)) ?? []
  const keysOf = (program: Program, row: Row): string[] =>
    columnsOf(program).map((columns) => keyOf(row, columns.map((name) => program.position.get(name)!)))
  const absentKeys = (program: Program, keys: readonly string[]): void =>
    columnsOf(program).forEach((columns, i) => setOf(program.rule.source, columns).add(keys[i]))
  return {
    edgesOf, isAbsent,
    async orphans(program, rows, scope) {
      const found = new Set<number>()
      for (const edge of edgesOf(program)) {
        if (edge.self) continue
        const asked = rows.flatMap((row, i) => (edge.at.some((at) => isNull(row, at)) ? [] : [{ i, row, key: keyOf(row, edge.at) }]))
        const there = edge.parent === null ? await atDestination(edge, { program, asked, scope }, options)
          : await atSource(edge, asked, options)
        for (const { i, key } of asked) if (isAbsent(edge, key) || (there !== null && !there.has(key))) found.add(i)
      }
      return found
    },
    keysOf, absentKeys,
    absent: (program, row) => absentKeys(program, keysOf(program, row)),
  }
}

interface Asked {
  readonly i: number
  readonly row: Row
  readonly key: string
}

/** Parent keys that the source has now; null when its own foreign key says that all are there. */
async function atSource(edge: Edge, asked: readonly Asked[], { relations, read }: ParentOptions): Promise<ReadonlySet<string> | null> {
  if (edge.enforced || asked.length === 0) return null
  const { rule, columns } = edge.parent!
  const keys = [...new Set(asked.map((a) => a.key))].map((key) =>
    key.split('\t').map((f) => unescapeField(Buffer.from(f, 'latin1')).toString('utf8')))
  const rows = await read(relations.get(nameOf(rule.source)) ?? rule.source, columns, columns, keys)
  return new Set(rows.map((row) => keyOf(row, columns.map((_, i) => i))))
}

/** Keys whose rows the destination has of its own. */
async function atDestination(edge: Edge, of: { program: Program; asked: readonly Asked[]; scope: Scope },
  { match }: ParentOptions): Promise<ReadonlySet<string>> {
  const { table, columns, types } = edge.target
  const rows = of.asked.map(({ row }) => edge.written.map((i) => writtenValue(of.program, i, row, of.scope)))
  if (rows.length === 0) return new Set()
  const answers = await match({ table, on: columns.map((column) => ({ column, normalise: 'exact' })), types, key: columns, rows })
  return new Set(of.asked.filter((_, i) => answers[i].length > 0).map(({ key }) => key))
}

/** What is written into one destination column of a row: text, or null. */
export function writtenValue(program: Program, index: number, row: Row, scope: Scope): string | null {
  const lines = new Lines(64)
  writeColumns(program, [program.columns[index]], row, lines, scope)
  const raw = lines.view()
  return raw.length === 2 && raw[0] === 92 && raw[1] === 78 ? null : unescapeField(raw).toString('utf8')
}

function makeEdges(program: Program, { mapping, source, destination }: ParentOptions): Edge[] {
  const { rule } = program
  const table = tableOf(destination, rule.target)
  return (table?.foreignKeys ?? []).flatMap((fk): Edge[] => {
    const written = fk.columns.map((name) => rule.columns.findIndex((c) => c.target === name))
    const own = written.map((i) => rule.columns[i])
    if (own.some((c) => c === undefined || c.source === null)) return []
    const parentTable = tableOf(destination, fk.target)!
    const types = fk.targetColumns.map((name) => parentTable.columns.find((c) => c.name === name)!.type)
    const edge = { at: own.map((c) => program.position.get(c.source!)!), written,
      target: { table: fk.target, columns: fk.targetColumns, types } }
    const parent = parentRule(mapping, fk.target)
    if (parent === undefined) return [{ ...edge, parent: null, self: false, enforced: false }]
    const columns = fk.targetColumns.map((name) => parent.columns.find((c) => c.target === name))
    if (!columns.every((c, i) => sameValues(c, own[i]))) return []
    const names = columns.map((c) => c!.source!)
    const enforced = isEnforced(tableOf(source, rule.source), own.map((c) => c.source!), parent.source, names)
    return [{ ...edge, parent: { rule: parent, columns: names }, self: parent === rule, enforced }]
  })
}

function parentRule(mapping: Mapping, target: TableName): TableRule | undefined {
  return [...mapping.tables.values()].find((r) => nameOf(r.target) === nameOf(target) && (r.verdict === 'move' || r.verdict === 'merge'))
}

/** Child and parent column are made of their values in the same way, so equal source values are equal at the destination. */
function sameValues(parent: ColumnRule | undefined, child: ColumnRule): boolean {
  if (!parent || parent.source === null) return false
  if (parent.map.kind === 'ref' && child.map.kind === 'ref') return parent.map.entity === child.map.entity
  return parent.map.kind === 'copy' && child.map.kind === 'copy'
}

function isEnforced(child: CatalogTable | undefined, columns: readonly string[], parent: TableName,
  parentColumns: readonly string[]): boolean {
  return (child?.foreignKeys ?? []).some((fk) => fk.validated && nameOf(fk.target) === nameOf(parent) &&
    fk.columns.length === columns.length &&
    columns.every((c, i) => fk.targetColumns[fk.columns.indexOf(c)] === parentColumns[i]))
}

/** For each source table the sets of its columns that foreign keys of the destination lead to. */
function referencedColumns({ mapping, destination }: ParentOptions): Map<string, string[][]> {
  const found = new Map<string, Map<string, string[]>>()
  for (const fk of destination.tables.flatMap((t) => t.foreignKeys)) {
    const parent = parentRule(mapping, fk.target)
    const columns = fk.targetColumns.map((name) => parent?.columns.find((c) => c.target === name)?.source)
    if (!parent || columns.some((c) => c == null)) continue
    const name = nameOf(parent.source)
    found.set(name, (found.get(name) ?? new Map<string, string[]>()).set(columns.join('\n'), columns as string[]))
  }
  return new Map([...found].map(([name, sets]) => [name, [...sets.values()]]))
}
