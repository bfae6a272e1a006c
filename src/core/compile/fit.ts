import type { Catalog, CatalogColumn } from '../catalog.ts'
import { isInteger } from './draft.ts'
import { ID_LENGTH } from '../ids/ids.ts'
import type { Entity, IdStrategy, ValueMap } from '../mapping.ts'

const TEXT = /^(text|character varying|character|bpchar|name|citext|.*\.citext)(\(\d+\))?$/
const LIMITS: Record<string, bigint> = { smallint: 2n ** 15n, integer: 2n ** 31n, bigint: 2n ** 63n }

/** A type that holds any text, domains over text included. */
export function isText(column: CatalogColumn): boolean {
  return column.typeCategory === 'S'
}

function lengthOf(type: string): number {
  return Number(/\((\d+)\)$/.exec(type)?.[1] ?? Infinity)
}

/** What is wrong with ids of this entity in a column of this type, or null. `key` is the source type of the keys. */
export function idMisfit(entity: Entity, type: string, options: { text: boolean; key: string }): string | null {
  const { strategy } = entity
  if (strategy.kind === 'keep') return null
  if (strategy.kind === 'offset') return options.text ? null : offsetMisfit(strategy.by, type, options.key)
  if (!options.text) return `ids of ${entity.name} are text; the column is ${type}`
  const length = idLength(strategy, options.key)
  return length <= lengthOf(type) ? null : `ids of ${entity.name} have up to ${length} characters; the column is ${type}`
}

function offsetMisfit(by: bigint, type: string, key: string): string | null {
  if (!isInteger(type)) return `an offset gives integers; the column is ${type}`
  const size = by < 0n ? -by : by
  if (size >= LIMITS[type]) return `keys with the offset ${by} do not fit into ${type}`
  return LIMITS[key] !== undefined && LIMITS[key] > LIMITS[type] ? `keys are ${key} at the source; the column is ${type}` : null
}

function idLength(strategy: Extract<IdStrategy, { prefix: string }>, key: string): number {
  if (strategy.kind !== 'literal') return strategy.prefix.length + 1 + ID_LENGTH
  const digits = key === 'uuid' ? 36 : LIMITS[key] === undefined ? 0 : String(LIMITS[key]).length + 1
  return strategy.prefix.length + 1 + digits
}

/** Entities whose whole ids the map writes into the column (or, for arrays, into its elements). */
export function wholeIds(map: ValueMap): { entity: string; element: boolean }[] {
  if (map.kind === 'ref') return [{ entity: map.entity, element: false }]
  if (map.kind === 'array') return [{ entity: map.entity, element: true }]
  if (map.kind === 'case') return [...map.cases.map((c) => c.map), map.otherwise].flatMap(wholeIds)
  return []
}

export function elementIsText(type: string): boolean {
  return TEXT.test(type.replace(/\[\]$/, ''))
}

const WIDER: Record<string, readonly string[]> = {
  smallint: ['integer', 'bigint', 'numeric', 'real', 'double precision'],
  integer: ['bigint', 'numeric', 'double precision'],
  bigint: ['numeric'],
  real: ['double precision'],
  json: ['jsonb'],
  uuid: [],
}

/** Why values of one type may not fit, or may change their meaning, in another; null if they fit. Enums are compared by their labels. */
export function copyMisfit(from: CatalogColumn, to: CatalogColumn, catalogs: { source: Catalog; destination: Catalog }): string | null {
  if (from.typeCategory === 'E' && to.typeCategory === 'E') {
    const there = catalogs.destination.enums.get(to.type) ?? []
    const missing = (catalogs.source.enums.get(from.type) ?? []).filter((label) => !there.includes(label))
    return missing.length === 0 ? null : `${to.type} lacks the labels ${missing.join(', ')}`
  }
  if (from.type === to.type || (WIDER[from.type] ?? []).includes(to.type)) return null
  const longest = isText(from) ? lengthOf(from.type) : Infinity
  if (isText(to)) return lengthOf(to.type) >= longest ? null : `${from.type} may be longer than ${to.type}`
  return `${from.type} becomes ${to.type}`
}
