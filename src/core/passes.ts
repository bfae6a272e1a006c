import type { Catalog } from './catalog.ts'
import { tableOf } from './catalog.ts'
import type { Mapping, TableRule } from './mapping.ts'
import { orderTables } from './order.ts'
import { nameOf } from './relation.ts'

/**
 * How tables are copied whose rows point at each other in a circle (a table at itself, or several in a cycle): a first pass leaves the
 * circular columns null, a second one writes the rows whole. A circular column that may not be null has to be deferrable at the
 * destination, or the table is copied as one chunk.
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
    tables.set(name, circular.nullable.length === 0 ? rule : withNulls(rule, circular.nullable))
    if (circular.nullable.length > 0) second.add(name)
    if (circular.fixed) undivided.add(name)
  }
  return { first: { ...mapping, tables }, second, undivided }
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

function withNulls(rule: TableRule, columns: readonly string[]): TableRule {
  const dropped = rule.columns.filter((c) => columns.includes(c.target) && c.source !== null).map((c) => ({ column: c.source!, reason: 'second pass' }))
  return {
    ...rule,
    columns: rule.columns.map((c) => (columns.includes(c.target) ? { ...c, source: null, map: { kind: 'constant', value: null } } : c)),
    dropped: [...rule.dropped, ...dropped],
  }
}
