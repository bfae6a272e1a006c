import { changes, columnOf, fail, sourceOf, type Draft, type Place } from './draft.ts'
import { compileMap, hasMap } from './maps.ts'
import type { TableRule, ValueMap } from '../mapping.ts'
import { nameOf } from '../relation.ts'

interface Parent {
  readonly place: Place
  readonly column: string
}

/**
 * The columns that a source column points at by foreign key. What only the destination declares counts too, through the names of both
 * sides: older sources lack constraints that newer destinations have.
 */
export function parentsOf(draft: Draft, place: Place, column: string): Parent[] {
  const parents: Parent[] = []
  for (const fk of place.table.foreignKeys) {
    const at = fk.columns.indexOf(column)
    const parent = at < 0 ? undefined : draft.places.get(nameOf(fk.target))
    if (parent) parents.push({ place: parent, column: fk.targetColumns[at] })
  }
  const target = place.spec.columns?.[column]?.to ?? column
  if (parents.length > 0 || sourceOf(place, target) !== column) return parents
  for (const fk of place.target?.foreignKeys ?? []) {
    const at = fk.columns.indexOf(target)
    if (at < 0) continue
    const parent = [...draft.places.values()]
      .find((p) => p.target !== null && p.verdict !== 'skip' && nameOf(p.target) === nameOf(fk.target))
    const from = parent && sourceOf(parent, fk.targetColumns[at])
    if (parent && from !== undefined) parents.push({ place: parent, column: from })
  }
  return parents
}

/**
 * What happens to a column's values: what the mapping says, else the ids of its own entity, else what happens to the values of the
 * column that it points at.
 */
export function mapOf(draft: Draft, place: Place, column: string, seen: ReadonlySet<string> = new Set()): ValueMap {
  const spec = place.spec.columns?.[column]
  if (spec && hasMap(spec)) return compileMap(draft, place, { spec, where: `${place.where}.columns.${column}` })
  const own = [...draft.entities.values()].find((e) => e.table === nameOf(place.table) && e.column === column)
  if (own) return changes(own) ? { kind: 'ref', entity: own.name } : { kind: 'copy' }
  const here = `${nameOf(place.table)}.${column}`
  if (seen.has(here)) return { kind: 'copy' }
  const maps = parentsOf(draft, place, column)
    .filter((parent) => columnOf(parent.place.table, parent.column) !== undefined)
    .map((parent) => inherited(draft, { place, column, parent }, new Set([...seen, here])))
    .filter((map) => map.kind !== 'copy')
  const different = new Map(maps.map((map) => [JSON.stringify(map), map]))
  if (different.size > 1) {
    fail(draft, {
      code: 'AMBIGUOUS_REFERENCE', where: `${place.where}.columns.${column}`, message: 'its foreign keys lead to different entities',
      fix: 'Say which one: {ref: entity}.',
    })
  }
  return maps[0] ?? { kind: 'copy' }
}

function inherited(draft: Draft, from: { place: Place; column: string; parent: Parent }, seen: ReadonlySet<string>): ValueMap {
  const { place, column, parent } = from
  const where = `${place.where}.columns.${column}`
  if (parent.place.verdict === 'skip') {
    if (nameOf(parent.place.table) !== nameOf(place.table)) {
      fail(draft, {
        code: 'PARENT_SKIPPED', where, message: `it points at ${parent.place.label}, which is skipped`,
        fix: 'Carry that table, drop this column, or give it a constant.',
      })
    }
    return { kind: 'copy' }
  }
  const map = mapOf(draft, parent.place, parent.column, seen)
  if (map.kind !== 'case' && map.kind !== 'expression' && map.kind !== 'constant') return map
  fail(draft, {
    code: 'REFERENCE_BY_ROW', where,
    message: `${parent.place.label}.${parent.column}, which it points at, is made from other columns of its row`,
    fix: 'Say here how the value changes.',
  })
  return { kind: 'copy' }
}

/** Rows that a row cannot be without, by their own keys: what waits for a decision holds back what points at it. */
export function parentRows(draft: Draft, place: Place): TableRule['parents'] {
  const found = new Map<string, TableRule['parents'][number]>()
  const add = (parent: Place | undefined, columnFor: (key: string) => string | undefined): void => {
    if (parent === undefined || parent.verdict === 'skip' || parent.key.length === 0) return
    const columns = parent.key.map(columnFor)
    if (columns.includes(undefined)) return
    const one = { columns: columns as string[], table: nameOf(parent.table) }
    found.set(JSON.stringify(one), one)
  }
  for (const fk of place.table.foreignKeys) {
    add(draft.places.get(nameOf(fk.target)), (key) => fk.columns[fk.targetColumns.indexOf(key)])
  }
  for (const fk of place.target?.foreignKeys ?? []) {
    const parent = [...draft.places.values()].find((p) => p.target !== null && p.verdict !== 'skip' && nameOf(p.target) === nameOf(fk.target))
    add(parent, (key) => {
      const at = fk.targetColumns.findIndex((column) => sourceOf(parent!, column) === key)
      return at < 0 ? undefined : sourceOf(place, fk.columns[at])
    })
  }
  return [...found.values()]
}
