import { type Catalog, tableOf } from '../core/catalog.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Program } from '../core/program.ts'
import { type Relation, retypedColumns } from '../core/relation.ts'

interface Now {
  /** The source's tables as its catalog has them. */
  readonly relations: ReadonlyMap<string, Relation>
  /** Where the source was when that was read. */
  readonly catalogLsn?: Lsn
  /** The destination's. */
  readonly catalog: Catalog
}

/** Numbers, dates and times, spans of time, arrays: their types round or cut off; others take a value as it is, or refuse it. */
const ROUNDS = new Set(['N', 'D', 'T', 'A'])

/** A type that is another than the catalog's is of before the catalog was read, or has been changed since: the position tells. */
export function asOfNow(program: Program, { relations, catalogLsn, catalog }: Now): Program {
  const present = relations.get(program.name)
  if (!present || catalogLsn === undefined) return program
  const { target, columns } = program.rule
  const categories = new Map(tableOf(catalog, target)?.columns.map(({ name, typeCategory }) => [name, typeCategory]))
  const column = retypedColumns(program.relation, present)
    .find((name) => columns.some((one) => one.source === name && ROUNDS.has(categories.get(one.target) ?? '')))
  return column === undefined ? program : { ...program, retyped: { column, after: catalogLsn } }
}
