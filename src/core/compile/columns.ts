import type { CatalogColumn, CatalogTable } from '../catalog.ts'
import { columnOf, fail, isInteger, warn, type Draft, type Place } from './draft.ts'
import { copyMisfit, elementIsText, idMisfit, isText, wholeIds } from './fit.ts'
import { compileMap } from './maps.ts'
import { mapOf, parentsOf } from './references.ts'
import type { ColumnRule, TableRule } from '../mapping.ts'
import type { ColumnSpec } from './mapping-source.ts'
import { nameOf } from '../relation.ts'

type Dropped = TableRule['dropped'][number]
type Columns = Pick<TableRule, 'columns' | 'dropped'>

/** Every column of both sides gets a verdict, or a problem. Columns are written in the destination's order. */
export function compileColumns(draft: Draft, place: Place): Columns {
  const { target } = place
  if (target === null || place.verdict === 'skip') return { columns: [], dropped: [] }
  const specs = place.spec.columns ?? {}
  const dropped: Dropped[] = []
  const rules = new Map<string, ColumnRule>()
  const add = (rule: ColumnRule, where: string): void => {
    if (rules.has(rule.target)) {
      fail(draft, {
        code: 'COLUMN_TWICE', where,
        message: `${rule.target} is filled twice`,
        fix: 'Drop one, or name another column with `to`.',
      })
    }
    rules.set(rule.target, rule)
  }
  for (const [name, spec] of Object.entries(specs)) {
    const made = madeColumn(draft, place, { name, spec })
    if (made) add(made, `${place.where}.columns.${name}`)
  }
  for (const column of place.table.columns) {
    const answer = carried(draft, place, { column, spec: specs[column.name] ?? {}, target })
    if (answer === null) continue
    if ('reason' in answer) dropped.push(answer)
    else add(answer, `${place.where}.columns.${column.name}`)
  }
  checkUnfilled(draft, place, { target, rules })
  return { columns: target.columns.flatMap((c) => rules.get(c.name) ?? []), dropped }
}

/** A constant or an expression, named by its destination column. */
function madeColumn(draft: Draft, place: Place, { name, spec }: { name: string; spec: ColumnSpec }): ColumnRule | null {
  const where = `${place.where}.columns.${name}`
  if (!isMade(spec)) {
    if (columnOf(place.table, name) === undefined) {
      fail(draft, {
        code: 'UNKNOWN_COLUMN', where,
        message: `${place.label} has no column ${name} at the source`,
        fix: 'Correct the name.',
      })
    }
    return null
  }
  const to = columnOf(place.target, spec.to ?? name)
  if (to === undefined || to.generated) {
    fail(draft, {
      code: 'UNKNOWN_COLUMN', where,
      message: `${place.label} has no column ${spec.to ?? name} at the destination that can be written`,
      fix: 'Correct the name.',
    })
    return null
  }
  if (spec.constant === null && !to.nullable) {
    fail(draft, { code: 'NOT_NULL', where, message: `${to.name} may not be null at the destination`, fix: 'Give it a text.' })
  }
  return { target: to.name, type: to.type, source: null, map: compileMap(draft, place, { spec, where }) }
}

function isMade(spec: ColumnSpec): boolean {
  return spec.constant !== undefined || spec.expression !== undefined
}

interface SourceColumn {
  readonly column: CatalogColumn
  readonly spec: ColumnSpec
  readonly target: CatalogTable
}

function carried(draft: Draft, place: Place, { column, spec, target }: SourceColumn): ColumnRule | Dropped | null {
  const where = `${place.where}.columns.${column.name}`
  if (spec.drop !== undefined) return { column: column.name, reason: spec.drop }
  if (isMade(spec)) return { column: column.name, reason: 'replaced by the mapping' }
  if (column.generated) return { column: column.name, reason: 'generated at the source' }
  const to = columnOf(target, spec.to ?? column.name)
  if (to === undefined) {
    fail(draft, {
      code: spec.to === undefined ? 'COLUMN_UNDECIDED' : 'UNKNOWN_COLUMN', where,
      message: `${nameOf(target)} has no column ${spec.to ?? column.name}`,
      fix: 'Say {to: column}, or {drop: why}.',
    })
    return null
  }
  if (to.generated) return { column: column.name, reason: 'generated at the destination' }
  const rule: ColumnRule = { target: to.name, type: to.type, source: column.name, map: mapOf(draft, place, column.name) }
  checkFit(draft, place, { column, to, rule })
  checkIdLike(draft, place, { column, rule })
  noteIdentity(draft, place, to)
  return rule
}

