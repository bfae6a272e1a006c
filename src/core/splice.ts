/** A stretch of a value, by byte offsets, and the text that takes its place. */
export interface Replacement {
  readonly start: number
  readonly end: number
  readonly text: string
}

/** The value with the stretches replaced, every other byte as it was; the same buffer if there are none. They are in order and apart. */
export function splice(value: Buffer, replacements: readonly Replacement[]): Buffer {
  if (replacements.length === 0) return value
  let size = value.length
  for (const { start, end, text } of replacements) size += Buffer.byteLength(text) - (end - start)
  const out = Buffer.allocUnsafe(size)
  let from = 0
  let to = 0
  for (const { start, end, text } of replacements) {
    to += value.copy(out, to, from, start)
    to += out.write(text, to)
    from = end
  }
  value.copy(out, to, from)
  return out
}

/** The bytes as text. Throws RangeError when they are not UTF-8: written back, such text would not be the same bytes. */
export function exactText(value: Buffer): string {
  const text = value.toString('utf8')
  if (text.includes('\uFFFD') && !Buffer.from(text, 'utf8').equals(value)) throw new RangeError('a value to rewrite is not UTF-8')
  return text
}
