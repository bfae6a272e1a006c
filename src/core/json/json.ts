import { decodeString, encodeString, NotJson, scanJson } from './scan.ts'
import type { JsonScalar, JsonVisitor } from './scan.ts'
import { compileEdits } from './places.ts'
import type { Place, Program } from './places.ts'
import type { JsonEdit } from '../mapping.ts'
import { exactText, splice } from '../splice.ts'
import type { Replacement } from '../splice.ts'
import { rewriteTemplates } from '../template.ts'
import type { IdOf } from '../template.ts'

/** Texts of the members that conditions ask for; of members of the same name the last counts, as for every reader of JSON. */
type Siblings = Map<string, string>

/** A token that edits lead to. Whether their conditions hold is known when its object has ended. */
interface Site {
  readonly kind: JsonScalar
  readonly start: number
  readonly end: number
  readonly edits: readonly JsonEdit[]
  readonly siblings: Siblings | null
}

/** An object or array that is open. */
interface Frame {
  readonly object: boolean
  readonly place: Place
  /** Members of this object, and of the innermost object around it. */
  readonly own: Siblings | null
  readonly around: Siblings | null
  /** The next item, and the member whose value is next. */
  index: number
  member: Place
  asked: string | null
}

const INTEGER = /^(?:0|-?[1-9][0-9]*)$/
const LONE_SURROGATE = /\p{Surrogate}/u

/**
 * The JSON text with the declared places rewritten and every other byte as it was: white space, order, duplicate members, spelling of
 * numbers and escapes. Returns the same buffer when nothing changes. Linear in the length; depth is bounded by memory only.
 *
 * - A place is rewritten if it is a string or (ref only) an integer literal; null, true, 1.0, 1e3, "" and containers are left alone.
 * - A ref's number becomes a string, unless the new id is an integer too. `idOf` returning null or the same text leaves the token alone.
 * - Text inside a string (map json) that is not JSON is left alone.
 * - Of several edits at one place the first that applies decides: its condition holds, a template matches, the inner text is JSON.
 * - Conditions look at the innermost object around the place. For keys the place is the object that has them; where no object is
 *   around it, its own members count. Paths and conditions see the source's names and values, never rewritten ones.
 *
 * Throws NotJson (a RangeError) on text that is not JSON, RangeError on a declared place that is not UTF-8, Unmatched for strict
 * templates.
 */
export function rewriteJson(value: Buffer, edits: readonly JsonEdit[], idOf: IdOf): Buffer {
  if (edits.length === 0) return value
  const replacements: Replacement[] = []
  for (const site of findSites(value, compileEdits(edits))) {
    const text = rewriteSite(value, site, idOf)
    if (text !== null) replacements.push({ start: site.start, end: site.end, text })
  }
  return splice(value, replacements)
}

function findSites(value: Buffer, program: Program): readonly Site[] {
  const sites: Site[] = []
  const frames: Frame[] = []
  let top: Frame | undefined
  const visitor: JsonVisitor = {
    open(object) {
      const place = enter(program, top)
      if (top?.asked != null) top.own?.delete(top.asked)
      top = openFrame(program, { object, place, parent: top })
      frames.push(top)
    },
    close() {
      frames.pop()
      top = frames[frames.length - 1]
    },
    key(start, end) {
      const frame = frames[frames.length - 1]
      const { place, own, around } = frame
      if (place.next.length === 0) return
      if (place.keys.length > 0) sites.push({ kind: 'string', start, end, edits: place.keys, siblings: around ?? own })
      const name = decodeString(value, start, end)
      frame.member = program.child(place, name)
      frame.asked = program.conditions.has(name) ? name : null
    },
    scalar(kind, start, end) {
      const place = enter(program, top)
      if (top?.asked != null) top.own?.set(top.asked, scalarText(kind, value, { start, end }))
      if (place.values.length === 0 || kind === 'word') return
      sites.push({ kind, start, end, edits: place.values, siblings: nearest(top) })
    },
  }
  scanJson(value, visitor)
  return sites
}

/** The place of the value that begins now. */
function enter(program: Program, parent: Frame | undefined): Place {
  if (parent === undefined) return program.start
  if (parent.place.next.length === 0) return parent.place
  return parent.object ? parent.member : program.child(parent.place, parent.index++)
}

/** Members of the innermost object around what is in this frame. */
function nearest(frame: Frame | undefined): Siblings | null {
  if (frame === undefined) return null
  return frame.object ? frame.own : frame.around
}

function openFrame(program: Program, at: { object: boolean; place: Place; parent: Frame | undefined }): Frame {
  const { object, place, parent } = at
  const own = object && place.next.length > 0 && program.conditions.size > 0 ? new Map() : null
  return { object, place, own, around: nearest(parent), index: 0, member: place, asked: null }
}

function scalarText(kind: JsonScalar, value: Buffer, at: { start: number; end: number }): string {
  return kind === 'string' ? decodeString(value, at.start, at.end) : value.toString('latin1', at.start, at.end)
}

function holds(when: NonNullable<JsonEdit['when']>, siblings: Siblings | null): boolean {
  const text = siblings?.get(when.member)
  return text !== undefined && when.equals.includes(text)
}

/** The token's new spelling, or null when it stays as it is. */
function rewriteSite(value: Buffer, site: Site, idOf: IdOf): string | null {
  const text = scalarText(site.kind, value, site)
  if (text.includes('\uFFFD')) exactText(value.subarray(site.start, site.end))
  for (const { map, when } of site.edits) {
    if (when !== null && !holds(when, site.siblings)) continue
    const next = rewriteText(map, { text, kind: site.kind }, idOf)
    if (next === null) continue
    if (next === text) return null
    return site.kind === 'number' && INTEGER.test(next) ? next : encodeString(next)
  }
  return null
}

/** The new text of a string or number, the same text when it stays, or null when the map does not apply to it. */
function rewriteText(map: JsonEdit['map'], token: { text: string; kind: JsonScalar }, idOf: IdOf): string | null {
  const { text, kind } = token
  if (map.kind === 'ref') {
    if (kind === 'number' ? !INTEGER.test(text) : text === '') return null
    return idOf(map.entity, text) ?? text
  }
  if (kind !== 'string') return null
  if (map.kind === 'template') return rewriteTemplates(map, text, idOf)
  if (LONE_SURROGATE.test(text)) return null
  try {
    return rewriteJson(Buffer.from(text, 'utf8'), map.edits, idOf).toString('utf8')
  } catch (error) {
    if (error instanceof NotJson) return null
    throw error
  }
}
