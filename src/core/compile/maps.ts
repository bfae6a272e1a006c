import { changes, columnOf, entityNamed, fail, type Draft, type Place } from './draft.ts'
import { parseJsonPath } from '../json/path.ts'
import type { ExpressionPart, JsonEdit, StoreRule, Template, ValueMap } from '../mapping.ts'
import type { JsonEditSpec, MapSpec, NestedMap, Scalar } from './mapping-source.ts'
import { parseKeyTemplate, parseTemplate } from '../template.ts'

const COPY: ValueMap = { kind: 'copy' }

interface Said<S> {
  readonly spec: S
  readonly where: string
}

export function hasMap(spec: MapSpec): boolean {
  return spec.ref !== undefined || spec.array !== undefined || spec.template !== undefined || spec.object !== undefined || spec.json !== undefined ||
    spec.by !== undefined || spec.constant !== undefined || spec.expression !== undefined
}

/** Text of a value as Postgres prints it: booleans are t and f. */
export function columnText(value: Scalar): string {
  return typeof value === 'boolean' ? (value ? 't' : 'f') : String(value)
}

function list<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? value : [value as T]
}

/** Turns what is said of a column into a ValueMap; whatever cannot be understood is told and becomes a copy. */
export function compileMap(draft: Draft, place: Place, { spec, where }: Said<MapSpec>): ValueMap {
  const map = plainMap(draft, place, { spec, where })
  if (spec.when === undefined) return map
  const [[column, values]] = Object.entries(spec.when)
  needColumn(draft, place, { spec: column, where: `${where}.when` })
  return { kind: 'case', column, cases: [{ equals: list(values).map(columnText), map }], otherwise: COPY }
}

function plainMap(draft: Draft, place: Place, { spec, where }: Said<MapSpec>): ValueMap {
  if (spec.ref !== undefined) return refMap(draft, { spec: spec.ref, where: `${where}.ref` })
  if (spec.array !== undefined) {
    const entity = entityNamed(draft, spec.array, `${where}.array`)
    return entity === null ? COPY : { kind: 'array', entity }
  }
  if (spec.template !== undefined) return templateMap(draft, { spec, where })
  if (spec.object !== undefined) return objectMap(draft, { spec, where }) ?? COPY
  if (spec.json !== undefined) return { kind: 'json', edits: compileEdits(draft, { spec: spec.json, where }) }
  if (spec.by !== undefined) return caseMap(draft, place, { spec, where })
  if (spec.constant !== undefined) return { kind: 'constant', value: spec.constant }
  if (spec.expression !== undefined) return expressionMap(draft, place, { spec: spec.expression, where: `${where}.expression` })
  return COPY
}

function refMap(draft: Draft, { spec, where }: Said<string>): ValueMap {
  const entity = entityNamed(draft, spec, where)
  return entity === null || !changes(draft.entities.get(entity)!) ? COPY : { kind: 'ref', entity }
}

function templateMap(draft: Draft, { spec, where }: Said<Pick<MapSpec, 'template' | 'strict'>>): Extract<ValueMap, { kind: 'template' }> {
  const templates = list(spec.template!).flatMap((text) => {
    const template = reading(draft, 'TEMPLATE', `${where}.template`, () => parseTemplate(text))
    return template === null ? [] : [named(draft, template, `${where}.template`)]
  })
  return { kind: 'template', templates, strict: spec.strict ?? false }
}

/** The templates of a store, behind the address of the store where the value is a URL. */
function objectMap(draft: Draft, { spec, where }: Said<Pick<MapSpec, 'object' | 'url' | 'strict'>>): Extract<ValueMap, { kind: 'template' }> | null {
  const store = storeNamed(draft, spec.object!, `${where}.object`)
  if (store === null) return null
  const { url } = spec
  const head: Template = url ? [{ kind: 'literal', text: url.from, becomes: url.to }] : []
  return { kind: 'template', templates: store.keys.map((keys) => [...head, ...keys]), strict: spec.strict ?? false }
}

/** Says UNKNOWN_STORE and gives null if there is none. */
export function storeNamed(draft: Draft, written: string, where: string): StoreRule | null {
  const found = draft.stores.get(written)
  if (found) return found
  fail(draft, { code: 'UNKNOWN_STORE', where, message: `there is no store ${written}`, fix: 'Declare it under `objects` of the mapping.' })
  return null
}

