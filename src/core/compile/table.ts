import { columnOf, fail, warn, type Draft, type Place } from './draft.ts'
import { isText, wholeIds } from './fit.ts'
import { columnText, needColumn } from './maps.ts'
import type { ColumnRule, Condition, MergeKeyPart, MergeRule, RenameRule, TableRule } from '../mapping.ts'
import type { ConditionSpec, KeepSpec, Scalar, TableSpec } from './mapping-source.ts'
import { nameOf } from '../relation.ts'
import { escapeField } from '../row.ts'

type Columns = readonly ColumnRule[]
type Unique = { readonly columns: readonly string[]; readonly definition: string }

export function compileMerge(draft: Draft, place: Place, columns: Columns): MergeRule | null {
  if (place.verdict !== 'merge') {
    const kept = Object.entries(place.spec.columns ?? {}).find(([, spec]) => spec.keep !== undefined)
    if (kept || place.spec.keep !== undefined) {
      fail(draft, {
        code: 'KEEP', where: kept ? `${place.where}.columns.${kept[0]}.keep` : `${place.where}.keep`,
        message: 'only merged rows keep something', fix: 'Say verdict: merge, or remove it.',
      })
    }
    return null
  }
  const on = (place.spec.on ?? []).map((item) => (typeof item === 'string' ? [item] : item).map((text) => keyPart(text)))
  on.forEach((parts) => checkNaturalKey(draft, place, { parts, columns }))
  return { on, keep: compileKeep(draft, place, columns) }
}

/** `email`, `lower(email)` or `lower(trim(email))`: a destination column. */
function keyPart(text: string): MergeKeyPart {
  const nested = /^\s*lower\(\s*trim\(([^()]+)\)\s*\)\s*$/i.exec(text)
  if (nested) return { column: nested[1].trim(), normalise: 'trim-lower' }
  const lower = /^\s*lower\(([^()]+)\)\s*$/i.exec(text)
  return lower ? { column: lower[1].trim(), normalise: 'lower' } : { column: text.trim(), normalise: 'exact' }
}

function checkNaturalKey(draft: Draft, place: Place, { parts, columns }: { parts: readonly MergeKeyPart[]; columns: Columns }): void {
  const where = `${place.where}.on`
  for (const { column } of parts) {
    if (columns.some((c) => c.target === column)) continue
    fail(draft, {
      code: 'UNKNOWN_COLUMN', where,
      message: `${column} is not a column that is written at the destination`,
      fix: 'Correct the name.',
    })
  }
  if (place.target === null || place.target.uniques.some((u) => covers(u, parts))) return
  warn(draft, {
    code: 'MERGE_INDEX', where,
    message: `no unique index on ${parts.map(printPart).join(', ')} at the destination: every match reads the table, and may be ambiguous`,
    fix: `create unique index on ${nameOf(place.target)} (${parts.map(printPart).join(', ')})`,
  })
}

function covers(unique: Unique, parts: readonly MergeKeyPart[]): boolean {
  if (unique.columns.length !== parts.length || / WHERE /i.test(unique.definition)) return false
  const indexed = new Set(unique.columns.map(bare))
  return parts.every((part) => indexed.has(bare(printPart(part))))
}

