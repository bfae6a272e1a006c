import { columnOf, fail, resolveTable, sourceOf, warn, type Draft, type Place } from './draft.ts'
import { parentsOf } from './references.ts'
import type { AdoptRule, ColumnRule, TableRule } from '../mapping.ts'
import type { AdoptSpec } from './mapping-source.ts'
import { nameOf } from '../relation.ts'

type Shape = Pick<TableRule, 'columns' | 'targetKey' | 'entity'>

export function compileAdopt(draft: Draft, place: Place, shape: Shape): AdoptRule | null {
  const { adopt } = place.spec
  if (adopt === undefined) return null
  const name = nameOf(resolveTable(adopt.by, draft.spec.schemas.source))
  const maker = draft.places.get(name)
  if (maker === undefined || maker.target === null || maker.verdict === 'skip' || maker.verdict === 'assert') {
    return refuse(draft, place, { message: `rows of ${adopt.by} are not written at the destination`, fix: 'Name the table whose inserts run the trigger.' })
  }
  if ((maker.spec.triggers ?? draft.spec.defaults.triggers) === 'off') {
    return refuse(draft, place, { message: `the triggers of ${adopt.by} are off: they make no rows`, fix: 'Say triggers: fire there, or remove adopt.' })
  }
  return adopt.column !== undefined ? throughMaker(draft, place, { maker, adopt, by: name }) : throughOwn(draft, place, { maker, adopt, by: name, shape })
}

interface Given {
  readonly maker: Place
  readonly adopt: AdoptSpec
  readonly by: string
}

function throughMaker(draft: Draft, place: Place, { maker, adopt, by }: Given): AdoptRule | null {
  const column = adopt.column!
  const there = columnOf(maker.target, column)
  if (there === undefined) return refuse(draft, place, { message: `there is no ${adopt.by}.${column} at the destination`, fix: 'Correct the names.' })
  const from = sourceOf(maker, column)
  if (from === undefined) return refuse(draft, place, { message: `no source column fills ${adopt.by}.${column}`, fix: 'Carry it.' })
  if (place.key.length !== 1) {
    return refuse(draft, place, { message: 'the key is not one column', fix: 'Only rows with a key of one column can be pointed at by one.' })
  }
  const own = place.target === null ? null : nameOf(place.target)
  const points = maker.target!.foreignKeys.some((k) => k.columns.length === 1 && k.columns[0] === column && nameOf(k.target) === own)
  if (!points) {
    warn(draft, {
      code: 'ADOPT', where: `${place.where}.adopt`, message: `${adopt.by}.${column} is no foreign key to ${place.label} at the destination`,
      fix: 'Make sure that it names the row that the trigger makes.',
    })
  }
  const fills = maker.target!.triggers.some((t) => t.insert && t.row && t.before && t.enabled !== 'D')
  if (!there.nullable && !fills) {
    warn(draft, {
      code: 'ADOPT', where: `${place.where}.adopt`,
      message: `${adopt.by}.${column} may not be null at the destination, and no BEFORE INSERT trigger for each row could fill it: rows of ${adopt.by} will be parked`,
      fix: 'Let the column be null until the trigger has run, or make the row in a BEFORE trigger.',
    })
  }
  return { by, column, from }
}

function throughOwn(draft: Draft, place: Place, { maker, adopt, by, shape }: Given & { readonly shape: Shape }): AdoptRule | null {
  const { columns, targetKey, entity } = shape
  const on = adopt.on ?? []
  const unknown = on.find((name) => !columns.some((c) => c.target === name))
  if (unknown !== undefined) return refuse(draft, place, { message: `the mapping writes no column ${unknown}`, fix: 'Name destination columns of this table.' })
  const isKey = on.length === targetKey.length && on.every((name) => targetKey.includes(name))
  if (entity === null && !isKey) {
    return refuse(draft, place, {
      message: `rows without an id of their own are found by their key (${targetKey.join(', ')})`, fix: 'Give these columns as `on`.',
    })
  }
  const referring = columns.filter((c) => refersTo(draft, place, { column: c, maker }))
  const from = (referring.find((c) => on.includes(c.target)) ?? referring[0])?.source
  if (maker.key.length !== 1 || from == null) {
    return refuse(draft, place, { message: `no column refers to the key of ${adopt.by}`, fix: `Whose row a trigger made must be known: use \`column\`, or keep the trigger from firing (triggers: off on ${adopt.by}).` })
  }
  return { by, on, from }
}

function refersTo(draft: Draft, place: Place, { column, maker }: { column: ColumnRule; maker: Place }): boolean {
  const { map, source } = column
  if (source === null) return false
  if (map.kind === 'ref') return draft.entities.get(map.entity)?.table === nameOf(maker.table)
  return map.kind === 'copy' && parentsOf(draft, place, source).some((p) => p.place === maker && p.column === maker.key[0])
}

function refuse(draft: Draft, place: Place, said: { readonly message: string; readonly fix: string }): null {
  fail(draft, { code: 'ADOPT', where: `${place.where}.adopt`, ...said })
  return null
}

/** Tells the makers of adopted rows what their triggers fill. */
export function withMakers(draft: Draft, tables: ReadonlyMap<string, TableRule>): Map<string, TableRule> {
  const filled = new Map<string, string[]>()
  for (const [name, { adopt }] of tables) {
    if (adopt === null) continue
    const columns = filled.get(adopt.by) ?? []
    filled.set(adopt.by, 'column' in adopt ? [...columns, adopt.column] : columns)
    if (tables.get(adopt.by)!.keyed) continue
    refuse(draft, draft.places.get(name)!, { message: `${adopt.by} has no key by which its rows are found`, fix: 'Give it a unique key at the destination.' })
  }
  return new Map([...tables].map(([name, rule]) => {
    const columns = filled.get(name)
    return [name, columns ? { ...rule, makes: { filled: columns } } : rule]
  }))
}