function checkFit(draft: Draft, place: Place, { column, to, rule }: { column: CatalogColumn; to: CatalogColumn; rule: ColumnRule }): void {
  const where = `${place.where}.columns.${column.name}`
  const { map } = rule
  if (map.kind === 'copy') {
    const misfit = copyMisfit(column, to, draft)
    if (misfit !== null) {
      warn(draft, {
        code: 'TYPE_DIFFERS', where,
        message: `${rule.target}: ${misfit}`,
        fix: 'Make sure that every value fits and means the same.',
      })
    }
    return
  }
  for (const { entity, element } of wholeIds(map)) {
    const found = draft.entities.get(entity)!
    const key = columnOf(draft.places.get(found.table)!.table, found.column)!.type
    const wide = found.strategy.kind === 'offset' && isInteger(column.type) ? column.type : key
    const type = element ? to.type.replace(/\[\]$/, '') : to.type
    const misfit = element && to.typeCategory !== 'A' ? `an array is expected; the column is ${to.type}`
      : idMisfit(found, type, { text: element ? elementIsText(to.type) : isText(to), key: wide })
    if (misfit !== null) {
      fail(draft, {
        code: 'TYPE_MISFIT', where,
        message: `${rule.target}: ${misfit}`,
        fix: 'Change the column at the destination (`rekey ddl` prints the SQL), or the id strategy.',
      })
    }
  }
  const wanted = map.kind === 'json' ? isText(to) || to.type === 'json' || to.type === 'jsonb' : map.kind === 'template' ? isText(to) : true
  if (!wanted) {
    fail(draft, {
      code: 'TYPE_MISFIT', where,
      message: `${rule.target} is ${to.type}: no place for a ${map.kind} map`,
      fix: 'Use another map.',
    })
  }
}

const ID_NAME = /(^|_)((id|gid|uid|uuid|owner)s?|guid)$|(^|_)(gid|uuid)_|_by(_user)?$|[a-z](Id|Ids|Gid|Uuid|Owner|By)$/
const ID_TYPE = /^(smallint|integer|bigint|numeric|text|character varying|character|citext)\b/

/** A uuid, or an integer or text (or an array of them) whose name says id. */
export function looksLikeId(column: CatalogColumn): boolean {
  return /^uuid\b/.test(column.type) || (ID_NAME.test(column.name) && ID_TYPE.test(column.type))
}

function checkIdLike(draft: Draft, place: Place, { column, rule }: { column: CatalogColumn; rule: ColumnRule }): void {
  if (rule.map.kind !== 'copy' || !looksLikeId(column) || (place.spec.notAnId ?? []).includes(column.name)) return
  if (place.spec.columns?.[column.name]?.ref !== undefined || parentsOf(draft, place, column.name).length > 0) return
  const ownKey = place.key.length === 1 && place.key[0] === column.name
  if (ownKey || [...draft.entities.values()].some((e) => e.table === nameOf(place.table) && e.column === column.name)) return
  fail(draft, {
    code: 'ID_UNDECIDED', where: `${place.where}.columns.${column.name}`,
    message: `${place.label}.${column.name} looks like an id, but is no foreign key, no reference and no key of an entity`,
    fix: `Say {ref: entity}, or list it in ${place.where}.notAnId.`,
  })
}

function noteIdentity(draft: Draft, place: Place, to: CatalogColumn): void {
  if (to.identity !== 'a') return
  warn(draft, {
    code: 'IDENTITY_ALWAYS', where: `${place.where}.columns.${to.name}`,
    message: `${to.name} is GENERATED ALWAYS AS IDENTITY at the destination`,
    fix: 'Nothing to do: it is written with OVERRIDING SYSTEM VALUE and cannot be updated later.',
  })
}

interface Filled {
  readonly target: CatalogTable
  readonly rules: ReadonlyMap<string, ColumnRule>
}

function checkUnfilled(draft: Draft, place: Place, { target, rules }: Filled): void {
  for (const column of target.columns) {
    if (rules.has(column.name) || column.nullable || column.default !== null || column.generated || column.identity !== '') continue
    fail(draft, {
      code: 'COLUMN_UNFILLED', where: `${place.where}.columns.${column.name}`,
      message: `${nameOf(target)}.${column.name} is NOT NULL without a default, and nothing fills it`,
      fix: 'Say {constant: …}, {expression: …}, or {to: …} at a source column.',
    })
  }
}
