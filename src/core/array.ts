import { exactText, splice } from './splice.ts'
import type { Replacement } from './splice.ts'

/** Text that is not an array literal as Postgres writes it. */
function notArray(at: number): RangeError {
  return new RangeError(`not an array literal at byte ${at}`)
}

/** What array_out quotes (manual, "Array Input and Output Syntax"): empty text, NULL, and text with any of these characters. */
const QUOTED = /["\\{}, \t\n\v\f\r]/
const BOUNDS = /^(?:\[[+-]?[0-9]+:[+-]?[0-9]+\])+=/

/**
 * The array literal (`{1,NULL,"a b"}`, `[0:1]={1,2}`, `{{1},{2}}`) with its elements replaced; every other byte stays as it was.
 * `replace` gets an element's text and answers with another text, or null (or the same text) to leave it as it is. SQL NULL and empty
 * text are not asked about. A new element is quoted if it must be. The delimiter is the comma, as for every type but box.
 * Linear; throws RangeError on text that is not an array literal or not UTF-8.
 */
export function rewriteArray(value: Buffer, replace: (element: string) => string | null): Buffer {
  const replacements: Replacement[] = []
  scanArray(value, (element, start, end) => {
    if (element === null || element === '') return
    const next = replace(element)
    if (next !== null && next !== element) replacements.push({ start, end, text: quoteElement(next) })
  })
  return splice(value, replacements)
}

/** Reports each element's text (null for NULL) with the bytes it takes, in the order in which they are written. */
export function scanArray(value: Buffer, visit: (element: string | null, start: number, end: number) => void): void {
  const text = value.toString('latin1')
  let at = BOUNDS.exec(text)?.[0].length ?? 0
  let depth = 0
  let wanted = true
  do {
    const char = text[at]
    if (wanted && char === '{') {
      depth++
      at++
      if (text[at] === '}') wanted = false
    } else if (wanted && depth > 0) {
      at = readElement(text, at, visit)
      wanted = false
    } else if (!wanted && (char === ',' || char === '}')) {
      if (char === '}') depth--
      wanted = char === ','
      at++
    } else throw notArray(at)
  } while (depth > 0)
  if (at !== text.length) throw notArray(at)
}

/** `text` holds a byte per character, so that places are byte offsets; all characters with a meaning here are ASCII. */
function readElement(text: string, start: number, visit: Parameters<typeof scanArray>[1]): number {
  const quoted = text[start] === '"'
  let element = ''
  let at = quoted ? start + 1 : start
  for (let from = at; ; at++) {
    const char = text[at]
    if (char === undefined) throw notArray(at)
    if (quoted ? char === '"' : char === ',' || char === '}') {
      element += text.slice(from, at)
      break
    }
    if (char === '\\') {
      element += text.slice(from, at)
      from = ++at
    } else if (!quoted && QUOTED.test(char)) throw notArray(at)
  }
  const end = quoted ? at + 1 : at
  if (end === start) throw notArray(at)
  visit(!quoted && text.slice(start, end).toUpperCase() === 'NULL' ? null : utf8(element), start, end)
  return end
}

function utf8(bytes: string): string {
  return /^[\0-\x7f]*$/.test(bytes) ? bytes : exactText(Buffer.from(bytes, 'latin1'))
}

function quoteElement(text: string): string {
  if (text !== '' && !QUOTED.test(text) && text.toUpperCase() !== 'NULL') return text
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}
