import type { Catalog } from '../core/catalog.ts'
import { compileMapping } from '../core/compile/compile.ts'
import { alterStatements, isLiving } from '../core/ddl/alter.ts'
import { comment, createStatements } from '../core/ddl/create.ts'
import type { DdlFacts } from '../core/ddl/facts.ts'
import type { MappingSource } from '../core/compile/mapping-source.ts'
import { convertedColumns, plannedDestination } from '../core/planned.ts'
import { nameOf } from '../core/relation.ts'

export interface Side {
  readonly catalog: Catalog
  /** From readDdlFacts. */
  readonly facts: DdlFacts
}

export interface DdlOptions {
  readonly source: Side
  readonly destination: Side
  /** As it is written: it need not fit the destination yet. */
  readonly spec: MappingSource
}

/**
 * SQL text that makes the destination ready for the mapping, as one transaction; it is printed, never run. Without any of the mapping's
 * tables there, the source's schema with text ids; else the changes that make the living tables' id columns text.
 */
export function ddl({ source, destination, spec }: DdlOptions): string {
  const planned = plannedDestination(spec, source.catalog)
  const living = isLiving(destination.catalog, planned.tables.map((t) => t.to))
  const statements = living
    ? livingStatements({ source, destination, spec })
    : createStatements({ planned, facts: source.facts, schemas: spec.schemas })
  if (statements.every((s) => s.startsWith('--'))) {
    return [comment(`Nothing is to be changed: the id columns that are there are as the mapping of ${spec.application} wants them.`), ...statements, ''].join('\n')
  }
  const head = living
    ? `Makes id columns of the living destination text, so that ${spec.application} can be moved into it.\n` +
      'It locks and rewrites the tables: try it on a copy, and run it while the application is down.'
    : `Makes the tables of ${spec.application} at an empty destination, with text ids.`
  const body = statements.map((s) => (s.startsWith('--') ? s : `${s};`)).join('\n')
  return `${comment(head)}\n\nbegin;\nset local search_path = pg_catalog;\n\n${body}\n\ncommit;\n`
}

function livingStatements({ source, destination, spec }: DdlOptions): string[] {
  const { mapping } = compileMapping(spec, source.catalog, destination.catalog)
  const missing = [...mapping.tables.values()]
    .filter((rule) => rule.verdict !== 'skip' && !destination.catalog.tables.some((t) => nameOf(t) === nameOf(rule.target)))
    .map((rule) => comment(`the destination has no table ${nameOf(rule.target)}: the application's own migrations must make it`))
  return [...missing, ...alterStatements({ destination: destination.catalog, facts: destination.facts,
    converted: convertedColumns(mapping, destination.catalog) })]
}
