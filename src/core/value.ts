import { rewriteArray } from './array.ts'
import { evaluateExpression } from './expression.ts'
import { rewriteJson } from './json/json.ts'
import { NotJson } from './json/scan.ts'
import type { ValueMap } from './mapping.ts'
import { exactText } from './splice.ts'
import { rewriteTemplates } from './template.ts'
import type { IdOf } from './template.ts'

export interface ValueContext {
  /** Another column of the same source row as text, or null. Throws if the source did not send it. */
  column(name: string): string | null
  /**
   * Null leaves the text as it is, so a value is walked twice with one function: first with an idOf that records the reference and
   * returns null, then, when the ids are known, with one that answers. Both walks ask for the same keys in the same order.
   */
  readonly idOf: IdOf
}

/**
 * A column's value (raw bytes as Postgres prints them, null for SQL NULL) as the destination gets it; the same buffer when nothing
 * changes. Null passes through every map but constant and expression. Text under a json map that is not JSON is kept: json and jsonb
 * columns never hold such text, and in a text column it is free text. Values that the source did not send are the caller's matter.
 *
 * Throws Unmatched (no template of a strict rule matches) and RangeError (not an array literal; not UTF-8).
 */
export function rewriteValue(map: ValueMap, value: Buffer | null, context: ValueContext): Buffer | null {
  switch (map.kind) {
    case 'constant':
      return map.value === null ? null : Buffer.from(map.value, 'utf8')
    case 'expression':
      return Buffer.from(evaluateExpression(map.parts, (name) => context.column(name)), 'utf8')
    case 'case':
      return rewriteValue(chosen(map, context.column(map.column)), value, context)
    default:
      return value === null ? null : rewriteBytes(map, value, context.idOf)
  }
}

type CaseMap = Extract<ValueMap, { kind: 'case' }>
type BytesMap = Exclude<ValueMap, { kind: 'constant' | 'expression' | 'case' }>

function chosen(map: CaseMap, text: string | null): ValueMap {
  if (text === null) return map.otherwise
  return map.cases.find((c) => c.equals.includes(text))?.map ?? map.otherwise
}

function rewriteBytes(map: BytesMap, value: Buffer, idOf: IdOf): Buffer {
  switch (map.kind) {
    case 'copy':
      return value
    case 'ref':
      return changed(value, (text) => idOf(map.entity, text))
    case 'array':
      return rewriteArray(value, (element) => idOf(map.entity, element))
    case 'template':
      return changed(value, (text) => rewriteTemplates(map, text, idOf))
    case 'json':
      try {
        return rewriteJson(value, map.edits, idOf)
      } catch (error) {
        if (error instanceof NotJson) return value
        throw error
      }
  }
}

function changed(value: Buffer, rewrite: (text: string) => string | null): Buffer {
  const text = exactText(value)
  const next = rewrite(text)
  return next === null || next === text ? value : Buffer.from(next, 'utf8')
}

/** Entities whose keys a map may ask for, each once. */
export function referencesOf(map: ValueMap): string[] {
  return [...new Set(entitiesIn(map))]
}

function entitiesIn(map: ValueMap): string[] {
  switch (map.kind) {
    case 'ref':
    case 'array':
      return [map.entity]
    case 'template':
      return map.templates.flat().flatMap((part) => (part.kind === 'key' ? [part.entity] : []))
    case 'json':
      return map.edits.flatMap((edit) => entitiesIn(edit.map))
    case 'case':
      return [...map.cases.map((c) => c.map), map.otherwise].flatMap(entitiesIn)
    default:
      return []
  }
}

/** Source columns that a map reads besides its own, each once. */
export function columnsOf(map: ValueMap): string[] {
  return [...new Set(columnsIn(map))]
}

function columnsIn(map: ValueMap): string[] {
  if (map.kind === 'expression') return map.parts.flatMap((part) => (part.kind === 'column' ? [part.column] : []))
  if (map.kind !== 'case') return []
  return [map.column, ...[...map.cases.map((c) => c.map), map.otherwise].flatMap(columnsIn)]
}
