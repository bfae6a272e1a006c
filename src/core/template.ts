import type { Template, TemplatePart } from './mapping.ts'

/**
 * The destination id of an entity's source key, or null: no id is known for this text, leave it as it is. A pass that only collects
 * references records them and returns null: what is asked for depends on the source value alone, never on earlier answers.
 */
export type IdOf = (entity: string, key: string) => string | null

/** Text that matches none of the templates of a strict rule. Holds no value; the caller knows the row. */
export class Unmatched extends Error {
  constructor() {
    super('text matches none of the templates of a strict rule')
    this.name = 'Unmatched'
  }
}

/**
 * Reads `comp_{users}_{projects}_{rest}`: a name in braces is an entity; `{rest}` is free text, `{rest:version}` the same with a name,
 * and with a star (`{rest*}`, `{rest:path*}`) it takes as much as it can. `{{` is a brace. Throws RangeError: an open brace without
 * an end, no name, two places with no text between them (where one ends would be a guess), two stars, or no place at all.
 */
export function parseTemplate(text: string): Template {
  const parts = parseKeyTemplate(text)
  if (parts.every((p) => p.kind === 'literal')) throw new RangeError('template: no place like {users} in it')
  return parts
}

/** The same for keys of objects, which may be one text that stays as it is. */
export function parseKeyTemplate(text: string): Template {
  const parts: TemplatePart[] = []
  let literal = ''
  const flush = () => {
    if (literal !== '') parts.push({ kind: 'literal', text: literal })
    literal = ''
  }
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== '{' || text[at + 1] === '{') {
      literal += text[at]
      if (text[at] === '{') at++
      continue
    }
    const end = text.indexOf('}', at)
    if (end < 0) throw new RangeError(`template: no } for the { at ${at + 1}`)
    flush()
    const place = parsePlace(text.slice(at + 1, end))
    if (parts.length > 0 && parts[parts.length - 1].kind !== 'literal') {
      throw new RangeError(`template: text is needed between the places before and at ${at + 1}`)
    }
    parts.push(place)
    at = end
  }
  flush()
  if (parts.filter((p) => p.kind === 'rest' && p.greedy).length > 1) throw new RangeError('template: only one place may have a star')
  return parts
}

function parsePlace(text: string): TemplatePart {
  const rest = /^rest(?::([A-Za-z0-9_]+))?(\*?)$/.exec(text)
  if (rest !== null) return { kind: 'rest', name: rest[1] ?? 'rest', greedy: rest[2] === '*' }
  if (!/^[A-Za-z_][A-Za-z0-9_.$-]*$/.test(text)) throw new RangeError(`template: {${text}} is neither an entity nor {rest}`)
  return { kind: 'key', entity: text }
}

/** The template as parseTemplate reads it. */
export function printTemplate(template: Template): string {
  return template.map((part) => {
    if (part.kind === 'literal') return part.text.replaceAll('{', '{{')
    if (part.kind === 'key') return `{${part.entity}}`
    return `{rest${part.name === 'rest' ? '' : `:${part.name}`}${part.greedy ? '*' : ''}}`
  }).join('')
}

/**
 * The texts of the places, in order, or null. The whole text must match. Keys are at least one character long, free text may be empty.
 *
 * Literals are found one after the other, each at its first occurrence, so every place is as short as it can be; the last literal, if
 * the template ends with it, is the end of the text. Behind a starred place it is the other way round: from the end of the text, each
 * at its last occurrence, so the star gets all that is left. Since an earlier occurrence never leaves less room for what follows, the
 * first one is enough: there is no trying again, and if any division of the text fits, one is found. Linear per literal.
 */
export function matchTemplate(template: Template, text: string): string[] | null {
  const star = template.findIndex((p) => p.kind === 'rest' && p.greedy)
  const cut = star < 0 ? template.length - 1 : star
  const tail = matchTail(template.slice(cut + 1), text, minimum(template[cut]))
  if (tail === null) return null
  const head = matchHead(template.slice(0, cut + 1), text.slice(0, tail.start))
  return head === null ? null : [...head, ...tail.texts]
}

function minimum(part: TemplatePart): number {
  return part.kind === 'key' ? 1 : 0
}

/** From the left; the last part reaches to the end of the text. */
function matchHead(parts: Template, text: string): string[] | null {
  const texts: string[] = []
  let at = 0
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]
    if (part.kind === 'literal') {
      if (!text.startsWith(part.text, at)) return null
      at += part.text.length
      continue
    }
    const next = parts[i + 1]
    const least = at + minimum(part)
    let end = text.length
    if (next?.kind === 'literal') end = i + 2 === parts.length ? lastFit(text, next.text) : text.indexOf(next.text, least)
    if (end < least) return null
    texts.push(text.slice(at, end))
    at = end
  }
  return at === text.length ? texts : null
}

function lastFit(text: string, literal: string): number {
  return text.endsWith(literal) ? text.length - literal.length : -1
}

/** From the right, for parts that begin with a literal (or none); what is left of `start` is for the parts before. */
function matchTail(parts: Template, text: string, least: number): { start: number; texts: string[] } | null {
  const texts: string[] = []
  let end = text.length
  for (let i = parts.length - 1; i >= 0; i--) {
    const part = parts[i]
    if (part.kind === 'literal') {
      end -= part.text.length
      if (end < 0 || !text.startsWith(part.text, end)) return null
      continue
    }
    const before = parts[i - 1]
    const size = before.kind === 'literal' ? before.text.length : 0
    const room = end - minimum(part) - size
    const found = room < 0 || before.kind !== 'literal' ? -1 : text.lastIndexOf(before.text, room)
    if (found < 0) return null
    texts.unshift(text.slice(found + size, end))
    end = found + size
  }
  return end < least ? null : { start: end, texts }
}

/** The text whose places are these, with what literals become: the inverse of matchTemplate where they stay. */
export function formatTemplate(template: Template, texts: readonly string[]): string {
  let place = 0
  return template.map((part) => (part.kind === 'literal' ? part.becomes ?? part.text : texts[place++])).join('')
}

/**
 * The text with its keys replaced by ids, by the first template that matches; keys without an id stay. Null when none matches, or
 * Unmatched is thrown if the rule is strict.
 */
export function rewriteTemplates(
  rule: { readonly templates: readonly Template[]; readonly strict: boolean }, text: string, idOf: IdOf,
): string | null {
  for (const template of rule.templates) {
    const texts = matchTemplate(template, text)
    if (texts === null) continue
    const places = template.filter((part) => part.kind !== 'literal')
    const next = texts.map((key, i) => {
      const place = places[i]
      return place.kind === 'key' ? (idOf(place.entity, key) ?? key) : key
    })
    return formatTemplate(template, next)
  }
  if (rule.strict) throw new Unmatched()
  return null
}
