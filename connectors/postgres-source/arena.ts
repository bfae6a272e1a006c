import { BACKSLASH, ESCAPE, TAB } from '../../src/core/row.ts'

const BLOCK_BYTES = 1 << 20
const BLOCK_ENDS = 1 << 15
/** From this length on, a native copy and a scan by words are cheaper than a loop over bytes (three times at 300 bytes). */
const COPY_FROM = 48

/**
 * Where rows are written: a block of bytes (also seen as words) and a block of field ends (the two halves of a Row). A full block is
 * left to the rows that point into it and never written again, so a row stays valid for as long as anyone holds it; unless the arena has a
 * pool, whose owner says when the rows of a block are no longer held.
 */
export interface Arena {
  buf: Buffer
  words: Int32Array
  at: number
  ends: Int32Array
  endsAt: number
  readonly pool?: Pool
}

interface Bytes {
  readonly buf: Buffer
  readonly words: Int32Array
}

/** Blocks that may be written anew, and blocks that became full since the owner looked last. New memory has to be paged in, which costs. */
export interface Pool {
  readonly freeBytes: Bytes[]
  readonly freeEnds: Int32Array[]
  fullBytes: Bytes[]
  fullEnds: Int32Array[]
}

export function newPool(): Pool {
  return { freeBytes: [], freeEnds: [], fullBytes: [], fullEnds: [] }
}

export function newArena(pool?: Pool): Arena {
  return { ...block(BLOCK_BYTES), at: 0, ends: new Int32Array(BLOCK_ENDS), endsAt: 0, ...(pool ? { pool } : {}) }
}

function block(bytes: number): Bytes {
  const buf = Buffer.allocUnsafeSlow((bytes + 3) & ~3)
  return { buf, words: new Int32Array(buf.buffer, 0, buf.length >> 2) }
}

/** Makes room for one more row of at most this many bytes and fields. A row larger than a block gets a block of its size. */
export function reserve(arena: Arena, bytes: number, fields: number): void {
  const { pool } = arena
  if (arena.buf.length - arena.at < bytes) {
    // Blocks of an unusual size are not kept.
    if (pool && arena.buf.length === BLOCK_BYTES) pool.fullBytes.push({ buf: arena.buf, words: arena.words })
    const { buf, words } = (bytes <= BLOCK_BYTES ? pool?.freeBytes.pop() : undefined) ?? block(Math.max(BLOCK_BYTES, bytes))
    arena.buf = buf
    arena.words = words
    arena.at = 0
  }
  if (arena.ends.length - arena.endsAt < fields + 1) {
    if (pool && arena.ends.length === BLOCK_ENDS) pool.fullEnds.push(arena.ends)
    arena.ends = (fields < BLOCK_ENDS ? pool?.freeEnds.pop() : undefined) ?? new Int32Array(Math.max(BLOCK_ENDS, fields + 1))
    arena.endsAt = 0
  }
}

/** Writes src[from, to) at `at` as COPY text and returns where it ends. There must be room. */
export function putEscaped(arena: Arena, at: number, src: Buffer, from: number, to: number): number {
  const length = to - from
  if (length < COPY_FROM) return escapeBytes(arena.buf, at, src, from, to)
  arena.buf.set(new Uint8Array(src.buffer, src.byteOffset + from, length), at)
  const clean = cleanUntil(arena, at, at + length)
  return clean === at + length ? clean : escapeBytes(arena.buf, clean, src, from + clean - at, to)
}

function escapeBytes(buf: Buffer, at: number, src: Buffer, from: number, to: number): number {
  for (let p = from; p < to; p++) {
    const byte = src[p]
    if (ESCAPE[byte] !== 0) {
      buf[at++] = BACKSLASH
      buf[at++] = ESCAPE[byte]
    } else buf[at++] = byte
  }
  return at
}

/** An address up to which no byte of [at, end) is a backslash or below 14 (what COPY text escapes, and a little more). */
function cleanUntil(arena: Arena, at: number, end: number): number {
  const { buf, words } = arena
  let q = at
  for (; (q & 3) !== 0 && q < end; q++) if (buf[q] < 14 || buf[q] === BACKSLASH) return q
  for (const stop = end - 3; q < stop; q += 4) {
    const word = words[q >> 2]
    // The sign bit of a byte is left set where the byte is below 14, or where it is a backslash (its difference is 0, so below 1).
    const other = word ^ 0x5c5c5c5c
    if (((((word - 0x0e0e0e0e) & ~word) | ((other - 0x01010101) & ~other)) & 0x80808080) !== 0) return q
  }
  for (; q < end; q++) if (buf[q] < 14 || buf[q] === BACKSLASH) return q
  return end
}

/**
 * Notes the fields of a line of COPY text that was copied to buf[at, end), its newline left out: an end for each tab and one for the
 * line. `ends` must have room. Returns the number of fields.
 */
export function markFields(arena: Arena, at: number, end: number): number {
  const { buf, words, ends, endsAt } = arena
  let e = endsAt
  ends[e++] = at
  let q = at
  for (; (q & 3) !== 0 && q < end; q++) if (buf[q] === TAB) ends[e++] = q
  for (const stop = end - 3; q < stop; q += 4) {
    const other = words[q >> 2] ^ 0x09090909
    if (((other - 0x01010101) & ~other & 0x80808080) === 0) continue
    if (buf[q] === TAB) ends[e++] = q
    if (buf[q + 1] === TAB) ends[e++] = q + 1
    if (buf[q + 2] === TAB) ends[e++] = q + 2
    if (buf[q + 3] === TAB) ends[e++] = q + 3
  }
  for (; q < end; q++) if (buf[q] === TAB) ends[e++] = q
  ends[e++] = end
  return e - endsAt - 1
}