/** `lower((email)::text)` and `lower(email)` say the same. */
function bare(expression: string): string {
  return expression.replace(/::(text|character varying)/g, '').replace(/\bbtrim\b/g, 'trim').replace(/[()"\s]+/g, ' ').trim()
}

function printPart({ column, normalise }: MergeKeyPart): string {
  return normalise === 'exact' ? column : normalise === 'lower' ? `lower(${column})` : `lower(btrim(${column}))`
}

function compileKeep(draft: Draft, place: Place, columns: Columns): MergeRule['keep'] {
  const keep = new Map<string, KeepSpec>()
  const byDefault = place.spec.keep ?? 'destination'
  const entities = [...draft.entities.values()].filter((e) => e.table === nameOf(place.table)).map((e) => e.column)
  for (const { target, source } of columns) {
    const own = place.spec.columns?.[source ?? target]?.keep
    const isKey = source !== null && (place.key.includes(source) || entities.includes(source))
    if (isKey && own !== undefined) {
      fail(draft, {
        code: 'KEEP', where: `${place.where}.columns.${source}.keep`,
        message: 'a merged row keeps its own key',
        fix: 'Remove it.',
      })
    }
    const wanted = isKey ? 'destination' : own ?? byDefault
    if (wanted !== 'destination') keep.set(target, wanted)
    if (typeof wanted === 'object' && !columns.some((c) => c.target === wanted.newest)) {
      fail(draft, {
        code: 'UNKNOWN_COLUMN', where: `${place.where}.keep`,
        message: `${wanted.newest} is not a column that is written`,
        fix: 'Correct the name.',
      })
    }
  }
  return keep
}

export function compileRename(draft: Draft, place: Place, columns: Columns): RenameRule[] {
  return Object.entries(place.spec.rename ?? {}).map(([column, spec]) => {
    const where = `${place.where}.rename.${column}`
    const unique = spec.unique ?? [column]
    const found = columnOf(place.target, column)
    if (!columns.some((c) => c.target === column) || (found && !isText(found))) {
      fail(draft, {
        code: 'RENAME', where,
        message: `${column} is not a text column that is written`,
        fix: 'Name a destination column of text.',
      })
    }
    const keys = place.target?.uniques.filter((u) => u.usable && u.columns.length === unique.length)
    const known = keys?.some((u) => u.columns.every((c) => unique.includes(c)))
    if (!unique.includes(column) || known === false) {
      fail(draft, {
        code: 'RENAME', where, message: `the destination has no unique key on (${unique.join(', ')}) with ${column} in it`,
        fix: 'Name the columns of the key under `unique`.',
      })
    }
    return { column, unique, separator: spec.separator ?? '-' }
  })
}

export function compileConditions(draft: Draft, place: Place): Condition[] {
  return Object.entries(place.spec.where ?? {}).map(([column, spec]) => {
    needColumn(draft, place, { spec: column, where: `${place.where}.where` })
    return conditionOf(column, spec)
  })
}

export function conditionOf(column: string, spec: ConditionSpec): Condition {
  if (spec === null) return { column, test: 'null', values: [] }
  if (Array.isArray(spec)) return { column, test: 'in', values: spec.map(columnText) }
  if (typeof spec !== 'object') return { column, test: 'equals', values: [columnText(spec as Scalar)] }
  const { not } = spec as { not: Scalar | null | readonly Scalar[] }
  if (not === null) return { column, test: 'notNull', values: [] }
  return { column, test: 'not', values: Array.isArray(not) ? not.map(columnText) : [columnText(not as Scalar)] }
}

export function compilePins(draft: Draft, place: Place, targetKey: readonly string[]): Map<string, string> {
  const pins = new Map<string, string>()
  for (const { source, destination } of pinList(place.spec)) {
    if (source.length !== place.key.length || destination.length !== targetKey.length) {
      fail(draft, {
        code: 'PINNED', where: `${place.where}.pinned`, message: `the key has ${place.key.length} columns (${place.key.join(', ')})`,
        fix: 'Give as many values on both sides: {source: [..], destination: [..]}.',
      })
    }
    pins.set(fields(source), fields(destination))
  }
  return pins
}

function pinList({ pinned }: TableSpec): readonly { source: readonly Scalar[]; destination: readonly Scalar[] }[] {
  if (pinned === undefined) return []
  if (Array.isArray(pinned)) return pinned
  return Object.entries(pinned as Record<string, Scalar>).map(([from, to]) => ({ source: [from], destination: [to] }))
}

function fields(values: readonly Scalar[]): string {
  return values.map((v) => escapeField(Buffer.from(columnText(v), 'utf8')).toString('utf8')).join('\t')
}

export function compileMergedParents(draft: Draft, place: Place, columns: Columns): TableRule['mergedParents'] {
  return Object.entries(place.spec.columns ?? {}).flatMap(([column, spec]) => {
    if (spec.whenMerged === undefined) return []
    const where = `${place.where}.columns.${column}.whenMerged`
    const map = columns.find((c) => c.source === column)?.map
    const [only, ...more] = map ? wholeIds(map).filter((w) => !w.element) : []
    const entity = only && more.length === 0 ? draft.entities.get(only.entity) : undefined
    if (entity === undefined || !entity.decided) {
      fail(draft, {
        code: 'WHEN_MERGED', where, message: entity ? `${entity.name} is never merged` : `${column} is not a reference to one entity`,
        fix: 'Remove it, or say it at a reference to a merged table.',
      })
      return []
    }
    return [{ column, entity: entity.name, action: spec.whenMerged }]
  })
}

