import { isUtf8 } from 'node:buffer'
import { BACKSLASH } from '../../src/core/row.ts'

const BLOCK_BYTES = 1 << 20
/** Fields are written in slices, so that a large one is not given room for the worst case. */
const SLICE = 4_096
/** The most that one byte becomes: \u001f. */
const WORST = 6
const QUOTE = 34
const V = 118

/** JSON text under construction. What was taken stays as it is: a full block is left to its takers and never written again. */
export interface JsonOut {
  buf: Buffer
  at: number
  /** Where the text that was not taken yet begins. */
  start: number
}

export function newJsonOut(): JsonOut {
  return { buf: Buffer.allocUnsafeSlow(BLOCK_BYTES), at: 0, start: 0 }
}

/** Makes room for so many bytes; what was begun moves along. */
function reserve(out: JsonOut, bytes: number): void {
  if (out.buf.length - out.at >= bytes) return
  const begun = out.at - out.start
  const next = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, 2 * begun + bytes))
  out.buf.copy(next, 0, out.start, out.at)
  out.buf = next
  out.start = 0
  out.at = begun
}

export function put(out: JsonOut, bytes: Buffer): void {
  reserve(out, bytes.length)
  // A native copy is the slower one for a handful of bytes.
  if (bytes.length > 32) out.buf.set(bytes, out.at)
  else for (let i = 0; i < bytes.length; i++) out.buf[out.at + i] = bytes[i]
  out.at += bytes.length
}

export function take(out: JsonOut): Buffer {
  const taken = out.buf.subarray(out.start, out.at)
  out.start = out.at
  return taken
}

/** 0: as it is; 1: its escape in COPY text is none in JSON, or it needs one. */
const SPECIAL = new Uint8Array(256)
for (let byte = 0; byte < 32; byte++) SPECIAL[byte] = 1
SPECIAL[QUOTE] = 1
SPECIAL[BACKSLASH] = 1

/**
 * Writes a field of COPY text, which is neither null nor missing, as a JSON string. Their escapes are the same, apart from \v, the quote
 * and the control characters that COPY text leaves as they are. False when it is not valid UTF-8 or holds a zero byte: it is then no text.
 */
export function putString(out: JsonOut, src: Buffer, from: number, to: number): boolean {
  reserve(out, 2)
  out.buf[out.at++] = QUOTE
  const begun = out.at - out.start
  let high = 0
  for (let p = from; p < to;) {
    const end = Math.min(to, p + SLICE)
    reserve(out, (end - p + 1) * WORST + 1)
    const { buf } = out
    let o = out.at
    while (p < end) {
      const byte = src[p++]
      high |= byte
      if (SPECIAL[byte] === 0) buf[o++] = byte
      else if (byte === BACKSLASH && src[p] !== V) {
        buf[o++] = BACKSLASH
        buf[o++] = src[p++]
      } else if (byte === QUOTE) {
        buf[o++] = BACKSLASH
        buf[o++] = QUOTE
      } else if (byte === 0) return false
      else {
        const code = byte === BACKSLASH ? 11 : byte
        if (byte === BACKSLASH) p++
        o += buf.write(`\\u00${code < 16 ? '0' : ''}${code.toString(16)}`, o, 'latin1')
      }
    }
    out.at = o
  }
  out.buf[out.at++] = QUOTE
  return high < 128 || isUtf8(out.buf.subarray(out.start + begun, out.at))
}
