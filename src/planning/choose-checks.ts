import type { Catalog, CatalogTable } from '../core/catalog.ts'
import type { Transaction } from '../core/change.ts'
import type { RelationNet } from '../core/coalesce.ts'
import type { Gathered } from '../core/gather.ts'
import type { Mapping } from '../core/mapping.ts'
import type { Program } from '../core/program.ts'
import { nameOf } from '../core/relation.ts'
import type { ResolveDeps } from './resolve.ts'

/** One source transaction in several parts: all of them are checked in one way. */
export function isFragment(transactions: readonly Transaction[]): boolean {
  return transactions.some((t) => !t.last || t.first > 0)
}

/** Tables at the destination to which foreign keys go by other columns than those by which their rows are found here. */
export function pointedAtOtherwise(mapping: Mapping, { tables }: Catalog): ReadonlySet<string> {
  const keys = new Map([...mapping.tables.values()].map(({ target, targetKey }) => [nameOf(target), targetKey]))
  return new Set(tables.flatMap(({ foreignKeys }) => foreignKeys).filter(({ target, targetColumns }) => {
    const key = keys.get(nameOf(target))
    return key !== undefined && !targetColumns.every((column) => key.includes(column))
  }).map(({ target }) => nameOf(target)))
}

interface Choosing extends Pick<ResolveDeps, 'programOf' | 'targetOf'> {
  readonly few: number
  /** New rows may be there already. */
  readonly converging: boolean
  /** See pointedAtOtherwise(). */
  readonly pointedAt: ReadonlySet<string>
}

/** Below this a proof costs more than the triggers that it saves. */
export const FEW_ROWS = 200

/** Mostly new rows: the set-based proof is the cheaper promise. Tables whose triggers must not fire leave no choice. */
export function prefersSet(gathered: Gathered, deps: Choosing): boolean {
  const programs = gathered.groups.flatMap((group) => [...group.nets.keys()].map(deps.programOf))
  if (programs.some((program) => program.rule.triggers === 'off')) return true
  // Their triggers make the rows that are adopted.
  if (programs.some((program) => program.rule.makes)) return false
  // What such a row held before is not known to a proof: only new rows change nothing for those that point there.
  const changes = ({ keyed }: RelationNet): boolean => deps.converging || (keyed !== null && [...keyed.values()].some(({ kind }) => kind !== 'insert'))
  if (gathered.groups.some((group) => [...group.nets.values()].some((net) => deps.pointedAt.has(nameOf(deps.programOf(net.relation).rule.target)) && changes(net)))) return false
  if (gathered.rows < deps.few || gathered.inserts * 2 < gathered.rows) return false
  return gathered.groups.every((group) => group.moves.length === 0) && programs.every((program) => isProvable(program, deps.targetOf(program)))
}

/** Proofs are of columns that come from the source; foreign keys that a constant or a merge policy fills are left to Postgres's triggers. */
export function isProvable(program: Program, target: CatalogTable): boolean {
  const { columns } = program.rule
  return !keeps(program) && target.foreignKeys.every((fk) => fk.columns.every((name) => (columns.find((c) => c.target === name)?.source ?? null) !== null))
}

/** True when the policy may change anything in a row of the destination. */
export function keeps(program: Program): boolean {
  return program.rule.merge !== null && [...program.rule.merge.keep.values()].some((keep) => keep !== 'destination')
}