/** Stores with their templates; to be called when the entities are known. */
export function compileStores(draft: Draft): void {
  for (const [name, { to, keys, sweep }] of Object.entries(draft.spec.objects ?? {})) {
    const where = `objects.${name}.keys`
    const templates = list(keys).flatMap((text) => {
      const template = reading(draft, 'TEMPLATE', where, () => parseKeyTemplate(text))
      return template === null ? [] : [named(draft, template, where)]
    })
    draft.stores.set(name, { name, to: to ?? name, keys: templates, sweep: sweep ?? [] })
  }
}

function named(draft: Draft, template: Template, where: string): Template {
  return template.map((part) => (part.kind === 'key' ? { ...part, entity: entityNamed(draft, part.entity, where) ?? part.entity } : part))
}

function caseMap(draft: Draft, place: Place, { spec, where }: Said<MapSpec>): ValueMap {
  needColumn(draft, place, { spec: spec.by!, where: `${where}.by` })
  const nested = (map: NestedMap, key: string): ValueMap =>
    map === 'copy' ? COPY : compileMap(draft, place, { spec: map, where: `${where}.${key}` })
  return {
    kind: 'case',
    column: spec.by!,
    cases: Object.entries(spec.cases ?? {}).map(([value, map]) => ({ equals: [value], map: nested(map, `cases.${value}`) })),
    otherwise: nested(spec.otherwise ?? 'copy', 'otherwise'),
  }
}

function compileEdits(draft: Draft, { spec, where }: Said<readonly JsonEditSpec[]>): JsonEdit[] {
  return spec.flatMap((edit, i) => {
    const at = `${where}.json.${i}`
    const given = edit.path === undefined ? 'keys' : 'path'
    const path = reading(draft, 'JSON_PATH', `${at}.${given}`, () => parseJsonPath(edit[given]!))
    const map = editMap(draft, { spec: edit, where: at })
    if (path === null || map === null) return []
    const [when] = Object.entries(edit.when ?? {}).map(([member, values]) => ({ member, equals: list(values).map(String) }))
    return [{ path, at: edit.keys === undefined ? 'value' : 'keys', map, when: when ?? null } satisfies JsonEdit]
  })
}

function editMap(draft: Draft, { spec, where }: Said<JsonEditSpec>): JsonEdit['map'] | null {
  if (spec.template !== undefined) return templateMap(draft, { spec, where })
  if (spec.object !== undefined) return objectMap(draft, { spec, where })
  if (spec.json !== undefined) return { kind: 'json', edits: compileEdits(draft, { spec: spec.json, where }) }
  const entity = entityNamed(draft, spec.ref!, `${where}.ref`)
  return entity === null ? null : { kind: 'ref', entity }
}

const FUNCTIONS = ['lower', 'upper', 'trim'] as const

function expressionMap(draft: Draft, place: Place, said: Said<string>): ValueMap {
  return { kind: 'expression', parts: compileExpression(draft, place, said) }
}

/** `"{first} {last|upper}"`: columns in braces with functions; `{{` and `}}` are braces. */
export function compileExpression(draft: Draft, place: Place, { spec, where }: Said<string>): ExpressionPart[] {
  const parts: ExpressionPart[] = []
  const pieces = spec.match(/\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+/g) ?? []
  let literal = ''
  for (const piece of pieces) {
    if (piece === '{' || piece === '}') {
      fail(draft, { code: 'EXPRESSION', where, message: 'a brace without its partner', fix: 'Write {{ and }} for braces.' })
    }
    if (piece.length < 2 || piece[0] !== '{' || piece === '{{') {
      literal += piece === '{{' || piece === '}}' ? piece[0] : piece
      continue
    }
    if (literal !== '') parts.push({ kind: 'literal', text: literal })
    literal = ''
    const [column, ...functions] = piece.slice(1, -1).split('|').map((word) => word.trim())
    needColumn(draft, place, { spec: column, where })
    const unknown = functions.find((f) => !(FUNCTIONS as readonly string[]).includes(f))
    if (unknown !== undefined) {
      fail(draft, { code: 'EXPRESSION', where, message: `there is no function ${unknown}`, fix: `Use one of ${FUNCTIONS.join(', ')}.` })
    }
    parts.push({ kind: 'column', column, functions: functions as (typeof FUNCTIONS)[number][] })
  }
  if (literal !== '') parts.push({ kind: 'literal', text: literal })
  return parts
}

export function needColumn(draft: Draft, place: Place, { spec, where }: Said<string>): void {
  if (columnOf(place.table, spec) !== undefined) return
  fail(draft, { code: 'UNKNOWN_COLUMN', where, message: `${place.label} has no column ${spec} at the source`, fix: 'Correct the name.' })
}

function reading<T>(draft: Draft, code: string, where: string, read: () => T): T | null {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    fail(draft, { code, where, message: error.message, fix: 'Correct the text.' })
    return null
  }
}
