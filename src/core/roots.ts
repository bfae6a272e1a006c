import { tableOf, type Catalog, type CatalogTable, type ForeignKey } from './catalog.ts'
import { resolveTable } from './compile/draft.ts'
import type { MappingSource, TableSpec } from './compile/mapping-source.ts'
import type { Problem } from './problem.ts'
import { nameOf, type TableName } from './relation.ts'

/** Which rows go with which: all rows of equal root are changed in the order of the source, whatever partition they are in. */
export interface Root {
  /** The root's table. */
  readonly of: string
  /** The source column that holds the root's key; null for a table that is its own root. */
  readonly column: string | null
  /** The columns of the row's own key. Empty where equal rows cannot be told apart: the whole table is one root then. */
  readonly key: readonly string[]
  /** What changes such rows goes alone, and the whole of its transaction: what triggers of the destination make and take away with them is in no partition. */
  readonly alone: boolean
}

/** By source table name. */
export type Roots = ReadonlyMap<string, Root>

/**
 * The roots that a mapping declares, from the source's side alone: capture needs them and knows nothing of the destination. A problem is
 * told where a change of a row would not say what the row's root is, or was.
 */
export function rootsOf(spec: MappingSource, source: Catalog): { roots: Roots; problems: Problem[] } {
  const problems: Problem[] = []
  const roots = new Map<string, Root>()
  const makers = new Set(Object.values(spec.tables).flatMap(({ adopt }) => (adopt ? [nameOf(resolveTable(adopt.by, spec.schemas.source))] : [])))
  const written = [...new Set([...spec.contexts.flatMap((context) => context.tables), ...Object.keys(spec.tables)])]
  for (const name of written) {
    const table = tableOf(source, resolveTable(name, spec.schemas.source))
    const rule = specOf(spec, name)
    if (!table || rule.verdict === 'skip') continue
    const alone = rule.adopt !== undefined || makers.has(nameOf(table))
    roots.set(nameOf(table), { ...rootOf({ spec, source, rule, table, where: `tables.${name}` }, problems), alone })
  }
  for (const [name, { of, column }] of roots) {
    const above = column === null ? undefined : roots.get(of)
    if (above === undefined || above.column === null) continue
    problems.push({
      severity: 'error', code: 'ROOT', where: `tables.${name}.root`, message: `${of} is no root itself: its rows go with those of ${above.of}`,
      fix: `Name a column of ${name} that has the key of ${above.of}, or none.`,
    })
  }
  return { roots, problems }
}

/** What makes several partitions wait for each other: told only where there are several. */
export function toldOfSeveral(spec: MappingSource, source: Catalog): Problem[] {
  return Object.entries(spec.tables).flatMap(([name, rule]) => {
    const table = tableOf(source, resolveTable(name, spec.schemas.source))
    const told = (what: string, message: string, fix: string): Problem => ({ severity: 'warning', code: 'ALL_PARTITIONS', where: `tables.${name}.${what}`, message, fix })
    const late = rule.where !== undefined && table !== undefined && table.identity !== 'f'
    return [
      ...(late ? [told(
        'where', 'a row that passes its filter for the first time may come without its large values or under another key; it is then read at the source, for which all partitions go as one for a while',
        `alter table ${nameOf(table)} replica identity full, where that happens often`,
      )] : []),
      ...(rule.adopt ? [told(
        'adopt', `each transaction that changes rows of ${name} or ${rule.adopt.by} stops all partitions until it is applied`,
        'Nothing, where few do; where most do, kafka.partitions: 1 is as fast.',
      )] : []),
    ]
  })
}

function specOf(spec: MappingSource, name: string): TableSpec {
  const wanted = nameOf(resolveTable(name, spec.schemas.source))
  return Object.entries(spec.tables).find(([written]) => nameOf(resolveTable(written, spec.schemas.source)) === wanted)?.[1] ?? {}
}

interface Rooted {
  readonly spec: MappingSource
  readonly source: Catalog
  readonly rule: TableSpec
  readonly table: CatalogTable
  readonly where: string
}

function rootOf(rooted: Rooted, problems: Problem[]): Omit<Root, 'alone'> {
  const { rule, table, where } = rooted
  const key = rule.key ?? (table.identityColumns.length > 0 ? table.identityColumns : table.primaryKey?.columns ?? [])
  const own: Omit<Root, 'alone'> = { of: nameOf(table), column: null, key }
  if (rule.root === undefined) return own
  const fail = (message: string, fix: string): typeof own => {
    problems.push({ severity: 'error', code: 'ROOT', where: `${where}.root`, message, fix })
    return own
  }
  const column = table.columns.find((c) => c.name === rule.root)
  if (!column) return fail(`${nameOf(table)} has no column ${rule.root}`, 'Correct the name.')
  const named = referenced(rooted, column.name)
  if (!named) return fail(`${column.name} refers to no table by a key of one column`, 'Name a foreign key of one column, or a column with `ref`.')
  if (table.identity !== 'f' && !table.identityColumns.includes(column.name)) {
    return fail(`a delete of ${nameOf(table)} does not say its ${column.name}`, `alter table ${nameOf(table)} replica identity full`)
  }
  return { of: nameOf(named), column: column.name, key }
}

/** The table whose own key a column holds: by its foreign key, else by its `ref`. */
function referenced({ spec, source, rule, table }: Rooted, column: string): TableName | null {
  const byKey = (fk: ForeignKey): boolean => fk.columns.length === 1 && fk.columns[0] === column
  const fk = table.foreignKeys.find(byKey)
  const ref = rule.columns?.[column]?.ref
  const target = fk ? fk.target : ref === undefined ? null : resolveTable(ref, spec.schemas.source)
  const key = target && tableOf(source, target)?.identityColumns
  return key && key.length === 1 && (!fk || fk.targetColumns[0] === key[0]) ? target : null
}
