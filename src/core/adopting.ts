import { tableOf, type Catalog } from './catalog.ts'
import type { Change, Transaction } from './change.ts'
import { isWhole, keyOf } from './coalesce.ts'
import type { Mapping, TableRule } from './mapping.ts'
import type { Program } from './program.ts'
import { nameOf, type Relation } from './relation.ts'
import type { Row } from './row.ts'
import { referencesOf } from './value.ts'

/**
 * Rows that a destination trigger makes and that we adopt. The trigger runs when the row of the maker (the table that `adopt` names with
 * `by`) comes, so that row is written first, with the columns that the trigger fills left null; then the made row can be found.
 */

/** A rule that leaves these destination columns null; its rows do not wait for what they point at by them. */
export function withNulls(rule: TableRule, columns: readonly string[]): TableRule {
  if (columns.length === 0) return rule
  const dropped = rule.columns.filter((c) => columns.includes(c.target) && c.source !== null)
    .map((c) => ({ column: c.source!, reason: 'second pass' }))
  return {
    ...rule,
    columns: rule.columns.map((c) => (columns.includes(c.target) ? { ...c, source: null, map: { kind: 'constant', value: null } } : c)),
    dropped: [...rule.dropped, ...dropped],
    parents: rule.parents.filter((parent) => !parent.columns.some((name) => dropped.some(({ column }) => column === name))),
  }
}

/** The mapping with the columns that triggers fill left null; null when no row is adopted. */
export function withoutFilled(mapping: Mapping): Mapping | null {
  if ([...mapping.tables.values()].every((rule) => rule.makes === undefined)) return null
  return { ...mapping, tables: new Map([...mapping.tables].map(([name, rule]) => [name, withNulls(rule, rule.makes?.filled ?? [])])) }
}

/**
 * Source tables whose new rows go ahead of everything else in their batch: the makers and all that they point at. Not tables that adopt
 * themselves (their rows are decided after the trigger), tables whose triggers must not fire, and tables without a key.
 */
export function tablesAhead(mapping: Mapping, destination: Catalog): ReadonlySet<string> {
  const byTarget = new Map([...mapping.tables].map(([name, rule]) => [nameOf(rule.target), name]))
  const ahead = new Set<string>()
  const open = [...mapping.tables].filter(([, rule]) => rule.makes !== undefined).map(([name]) => name)
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const rule = mapping.tables.get(name)!
    if (ahead.has(name) || rule.adopt !== null || !rule.keyed || rule.triggers === 'off') continue
    ahead.add(name)
    for (const fk of tableOf(destination, rule.target)?.foreignKeys ?? []) {
      const parent = byTarget.get(nameOf(fk.target))
      if (parent !== undefined && !fk.columns.some((column) => rule.makes?.filled.includes(column))) open.push(parent)
    }
  }
  return ahead
}

/** What of these transactions goes ahead: new rows that stay, and, while they may be missing, whole updated ones. */
export function changesAhead(
  transactions: readonly Transaction[],
  { tables, programOf, converging }: { tables: ReadonlySet<string>; programOf: (relation: Relation) => Program; converging: boolean },
): Transaction[] {
  const last = new Map<string, Change>()
  const nameIn = ({ relation }: Change, row: Row): string => `${nameOf(relation)}\n${keyOf(row, programOf(relation).key)}`
  const concerned = ({ relation, op }: Change): boolean => op !== 'truncate' && tables.has(nameOf(relation))
  const all = transactions.map((transaction) => ({ ...transaction, changes: transaction.changes.filter(concerned) }))
  for (const { changes } of all) for (const change of changes) last.set(nameIn(change, (change.row ?? change.old)!), change)
  const goes = (change: Change): boolean => {
    const { op, row, old } = change
    if (op !== 'insert' && !(converging && op === 'update' && old === null && isWhole(row!))) return false
    return last.get(nameIn(change, row!))!.op !== 'delete'
  }
  return all.map((transaction) => ({ ...transaction, changes: transaction.changes.filter(goes) }))
    .filter(({ changes }) => changes.length > 0)
}

/** True when triggers may make rows that these changes bring: their makers come in them. */
export function hasMakers(transactions: readonly Transaction[], mapping: Mapping, converging: boolean): boolean {
  return transactions.some(({ changes }) => changes.some(({ op, relation }) =>
    (op === 'insert' || (converging && op === 'update')) && mapping.tables.get(nameOf(relation))?.makes !== undefined))
}

/**
 * What waits for what in the initial copy beside foreign keys, by source table: adopted rows for their makers, and rows that refer to
 * adopted ones for those makers too, as the ids are not known before.
 */
export function waitsForMakers(mapping: Mapping, destination: Catalog): Map<string, string[]> {
  const ahead = tablesAhead(mapping, destination)
  const makerOf = new Map([...mapping.entities.values()].flatMap((entity) => {
    const adopt = mapping.tables.get(entity.table)?.adopt
    return adopt ? [[entity.name, adopt.by] as const] : []
  }))
  return new Map([...mapping.tables].map(([name, rule]) => {
    const referred = ahead.has(name) ? [] : rule.columns.flatMap((column) => referencesOf(column.map).flatMap((entity) => makerOf.get(entity) ?? []))
    return [name, [...new Set([...(rule.adopt ? [rule.adopt.by] : []), ...referred])].filter((maker) => maker !== name)]
  }))
}
