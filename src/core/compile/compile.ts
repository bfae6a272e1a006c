import { tableOf, type Catalog, type CatalogTable } from '../catalog.ts'
import { compileAdopt, withMakers } from './adopt.ts'
import { checkCycles, checkOrder, checkTable, checkVerdicts } from './checks.ts'
import { compileColumns } from './columns.ts'
import { compileAdded, compileFormer } from './earlier.ts'
import { parentRows } from './references.ts'
import { fail, labelOf, resolveTable, targetOf, type Draft, type Place } from './draft.ts'
import { compileEntities } from './entities.ts'
import { compileStores } from './maps.ts'
import { checkRows, compileObjects } from './objects.ts'
import { compileConditions, compileMerge, compileMergedParents, compilePins, compileRename } from './table.ts'
import type { Mapping, TableRule } from '../mapping.ts'
import type { MappingSource, TableSpec } from './mapping-source.ts'
import type { Problem } from '../problem.ts'
import { nameOf, type TableName } from '../relation.ts'
import { rootsOf } from '../roots.ts'

/**
 * Checks a mapping against both catalogs and turns it into what the engine runs on. All problems are told at once; with an error among
 * them the mapping is incomplete and must not be run.
 */
export function compileMapping(spec: MappingSource, source: Catalog, destination: Catalog): { mapping: Mapping; problems: Problem[] } {
  const draft: Draft = { spec, source, destination, places: new Map(), entities: new Map(), stores: new Map(), problems: [] }
  placeTables(draft)
  compileEntities(draft)
  compileStores(draft)
  const tables = withMakers(draft, new Map([...draft.places].map(([name, place]) => [name, compileTable(draft, place)])))
  checkVerdicts(draft)
  checkOrder(draft)
  checkCycles(draft)
  draft.problems.push(...rootsOf(spec, source).problems)
  const contexts = spec.contexts.map(({ name }) => ({
    name, tables: [...draft.places].filter(([, place]) => place.context === name && place.verdict !== 'skip').map(([table]) => table),
  }))
  const mapping = { application: spec.application, digest: spec.digest, contexts, entities: draft.entities, tables, stores: draft.stores }
  return { mapping, problems: distinct(draft.problems) }
}

/** A column's map may be looked at from several children: the same problem is told once. Errors come first. */
function distinct(problems: readonly Problem[]): Problem[] {
  const all = [...new Map(problems.map((p) => [JSON.stringify(p), p])).values()]
  return [...all.filter((p) => p.severity === 'error'), ...all.filter((p) => p.severity === 'warning')]
}

/** A table that a context lists and no rule names. Its problems are told where its rule would be. */
const NO_RULE: TableSpec = {}

/** Tables in the order of the contexts; skipped ones that no context lists come last. */
function placeTables(draft: Draft): void {
  const { spec } = draft
  const nameIn = (written: string): string => nameOf(resolveTable(written, spec.schemas.source))
  const specs = new Map(Object.entries(spec.tables).map(([written, table]) => [nameIn(written), { written, table }]))
  spec.contexts.forEach((context, c) => context.tables.forEach((written, t) => {
    const name = resolveTable(written, spec.schemas.source)
    const where = `contexts.${c}.tables.${t}`
    if (draft.places.has(nameOf(name))) {
      fail(draft, { code: 'TABLE_TWICE', where, message: `${written} is in two contexts`, fix: 'Leave it in one.' })
      return
    }
    const found = specs.get(nameOf(name))
    placeTable(draft, { name, spec: found?.table ?? NO_RULE, where: found ? `tables.${found.written}` : where, context: context.name })
  }))
  for (const { written, table } of specs.values()) {
    const name = resolveTable(written, spec.schemas.source)
    if (spec.contexts.some((c) => c.tables.some((t) => nameIn(t) === nameOf(name)))) continue
    if (table.verdict !== 'skip') {
      fail(draft, {
        code: 'NO_CONTEXT', where: `tables.${written}`,
        message: `${written} is in no context`,
        fix: 'List it in one, or skip it.',
      })
    }
    placeTable(draft, { name, spec: table, where: `tables.${written}`, context: '' })
  }
}

interface Wanted {
  readonly name: TableName
  readonly spec: TableSpec
  readonly where: string
  readonly context: string
}

