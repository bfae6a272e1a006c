import type { Catalog, CatalogColumn, CatalogTable } from '../catalog.ts'
import type { Entity, IdStrategy, StoreRule, TableVerdict } from '../mapping.ts'
import type { IdSpec, MappingSource, TableSpec } from './mapping-source.ts'
import type { Problem } from '../problem.ts'
import { nameOf, type TableName } from '../relation.ts'

/** What the steps of the compiler share: the inputs, what was found so far, and where problems go. */
export interface Draft {
  readonly spec: MappingSource
  readonly source: Catalog
  readonly destination: Catalog
  /** By source table name. */
  readonly places: Map<string, Place>
  readonly entities: Map<string, Entity>
  readonly stores: Map<string, StoreRule>
  readonly problems: Problem[]
}

/** A table of the mapping with the two tables it stands for. */
export interface Place {
  /** As in the mapping: without the default schema. */
  readonly label: string
  /** Path of its rule in the mapping. */
  readonly where: string
  readonly spec: TableSpec
  readonly verdict: TableVerdict
  readonly context: string
  readonly table: CatalogTable
  readonly target: CatalogTable | null
  readonly key: readonly string[]
}

type Said = Omit<Problem, 'severity'>

export function fail(draft: Draft, problem: Said): void {
  draft.problems.push({ ...problem, severity: 'error' })
}

export function warn(draft: Draft, problem: Said): void {
  draft.problems.push({ ...problem, severity: 'warning' })
}

export function resolveTable(written: string, schema: string): TableName {
  const dot = written.indexOf('.')
  return dot < 0 ? { schema, table: written } : { schema: written.slice(0, dot), table: written.slice(dot + 1) }
}

/** The destination's table of one of the source: of the same name, where `to` does not name another. */
export function targetOf(to: string | undefined, table: string, schema: string): TableName {
  return to === undefined ? { schema, table } : resolveTable(to, schema)
}

/** A name with a dot in it is written with its schema, or the part before the dot would be taken for one. */
export function labelOf({ spec }: { readonly spec: Pick<MappingSource, 'schemas'> }, name: TableName): string {
  return name.schema === spec.schemas.source && !name.table.includes('.') ? name.table : nameOf(name)
}

export function columnOf(table: CatalogTable | null, name: string): CatalogColumn | undefined {
  return table?.columns.find((c) => c.name === name)
}

export function isInteger(type: string): boolean {
  return type === 'smallint' || type === 'integer' || type === 'bigint'
}

/** The source column that fills a destination column by name or by `to`. */
export function sourceOf(place: Place, target: string): string | undefined {
  const specs = place.spec.columns ?? {}
  return place.table.columns.find((c) => specs[c.name]?.drop === undefined && (specs[c.name]?.to ?? c.name) === target)?.name
}

/** The form follows the type of the key unless it is said: integers are ordered, everything else is opaque. */
export function strategyOf(id: IdSpec, column: CatalogColumn): IdStrategy {
  const prefix = id.prefix ?? ''
  switch (id.id) {
    case 'prefixed':
      return { kind: 'prefixed', form: id.form ?? (isInteger(column.type) ? 'ordered' : 'opaque'), prefix }
    case 'random':
      return { kind: 'random', prefix }
    case 'literal':
      return { kind: 'literal', prefix }
    case 'offset':
      return { kind: 'offset', by: BigInt(id.by ?? 0) }
    case 'keep':
      return { kind: 'keep' }
  }
}

/** The name of an entity as it is in the map; `users.id` is understood as `users`. Says UNKNOWN_ENTITY and gives null if there is none. */
export function entityNamed(draft: Draft, written: string, where: string): string | null {
  if (draft.entities.has(written)) return written
  const same = [...draft.entities.values()].find((e) => {
    const label = draft.places.get(e.table)?.label
    return written === `${label}.${e.column}` || written === `${e.table}.${e.column}` || (written === e.table && e.name === label)
  })
  if (same) return same.name
  fail(draft, {
    code: 'UNKNOWN_ENTITY', where, message: `there is no entity ${written}`,
    fix: 'Name a table with a key of one column, or declare table.column under entities; in a template {rest:name} is text that stays.',
  })
  return null
}

/** True when an id differs from its key, or may. */
export function changes(entity: Entity): boolean {
  return entity.strategy.kind !== 'keep' || entity.decided
}
