import { changes, columnOf, fail, isInteger, resolveTable, strategyOf, warn, type Draft, type Place } from './draft.ts'
import { hasMap } from './maps.ts'
import { parentsOf } from './references.ts'
import type { Entity } from '../mapping.ts'
import type { IdSpec } from './mapping-source.ts'
import { nameOf } from '../relation.ts'

/** Fills draft.entities: one per table whose key is one column of its own, and the further keys that the mapping declares. */
export function compileEntities(draft: Draft): void {
  const used = new Set<string>()
  for (const place of draft.places.values()) {
    if (draft.spec.entities[place.label] !== undefined) used.add(place.label)
    addKeyEntity(draft, place)
  }
  for (const [name, id] of Object.entries(draft.spec.entities)) if (!used.has(name)) addFurther(draft, name, id)
  checkPrefixes(draft)
}

function addKeyEntity(draft: Draft, place: Place): void {
  const declared = draft.spec.entities[place.label]
  const where = `entities.${place.label}`
  const [column] = place.key
  if (place.key.length !== 1) {
    if (declared !== undefined) {
      fail(draft, {
        code: 'ENTITY_KEY', where, message: `the key of ${place.label} is not one column (${place.key.join(', ') || 'none'})`,
        fix: `Name the column: ${place.label}.<column>.`,
      })
    }
    return
  }
  if (isReference(draft, place, column)) {
    if (declared !== undefined) {
      fail(draft, {
        code: 'ENTITY_KEY', where, message: `the key ${place.label}.${column} is a reference itself: its values belong to another entity`,
        fix: 'Remove this entity; refer to the other one.',
      })
    }
    return
  }
  const id = declared ?? draft.spec.defaults.id
  if (id === undefined) {
    if (place.verdict !== 'skip') {
      fail(draft, {
        code: 'ENTITY_ID', where: place.where, message: `nothing says what becomes of the key ${place.label}.${column}`,
        fix: `Add entities.${place.label} (a prefix, or keep), or defaults.id.`,
      })
    }
    return
  }
  addEntity(draft, place, { name: place.label, column, id })
}

/** `table.column`, where the table may be written with its schema. */
function addFurther(draft: Draft, name: string, id: IdSpec): void {
  const dot = name.lastIndexOf('.')
  const where = `entities.${name}`
  const place = dot < 0 ? undefined : draft.places.get(nameOf(resolveTable(name.slice(0, dot), draft.spec.schemas.source)))
  const column = name.slice(dot + 1)
  if (place === undefined || columnOf(place.table, column) === undefined) {
    fail(draft, {
      code: 'UNKNOWN_ENTITY', where, message: `${name} is no table of the contexts, and no table.column of one`,
      fix: 'Correct the name, or remove it.',
    })
    return
  }
  if (place.key.length === 1 && place.key[0] === column) {
    fail(draft, { code: 'ENTITY_KEY', where, message: `${column} is the key of ${place.label}`, fix: `Write entities.${place.label}.` })
    return
  }
  if (!place.table.uniques.some((u) => u.usable && u.columns.length === 1 && u.columns[0] === column)) {
    warn(draft, {
      code: 'ENTITY_NOT_UNIQUE', where, message: `no unique index says that ${name} names one row`,
      fix: 'Equal keys get equal ids; make sure that this is meant.',
    })
  }
  addEntity(draft, place, { name, column, id })
}

function addEntity(draft: Draft, place: Place, { name, column, id }: { name: string; column: string; id: IdSpec }): void {
  const found = columnOf(place.table, column)!
  const strategy = strategyOf(id, found)
  const where = `entities.${name}`
  const needsInteger = strategy.kind === 'offset' || (strategy.kind === 'prefixed' && strategy.form === 'ordered')
  if (needsInteger && !isInteger(found.type)) {
    fail(draft, {
      code: 'ID_STRATEGY', where,
      message: `${strategy.kind === 'offset' ? 'offset' : 'ordered'} needs an integer key; ${place.label}.${column} is ${found.type}`,
      fix: 'Use form: opaque, or keep.',
    })
  }
  const pinned = place.spec.pinned !== undefined && Object.keys(place.spec.pinned).length > 0
  const decided = place.verdict === 'merge' || strategy.kind === 'random' || pinned || place.spec.adopt !== undefined
  draft.entities.set(name, { name, table: nameOf(place.table), column, strategy, decided })
}

function isReference(draft: Draft, place: Place, column: string): boolean {
  const spec = place.spec.columns?.[column]
  return (spec !== undefined && hasMap(spec)) || parentsOf(draft, place, column).length > 0
}

/** Two kinds of things with one prefix could not be told apart by their ids. */
function checkPrefixes(draft: Draft): void {
  const owners = new Map<string, Entity>()
  for (const entity of draft.entities.values()) {
    if (!changes(entity) || !('prefix' in entity.strategy)) continue
    const other = owners.get(entity.strategy.prefix)
    if (other === undefined) owners.set(entity.strategy.prefix, entity)
    else {
      fail(draft, {
        code: 'SAME_PREFIX', where: `entities.${entity.name}.prefix`, message: `${other.name} has the prefix ${entity.strategy.prefix} too`,
        fix: 'Give each entity a prefix of its own.',
      })
    }
  }
}
