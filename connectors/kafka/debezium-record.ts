import { skipValue } from './json-in.ts'
import { Unreadable } from './record.ts'

/** A JSON value as it stands in a record: null, a string's text, or the text of a number, an object or an array. */
export type Raw = string | null

/** The members of the JSON object at `p`. Numbers keep their digits: they may be larger than a double holds. Throws Unreadable. */
export function membersAt(src: Buffer, p: number): Map<string, { readonly start: number; readonly end: number }> {
  const members = new Map<string, { start: number; end: number }>()
  if (src[p++] !== 0x7b) throw new Unreadable('its value is no object')
  while (src[p] !== 0x7d) {
    if (members.size > 0 && src[p++] !== 0x2c) throw new Unreadable('its value is not JSON')
    const nameEnd = skipValue(src, p)
    const name = textAt(src, p, nameEnd)
    if (src[nameEnd] !== 0x3a) throw new Unreadable('its value is not JSON')
    const end = skipValue(src, nameEnd + 1)
    members.set(name, { start: nameEnd + 1, end })
    p = end
  }
  return members
}

export function rawAt(src: Buffer, { start, end }: { readonly start: number; readonly end: number }): Raw {
  if (src[start] === 0x22) return textAt(src, start, end)
  const text = src.toString('latin1', start, end)
  return text === 'null' ? null : text
}

function textAt(src: Buffer, start: number, end: number): string {
  const text: unknown = jsonAt(src, start, end)
  if (typeof text !== 'string') throw new Unreadable('its value is not JSON')
  return text
}

export function jsonAt(src: Buffer, start: number, end: number): unknown {
  try {
    return JSON.parse(src.toString('utf8', start, end))
  } catch {
    throw new Unreadable('its value is not JSON')
  }
}
