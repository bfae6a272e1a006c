import { columnOf, fail, isInteger, type Draft, type Place } from './draft.ts'
import { compileExpression, needColumn, storeNamed } from './maps.ts'
import { conditionOf } from './table.ts'
import type { ColumnRule, Condition, ObjectRule, StoreRule, TableRule, ValueMap } from '../mapping.ts'
import type { ConditionSpec, ObjectSpec } from './mapping-source.ts'

/** The objects that the rows of a table name, with every problem that can be told before a row is read. */
export function compileObjects(draft: Draft, place: Place, columns: readonly ColumnRule[]): ObjectRule[] {
  const { spec, verdict } = place
  if (spec.objects === undefined) return []
  if (verdict === 'skip' || verdict === 'assert') {
    fail(draft, {
      code: 'OBJECTS', where: `${place.where}.objects`, message: `rows of ${place.label} are not carried, so their objects are not`,
      fix: 'Remove it, or carry the table.',
    })
    return []
  }
  return spec.objects.flatMap((one, i) => objectRule(draft, place, { spec: one, where: `${place.where}.objects.${i}`, columns }))
}

/** What a row named before is known by the row's key alone; and a row that waits must be one that is certain to come. */
export function checkRows(draft: Draft, place: Place, { keyed, objects, verdict, pinned, adopt }: TableRule): void {
  if (objects.some((rule) => rule.when === 'before') && (verdict !== 'move' || pinned.size > 0 || adopt !== null)) {
    fail(draft, {
      code: 'OBJECTS', where: `${place.where}.objects`,
        message: `rows of ${place.label} may become rows of the destination, so they cannot wait for objects`,
      fix: 'Say when: with.',
    })
  }
  if (keyed || objects.length === 0) return
  fail(draft, {
    code: 'OBJECTS', where: `${place.where}.objects`,
      message: `rows of ${place.label} have no key, so which of them names an object cannot be told`,
    fix: 'Add a unique key at the destination.',
  })
}

interface Said {
  readonly spec: ObjectSpec
  readonly where: string
  readonly columns: readonly ColumnRule[]
}

function objectRule(draft: Draft, place: Place, said: Said): ObjectRule[] {
  const { spec, where } = said
  const store = storeNamed(draft, spec.store, `${where}.store`)
  const isColumn = !/[{}]/.test(spec.key)
  if (isColumn) needColumn(draft, place, { spec: spec.key, where: `${where}.key` })
  for (const column of spec.version ?? []) needColumn(draft, place, { spec: column, where: `${where}.version` })
  checkSize(draft, place, said)
  const key = isColumn ? [{ kind: 'column' as const, column: spec.key, functions: [] }]
    : compileExpression(draft, place, { spec: spec.key, where: `${where}.key` })
  if (store === null) return []
  if (isColumn) checkSameKey(draft, store, said)
  return [{
    store: store.name, key, url: spec.url ?? null, version: spec.version ?? [], size: spec.size ?? null, when: spec.when ?? 'with',
    where: conditions(draft, place, { spec: spec.where, where: `${where}.where` }) ?? [],
    directory: conditions(draft, place, { spec: spec.directory, where: `${where}.directory` }),
  }]
}

function conditions(
  draft: Draft, place: Place, { spec, where }: { spec: Readonly<Record<string, ConditionSpec>> | undefined; where: string },
): Condition[] | null {
  if (spec === undefined) return null
  return Object.entries(spec).map(([column, test]) => {
    needColumn(draft, place, { spec: column, where })
    return conditionOf(column, test)
  })
}

function checkSize(draft: Draft, place: Place, { spec, where }: Said): void {
  if (spec.size === undefined) return
  needColumn(draft, place, { spec: spec.size, where: `${where}.size` })
  const column = columnOf(place.table, spec.size)
  if (column === undefined || isInteger(column.type)) return
  fail(draft, { code: 'OBJECTS', where: `${where}.size`, message: `${spec.size} is ${column.type}, no whole number`,
    fix: 'Name a column of bytes, or remove it.' })
}

/** A row that says one key while its object stands under another is broken at the destination. */
function checkSameKey(draft: Draft, store: StoreRule, { spec, where, columns }: Said): void {
  const carried = columns.filter((column) => column.source === spec.key)
  if (carried.every(({ map }) => rewrites(map, store, spec.url !== undefined))) return
  const url = spec.url === undefined ? '' : ` with url: {from: ${spec.url}, to: …}`
  fail(draft, {
    code: 'OBJECT_KEY', where: `${where}.key`,
    message: `the column ${spec.key} changes otherwise than the keys of ${store.name}: row and object would not have the same key`,
    fix: `Say {object: ${store.name}}${url} for the column.`,
  })
}

/** By row (`by`, `when`), one of the ways must be the store's: the conditions of the object say which rows have one. */
function rewrites(map: ValueMap, store: StoreRule, url: boolean): boolean {
  if (map.kind === 'case') return [...map.cases.map((c) => c.map), map.otherwise].some((one) => rewrites(one, store, url))
  if (map.kind === 'copy') return store.keys.every((template) => template.every((part) => part.kind !== 'key'))
  if (map.kind !== 'template') return false
  const keys = map.templates.map((template) => {
    const [head, ...rest] = template
    return url && head.kind === 'literal' && head.becomes !== undefined ? rest : template
  })
  return JSON.stringify(keys) === JSON.stringify(store.keys)
}
