/**
 * A row is one line of COPY text (PostgreSQL manual, COPY, "Text Format"): fields separated by a tab, null as `\N`, the
 * characters \b \t \n \v \f \r and backslash escaped. Both databases speak it, so a value is never parsed on its way.
 * A value that the source did not send (unchanged TOAST) is the field `\U`, which COPY text never contains.
 *
 * The bytes live in a shared buffer; `ends` holds, from `at` on, the row's start and then the end of each field (exclusive).
 * Field i starts one byte (the tab) after the end of field i - 1; field 0 starts at the row's start.
 */
export interface Row {
  readonly buf: Buffer
  readonly ends: Int32Array
  readonly at: number
  readonly width: number
}

export const TAB = 9
export const NEWLINE = 10
export const BACKSLASH = 92
const N = 78
const U = 85

export function fieldStart(row: Row, i: number): number {
  return i === 0 ? row.ends[row.at] : row.ends[row.at + i] + 1
}

export function fieldEnd(row: Row, i: number): number {
  return row.ends[row.at + i + 1]
}

function isMark(row: Row, i: number, letter: number): boolean {
  const start = fieldStart(row, i)
  return fieldEnd(row, i) - start === 2 && row.buf[start] === BACKSLASH && row.buf[start + 1] === letter
}

export function isNull(row: Row, i: number): boolean {
  return isMark(row, i, N)
}

/** True for a value the source did not send: neither null nor known. */
export function isUnchanged(row: Row, i: number): boolean {
  return isMark(row, i, U)
}

/** The field's escaped bytes as a latin1 string: equal values have equal strings, so it serves as a map key. */
export function rawField(row: Row, i: number): string {
  return row.buf.toString('latin1', fieldStart(row, i), fieldEnd(row, i))
}

/** The value as text, or null. Throws on an unchanged value: whoever reads it has not asked first. */
export function textField(row: Row, i: number): string | null {
  if (isNull(row, i)) return null
  if (isUnchanged(row, i)) throw new Error('read of a value that the source did not send')
  return unescapeField(row.buf.subarray(fieldStart(row, i), fieldEnd(row, i))).toString('utf8')
}

/** Escape letter by byte for the bytes that COPY text escapes; 0 for all others. */
export const ESCAPE = new Uint8Array(256)
const UNESCAPE = new Uint8Array(256)
for (const [byte, letter] of [[8, 98], [9, 116], [10, 110], [11, 118], [12, 102], [13, 114], [92, 92]]) {
  ESCAPE[byte] = letter
  UNESCAPE[letter] = byte
}

/** Raw value bytes to COPY text. */
export function escapeField(raw: Buffer): Buffer {
  let extra = 0
  for (const byte of raw) if (ESCAPE[byte]) extra++
  if (extra === 0) return raw
  const out = Buffer.allocUnsafe(raw.length + extra)
  let at = 0
  for (const byte of raw) {
    const letter = ESCAPE[byte]
    if (letter) {
      out[at++] = BACKSLASH
      out[at++] = letter
    } else out[at++] = byte
  }
  return out
}

/** COPY text to raw value bytes. Only the escapes that this system and COPY TO write are known; others throw. */
export function unescapeField(escaped: Buffer): Buffer {
  if (!escaped.includes(BACKSLASH)) return escaped
  const out = Buffer.allocUnsafe(escaped.length)
  let at = 0
  for (let i = 0; i < escaped.length; i++) {
    if (escaped[i] !== BACKSLASH) {
      out[at++] = escaped[i]
      continue
    }
    const byte = UNESCAPE[escaped[++i]]
    if (!byte) throw new RangeError('not a COPY text escape')
    out[at++] = byte
  }
  return out.subarray(0, at)
}

/** Builds a row from values: text, null, or undefined for a value that was not sent. For tests and single rows, not for bulk. */
export function rowOf(values: readonly (string | null | undefined)[]): Row {
  const fields = values.map((v) =>
    v === null ? Buffer.from('\\N') : v === undefined ? Buffer.from('\\U') : escapeField(Buffer.from(v, 'utf8')))
  const ends = new Int32Array(values.length + 1)
  const parts: Buffer[] = []
  let at = 0
  fields.forEach((field, i) => {
    if (i > 0) {
      parts.push(Buffer.from('\t'))
      at += 1
    }
    parts.push(field)
    at += field.length
    ends[i + 1] = at
  })
  return { buf: Buffer.concat(parts), ends, at: 0, width: values.length }
}

/** All values of a row as text, null, or undefined where not sent. The inverse of rowOf. */
export function valuesOf(row: Row): (string | null | undefined)[] {
  return Array.from({ length: row.width }, (_, i) => (isUnchanged(row, i) ? undefined : textField(row, i)))
}
