/** Text that is not JSON. */
export class NotJson extends RangeError {
  constructor(at: number) {
    super(`not JSON at byte ${at}`)
    this.name = 'NotJson'
  }
}

/** What scanJson reports, in document order. Offsets are bytes, end exclusive; strings and keys include their quotes. */
export interface JsonVisitor {
  open(object: boolean): void
  close(): void
  key(start: number, end: number): void
  scalar(kind: JsonScalar, start: number, end: number): void
}
/** word: true, false, null. */
export type JsonScalar = 'string' | 'number' | 'word'

const QUOTE = 34
const COMMA = 44
const MINUS = 45
const COLON = 58
const OPEN_ARRAY = 91
const BACKSLASH = 92
const CLOSE_ARRAY = 93
const OPEN_OBJECT = 123
const CLOSE_OBJECT = 125
const WORDS = [Buffer.from('true'), Buffer.from('false'), Buffer.from('null')]
const ESCAPED: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }

/** Letters that may follow a backslash; `u` is apart. */
const ESCAPE_LETTER = new Uint8Array(256)
for (const letter of Buffer.from('"\\/bfnrt')) ESCAPE_LETTER[letter] = 1

/**
 * Walks one JSON text (RFC 8259) from begin to end in linear time, with a stack of its own, so depth costs memory only and no call
 * frames. Nothing is decoded. Throws NotJson at the first byte that does not fit.
 */
export function scanJson(text: Buffer, visit: JsonVisitor): void {
  const objects: boolean[] = []
  let at = afterSpace(text, 0)
  for (;;) {
    const byte = text[at]
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      const object = byte === OPEN_OBJECT
      visit.open(object)
      objects.push(object)
      at = afterSpace(text, at + 1)
      if (text[at] !== (object ? CLOSE_OBJECT : CLOSE_ARRAY)) {
        if (object) at = readKey(text, at, visit)
        continue
      }
    } else at = readScalar(text, at, visit)
    at = readEnds(text, at, objects, visit)
    if (at < 0) return
  }
}

/** Behind a value: closes what ends here. Returns where the next value begins, or -1 at the end of the text. */
function readEnds(text: Buffer, from: number, objects: boolean[], visit: JsonVisitor): number {
  let at = from
  for (;;) {
    at = afterSpace(text, at)
    if (objects.length === 0) {
      if (at !== text.length) throw new NotJson(at)
      return -1
    }
    const object = objects[objects.length - 1]
    if (text[at] === COMMA) {
      at = afterSpace(text, at + 1)
      return object ? readKey(text, at, visit) : at
    }
    if (text[at] !== (object ? CLOSE_OBJECT : CLOSE_ARRAY)) throw new NotJson(at)
    objects.pop()
    visit.close()
    at++
  }
}

function readKey(text: Buffer, at: number, visit: JsonVisitor): number {
  if (text[at] !== QUOTE) throw new NotJson(at)
  const end = stringEnd(text, at)
  visit.key(at, end)
  const colon = afterSpace(text, end)
  if (text[colon] !== COLON) throw new NotJson(colon)
  return afterSpace(text, colon + 1)
}

function readScalar(text: Buffer, at: number, visit: JsonVisitor): number {
  const byte = text[at]
  if (byte === QUOTE) {
    const end = stringEnd(text, at)
    visit.scalar('string', at, end)
    return end
  }
  if (byte === MINUS || isDigit(byte)) {
    const end = numberEnd(text, at)
    visit.scalar('number', at, end)
    return end
  }
  for (const word of WORDS) {
    const end = at + word.length
    if (end > text.length || word.compare(text, at, end) !== 0) continue
    visit.scalar('word', at, end)
    return end
  }
  throw new NotJson(at)
}

function afterSpace(text: Buffer, from: number): number {
  let at = from
  while (text[at] === 32 || text[at] === 10 || text[at] === 13 || text[at] === 9) at++
  return at
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 48 && byte <= 57
}

function isHex(byte: number | undefined): boolean {
  return isDigit(byte) || (byte !== undefined && (byte | 32) >= 97 && (byte | 32) <= 102)
}

function stringEnd(text: Buffer, start: number): number {
  let at = start + 1
  for (; at < text.length; at++) {
    const byte = text[at]
    if (byte === QUOTE) return at + 1
    if (byte < 32) break
    if (byte !== BACKSLASH) continue
    at++
    if (ESCAPE_LETTER[text[at]]) continue
    if (text[at] !== 117) break
    for (let i = 1; i <= 4; i++) if (!isHex(text[at + i])) throw new NotJson(at + i)
    at += 4
  }
  throw new NotJson(at)
}

function digitsEnd(text: Buffer, from: number): number {
  if (!isDigit(text[from])) throw new NotJson(from)
  let at = from + 1
  while (isDigit(text[at])) at++
  return at
}

function numberEnd(text: Buffer, start: number): number {
  let at = text[start] === MINUS ? start + 1 : start
  at = text[at] === 48 ? at + 1 : digitsEnd(text, at)
  if (text[at] === 46) at = digitsEnd(text, at + 1)
  if (text[at] === 69 || text[at] === 101) {
    const sign = text[at + 1] === 43 || text[at + 1] === MINUS
    at = digitsEnd(text, at + (sign ? 2 : 1))
  }
  return at
}

/**
 * The text that a string token (with its quotes) stands for. Lone surrogates, which json allows as escapes, stay what they are; bytes
 * that are not UTF-8 become U+FFFD, so whoever writes the text back asks exactText first.
 */
export function decodeString(text: Buffer, start: number, end: number): string {
  const inner = text.toString('utf8', start + 1, end - 1)
  let at = inner.indexOf('\\')
  if (at < 0) return inner
  let decoded = ''
  let from = 0
  for (; at >= 0; at = inner.indexOf('\\', from)) {
    const letter = inner[at + 1]
    decoded += inner.slice(from, at)
    decoded += letter === 'u' ? String.fromCharCode(Number.parseInt(inner.slice(at + 2, at + 6), 16)) : (ESCAPED[letter] ?? letter)
    from = at + (letter === 'u' ? 6 : 2)
  }
  return decoded + inner.slice(from)
}

/** A string token for the text: only quotes, backslashes, control characters and lone surrogates are escaped. */
export function encodeString(text: string): string {
  return JSON.stringify(text)
}
