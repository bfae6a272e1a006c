import { keyOf } from '../coalesce.ts'
import { evaluateExpression } from '../expression.ts'
import type { Condition, Mapping, ObjectRule, StoreRule } from '../mapping.ts'
import type { Program } from '../program.ts'
import { decidingColumns } from './columns.ts'
import { isObjectKey } from './object.ts'
import { isUnchanged, textField, type Row } from '../row.ts'
import { formatTemplate, matchTemplate, type IdOf } from '../template.ts'

/**
 * Why an object has no key at the destination: its key matches no template · a place of the template holds no key of its entity, or one
 * that no row has · the new key is longer than 1,024 bytes · it is no key at all (empty, too long, not percent-encoded text).
 */
export type KeyFault = 'UNMATCHED' | 'UNRESOLVED' | 'KEY_TOO_LONG' | 'NOT_A_KEY'

export type NewKey = { readonly key: string; readonly fault: null } | { readonly key: null; readonly fault: KeyFault }

/** An object (or all objects below a prefix) that a row names. */
export interface NamedObject {
  readonly kind: 'object' | 'directory'
  readonly store: string
  readonly key: string
  readonly to: string
  readonly newKey: string | null
  readonly fault: KeyFault | null
  /** The row's values that change when the object does, as they stand in COPY text; null when they were not sent. */
  readonly stamp: string | null
  readonly size: number | null
  readonly when: ObjectRule['when']
}

/** What a row names from here on, instead of whatever it named before. */
export interface RowObjects {
  /** Source table. */
  readonly table: string
  /** Raw source key; null: all rows of the table, which then name nothing. */
  readonly key: string | null
  readonly names: readonly NamedObject[]
}

/**
 * The key at the destination. The first template that matches decides, as it does for keys inside values: if one of its places has no
 * id, no other template is tried, and nothing is guessed. `idOf` gives null for what is not, or not known as, a key of the entity.
 */
export function rewriteKey({ keys }: Pick<StoreRule, 'keys'>, key: string, idOf: IdOf): NewKey {
  if (!isObjectKey(key)) return { key: null, fault: 'NOT_A_KEY' }
  for (const template of keys) {
    const texts = matchTemplate(template, key)
    if (texts === null) continue
    const places = template.filter((part) => part.kind !== 'literal')
    const next = texts.map((text, i) => {
      const place = places[i]
      return place.kind === 'key' ? idOf(place.entity, text) : text
    })
    if (next.includes(null)) return { key: null, fault: 'UNRESOLVED' }
    const made = formatTemplate(template, next as string[])
    return isObjectKey(made) ? { key: made, fault: null } : { key: null, fault: 'KEY_TOO_LONG' }
  }
  return { key: null, fault: 'UNMATCHED' }
}

/** The objects that a row names, each once; null when a value that decides it was not sent: it names what it named before. */
export function objectsOf(program: Program, row: Row, stores: Mapping['stores'], idOf: IdOf): NamedObject[] | null {
  const named = new Map<string, NamedObject>()
  const rules = keysOf(program, row)
  if (rules === null) return null
  for (const { rule, text } of rules) {
    const store = stores.get(rule.store)!
    const { key, fault } = sourceKey(rule, text)
    const next: NewKey = fault === null ? rewriteKey(store, key, idOf) : { key: null, fault }
    const at = (column: string): number => program.position.get(column)!
    const kind = rule.directory?.every((condition) => holds(condition, row, program)) ? 'directory' : 'object'
    named.set(`${store.name}\n${key}`, {
      kind, store: store.name, key, to: store.to, newKey: next.key, fault: next.fault, when: rule.when,
      stamp: rule.version.some((column) => isUnchanged(row, at(column))) ? null : rule.version.length === 0 ? '' : keyOf(row,
        rule.version.map(at)),
      size: rule.size === null || isUnchanged(row, at(rule.size)) ? null : wholeNumber(textField(row, at(rule.size))),
    })
  }
  return [...named.values()]
}

/** Reports every (entity, key) that the keys of a row's objects hold. */
export function objectRefs(program: Program, row: Row, stores: Mapping['stores'], want: (entity: string, key: string) => void): void {
  for (const { rule, text } of keysOf(program, row) ?? []) {
    const { key, fault } = sourceKey(rule, text)
    if (fault !== null) continue
    rewriteKey(stores.get(rule.store)!, key, (entity, of) => {
      want(entity, of)
      return null
    })
  }
}

/** Rules that hold for a row, with the text that their key is in. */
function keysOf(program: Program, row: Row): { readonly rule: ObjectRule; readonly text: string }[] | null {
  const found: { rule: ObjectRule; text: string }[] = []
  for (const rule of program.rule.objects) {
    if (decidingColumns(rule).some((column) => isUnchanged(row, program.position.get(column)!))) return null
    if (!rule.where.every((condition) => holds(condition, row, program))) continue
    const value = (column: string): string | null => textField(row, program.position.get(column)!)
    if (rule.key.some((part) => part.kind === 'column' && value(part.column) === null)) continue
    const text = evaluateExpression(rule.key, value)
    if (rule.url === null || text.startsWith(rule.url)) found.push({ rule, text })
  }
  return found
}

/** What follows the address in a URL is percent-encoded (RFC 3986, 2.1); text that is not is no key of ours to guess at. */
function sourceKey({ url }: ObjectRule, text: string): { readonly key: string; readonly fault: KeyFault | null } {
  if (url === null) return { key: text, fault: null }
  const rest = text.slice(url.length)
  try {
    return { key: decodeURIComponent(rest), fault: null }
  } catch {
    return { key: rest, fault: 'NOT_A_KEY' }
  }
}

function holds({ column, test, values }: Condition, row: Row, program: Program): boolean {
  const value = textField(row, program.position.get(column)!)
  if (test === 'null' || test === 'notNull') return (value === null) === (test === 'null')
  return value !== null && values.includes(value) === (test !== 'not')
}

function wholeNumber(text: string | null): number | null {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null
}