function placeTable(draft: Draft, { name, spec, where, context }: Wanted): void {
  const table = tableOf(draft.source, name)
  if (table === undefined || (table.kind !== 'r' && table.kind !== 'p') || table.parent !== null) {
    fail(draft, {
      code: 'UNKNOWN_TABLE', where,
      message: table === undefined ? `the source has no table ${nameOf(name)}`
        : table.parent !== null ? `${nameOf(name)} is a partition of ${nameOf(table.parent)}`
        : `${nameOf(name)} is no table that can be replicated`,
      fix: table?.parent ? 'Name the partitioned table; its partitions go with it.' : 'Correct the name, or remove it.',
    })
    return
  }
  const verdict = spec.verdict ?? 'move'
  const wanted = targetOf(spec.to, name.table, draft.spec.schemas.destination)
  const target = tableOf(draft.destination, wanted)
  const writable = target !== undefined && (target.kind === 'r' || target.kind === 'p')
  if (verdict !== 'skip' && !writable) {
    fail(draft, {
      code: 'UNKNOWN_TABLE', where, message: `the destination has no table ${nameOf(wanted)} that can be written`,
      fix: 'Create it (`rekey ddl` prints the SQL for a destination that has none of the tables), name another with `to`, or skip this one.',
    })
  }
  const key = spec.key ?? keyOf(table)
  const label = labelOf(draft, name)
  const told = spec === NO_RULE ? `tables.${label}` : where
  draft.places.set(nameOf(name), { label, where: told, spec, verdict, context, table, target: writable ? target : null, key })
}

/** The replica identity; under FULL without a primary key a unique key, best without nulls; without any the whole row. */
function keyOf(table: CatalogTable): readonly string[] {
  if (table.identityColumns.length > 0 || table.identity !== 'f') return table.identityColumns
  const nullable = (name: string): boolean => table.columns.some((c) => c.name === name && c.nullable)
  const usable = table.uniques.filter((u) => u.usable)
  const best = usable.find((u) => !u.columns.some(nullable)) ?? usable[0]
  return best?.columns ?? table.columns.filter((c) => !c.generated).map((c) => c.name)
}

/** One row a key on both sides: an index that ON CONFLICT can use, over columns that are never null. */
function isKeyed(place: Place, targetKey: readonly string[]): boolean {
  if (place.target === null) return false
  const nullable = (table: CatalogTable, names: readonly string[]): boolean => table.columns.some((c) => names.includes(c.name) && c.nullable)
  const unique = place.target.uniques.some((u) => u.usable && !u.deferrable && u.columns.length === targetKey.length && u.columns.every((c) => targetKey.includes(c)))
  return unique && !nullable(place.table, place.key) && !nullable(place.target, targetKey)
}

function compileTable(draft: Draft, place: Place): TableRule {
  const { spec, verdict } = place
  const { columns, dropped } = compileColumns(draft, place)
  const skipped = verdict === 'skip'
  const targetKey = skipped ? [] : place.key.flatMap((key) => columns.find((c) => c.source === key)?.target ?? [])
  const entity = [...draft.entities.values()].find((e) => e.table === nameOf(place.table) && e.name === place.label) ?? null
  const pinned = compilePins(draft, place, targetKey)
  const adopt = compileAdopt(draft, place, { columns, targetKey, entity: entity?.name ?? null })
  const proven = verdict === 'move' && entity !== null && entity.strategy.kind === 'prefixed' && pinned.size === 0 && adopt === null
  const rule: TableRule = {
    source: { schema: place.table.schema, table: place.table.table },
    target: targetOf(spec.to, place.table.table, draft.spec.schemas.destination),
    context: place.context,
    verdict,
    reason: spec.reason ?? null,
    key: place.key,
    targetKey,
    keyed: isKeyed(place, targetKey),
    entity: entity?.name ?? null,
    ledger: !proven,
    columns,
    dropped,
    former: compileFormer(draft, place),
    added: compileAdded(draft, place),
    where: compileConditions(draft, place),
    merge: compileMerge(draft, place, columns),
    rename: compileRename(draft, place, columns),
    pinned,
    mergedParents: compileMergedParents(draft, place, columns),
    triggers: spec.triggers ?? draft.spec.defaults.triggers ?? 'fire',
    adopt,
    truncate: spec.truncate ?? draft.spec.defaults.truncate ?? 'refuse',
    objects: compileObjects(draft, place, columns),
    parents: skipped ? [] : parentRows(draft, place),
  }
  if (!skipped) checkTable(draft, place, rule)
  checkRows(draft, place, rule)
  return rule
}
