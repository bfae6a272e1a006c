import { withNulls } from './adopting.ts'
import type { Catalog } from './catalog.ts'
import { tableOf } from './catalog.ts'
import type { Mapping, TableRule } from './mapping.ts'
import { cyclesOf, orderTables } from './order.ts'
import { nameOf } from './relation.ts'

/**
 * How tables are copied whose rows point at each other in a circle (a table at itself, or several in a cycle): a first pass leaves the
 * circular columns null, a second one writes the rows whole. A table that points at itself by a column that may not be null is copied as
 * one chunk; of several tables, one must have a column that may be null: see copyDeadlocks. Columns that a destination trigger fills with a row that is adopted are left to the
 * second pass as well.
 */
export interface Passes {
  /** The mapping of the first pass. */
  readonly first: Mapping
  /** Source tables that need the second pass. */
  readonly second: ReadonlySet<string>
  /** Source tables that must be one chunk. */
  readonly undivided: ReadonlySet<string>
}

export function planPasses(mapping: Mapping, destination: Catalog): Passes {
  const { cycles } = orderTables(destination.tables)
  const second = new Set<string>()
  const undivided = new Set<string>()
  const tables = new Map<string, TableRule>()
  for (const [name, rule] of mapping.tables) {
    const circular = circularColumns(rule, destination, cycles)
    const later = [...new Set([...circular.nullable, ...(rule.makes?.filled ?? [])])]
    tables.set(name, withNulls(rule, later))
    if (later.length > 0) second.add(name)
    if (circular.fixed) undivided.add(name)
  }
  return { first: { ...mapping, tables }, second, undivided }
}

/** Source tables that a source table's rows point at in the first pass, by the destination's foreign keys; what it leaves null points nowhere. */
export function firstParents(first: Mapping, destination: Catalog): Map<string, string[]> {
  const byTarget = new Map([...first.tables].map(([name, rule]) => [nameOf(rule.target), name]))
  return new Map([...first.tables].map(([name, rule]) => {
    const constants = rule.columns.filter((c) => c.source === null && c.map.kind === 'constant' && c.map.value === null)
    const nulled = new Set(constants.map((c) => c.target))
    const pointing = (tableOf(destination, rule.target)?.foreignKeys ?? []).filter((fk) => !fk.columns.some((column) => nulled.has(column)))
    const parents = pointing.map((fk) => byTarget.get(nameOf(fk.target))).filter((p): p is string => p !== undefined && p !== name)
    return [name, [...new Set(parents)]]
  }))
}

/**
 * Tables that the copy cannot write: their rows point at each other in a circle of which no column may be null. A chunk is committed by
 * itself, so not even a constraint that is checked at the commit helps. By source table.
 */
export function copyDeadlocks(mapping: Mapping, destination: Catalog): readonly (readonly string[])[] {
  const carried = new Map([...mapping.tables].filter(([, { verdict }]) => verdict === 'move' || verdict === 'merge'))
  const { first } = planPasses({ ...mapping, tables: carried }, destination)
  return cyclesOf(firstParents(first, destination))
}

function circularColumns(rule: TableRule, destination: Catalog, cycles: readonly (readonly string[])[]): { nullable: string[]; fixed: boolean } {
  const target = tableOf(destination, rule.target)
  if (!target) return { nullable: [], fixed: false }
  const own = nameOf(target)
  const circular = target.foreignKeys.filter((fk) => nameOf(fk.target) === own || cycles.some((c) => c.includes(own) && c.includes(nameOf(fk.target))))
  const nullable: string[] = []
  let fixed = false
  for (const fk of circular) {
    const free = fk.columns.filter((name) => !rule.targetKey.includes(name) && target.columns.find((c) => c.name === name)?.nullable)
    if (free.length > 0) nullable.push(...free)
    else fixed = true
  }
  return { nullable: [...new Set(nullable)], fixed }
}
