import { isUtf8 } from 'node:buffer'
import { BACKSLASH, ESCAPE } from '../../src/core/row.ts'
import { Unreadable } from './record.ts'

const QUOTE = 34
const SLASH = 47
const U = 117
const OPENING = new Set([0x7b, 0x5b])
const CLOSING = new Set([0x7d, 0x5d])

/** Where rows are written. A full block is left to the rows that point into it. */
export interface Block {
  buf: Buffer
  at: number
  ends: Int32Array
  endsAt: number
}

const BLOCK_BYTES = 1 << 20
const BLOCK_ENDS = 1 << 15

export function newBlock(): Block {
  return { buf: Buffer.allocUnsafeSlow(BLOCK_BYTES), at: 0, ends: new Int32Array(BLOCK_ENDS), endsAt: 0 }
}

/** Makes room for one row of at most so many bytes and fields. */
export function reserve(block: Block, bytes: number, fields: number): void {
  if (block.buf.length - block.at < bytes) {
    block.buf = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, bytes))
    block.at = 0
  }
  if (block.ends.length - block.endsAt < fields + 1) {
    block.ends = new Int32Array(Math.max(BLOCK_ENDS, fields + 1))
    block.endsAt = 0
  }
}

const SPECIAL = new Uint8Array(256)
for (let byte = 0; byte < 32; byte++) SPECIAL[byte] = 1
SPECIAL[QUOTE] = 1
SPECIAL[BACKSLASH] = 1

/**
 * Writes the JSON string whose text begins at `p` (behind its quote) into the block as a field of COPY text, which is never longer;
 * returns where it ends, behind its closing quote. Throws Unreadable.
 */
export function readString(src: Buffer, p: number, block: Block): number {
  const { buf } = block
  const begun = block.at
  let o = begun
  let high = 0
  for (;;) {
    const byte = src[p++]
    if (SPECIAL[byte] === 0) {
      buf[o++] = byte
      high |= byte
    } else if (byte === QUOTE) break
    else if (byte === BACKSLASH) {
      const escape = src[p++]
      if (escape === QUOTE || escape === SLASH) buf[o++] = escape
      else if (escape === U) {
        const text = codeUnits(src, p - 2)
        p += text.length * 6 - 2
        o = putText(buf, o, text)
        high |= 128
      } else if (escape === BACKSLASH || ESCAPE_LETTERS.has(escape)) {
        buf[o++] = BACKSLASH
        buf[o++] = escape
      } else throw new Unreadable('its value is not JSON')
    } else throw new Unreadable('its value is not JSON')
  }
  block.at = o
  if (high > 127 && !isUtf8(buf.subarray(begun, o))) throw new Unreadable('its value is not UTF-8')
  return p
}

/** b f n r t: the same in JSON and in COPY text. */
const ESCAPE_LETTERS = new Set([98, 102, 110, 114, 116])

/** One \uXXXX at `p`, or two that make a pair. */
function codeUnits(src: Buffer, p: number): string {
  const unit = (at: number): number => {
    const text = src.toString('latin1', at, at + 6)
    if (!/^\\u[0-9a-fA-F]{4}$/.test(text)) throw new Unreadable('its value is not JSON')
    return Number.parseInt(text.slice(2), 16)
  }
  const first = unit(p)
  if (first === 0) throw new Unreadable('its value holds a zero byte')
  if (first < 0xd800 || first > 0xdfff) return String.fromCharCode(first)
  const second = first < 0xdc00 ? unit(p + 6) : 0
  if (second < 0xdc00 || second > 0xdfff) throw new Unreadable('its value holds half a character')
  return String.fromCharCode(first, second)
}

function putText(buf: Buffer, o: number, text: string): number {
  const code = text.charCodeAt(0)
  if (code >= 128 || ESCAPE[code] === 0) return o + buf.write(text, o, 'utf8')
  buf[o] = BACKSLASH
  buf[o + 1] = ESCAPE[code]
  return o + 2
}

/** Where the JSON value that begins at `p` ends; only strings and brackets are looked at. Throws Unreadable. */
export function skipValue(src: Buffer, p: number): number {
  let depth = 0
  for (;;) {
    const byte = src[p]
    if (byte === undefined) throw new Unreadable('its value is cut off')
    if (byte === QUOTE) p = skipString(src, p + 1)
    else if (OPENING.has(byte)) { depth++; p++ } else if (CLOSING.has(byte)) {
      if (--depth < 0) return p
      p++
    } else if (depth === 0 && byte === 44) return p
    else p++
    if (depth === 0 && (byte === QUOTE || CLOSING.has(byte))) return p
  }
}

function skipString(src: Buffer, p: number): number {
  for (;;) {
    const byte = src[p++]
    if (byte === QUOTE) return p
    if (byte === BACKSLASH) p++
    if (byte === undefined) throw new Unreadable('its value is cut off')
  }
}
