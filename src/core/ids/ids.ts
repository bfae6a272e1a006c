import { hash, siphash8 } from './siphash.ts'

/**
 * The ordered id: `<prefix>_` and 26 characters of lower-case Crockford base32 (TypeID, version 0.3) over a UUIDv8 (RFC 9562, 5.8).
 *
 *   bits 127..80   48  integer, bits 63..16     the integer is the int8 with its sign bit flipped, so that ids sort
 *   bits  79..76    4  version 1000             (in bytes, COLLATE "C") as the integers do, negative ones first
 *   bits  75..64   12  integer, bits 15..4
 *   bits  63..62    2  variant 10
 *   bits  61..58    4  integer, bits 3..0
 *   bits  57..0    58  tag: the upper 58 bits of SipHash-2-4 of the flipped integer under the entity's key
 *
 * Computed without a look-up, read back without one, and the tag proves that we made it. Test vectors: test/core/ids.test.ts.
 */
export interface OrderedKey {
  /** `<prefix>_`, ASCII. */
  readonly prefix: string
  /** 16 bytes, secret, one per (deployment, entity). */
  readonly key: Uint32Array
}

const ALPHABET = Buffer.from('0123456789abcdefghjkmnpqrstvwxyz', 'latin1')
const DIGIT = new Int8Array(256).fill(-1)
ALPHABET.forEach((byte, value) => (DIGIT[byte] = value))

export const ID_LENGTH = 26

export function orderedKey(prefix: string, key: Uint8Array): OrderedKey {
  if (key.length !== 16) throw new RangeError('an entity key has 16 bytes')
  const view = new DataView(key.buffer, key.byteOffset, 16)
  return { prefix: `${prefix}_`, key: Uint32Array.from([0, 4, 8, 12], (at) => view.getUint32(at, true)) }
}

/** The 26 characters of four 32-bit words (a UUID, most significant first) written at `at`; returns the position after them. */
export function writeBase32(out: Uint8Array, at: number, w0: number, w1: number, w2: number, w3: number): number {
  out[at] = ALPHABET[w0 >>> 29]
  out[at + 1] = ALPHABET[(w0 >>> 24) & 31]
  out[at + 2] = ALPHABET[(w0 >>> 19) & 31]
  out[at + 3] = ALPHABET[(w0 >>> 14) & 31]
  out[at + 4] = ALPHABET[(w0 >>> 9) & 31]
  out[at + 5] = ALPHABET[(w0 >>> 4) & 31]
  out[at + 6] = ALPHABET[((w0 & 15) << 1) | (w1 >>> 31)]
  out[at + 7] = ALPHABET[(w1 >>> 26) & 31]
  out[at + 8] = ALPHABET[(w1 >>> 21) & 31]
  out[at + 9] = ALPHABET[(w1 >>> 16) & 31]
  out[at + 10] = ALPHABET[(w1 >>> 11) & 31]
  out[at + 11] = ALPHABET[(w1 >>> 6) & 31]
  out[at + 12] = ALPHABET[(w1 >>> 1) & 31]
  out[at + 13] = ALPHABET[((w1 & 1) << 4) | (w2 >>> 28)]
  out[at + 14] = ALPHABET[(w2 >>> 23) & 31]
  out[at + 15] = ALPHABET[(w2 >>> 18) & 31]
  out[at + 16] = ALPHABET[(w2 >>> 13) & 31]
  out[at + 17] = ALPHABET[(w2 >>> 8) & 31]
  out[at + 18] = ALPHABET[(w2 >>> 3) & 31]
  out[at + 19] = ALPHABET[((w2 & 7) << 2) | (w3 >>> 30)]
  out[at + 20] = ALPHABET[(w3 >>> 25) & 31]
  out[at + 21] = ALPHABET[(w3 >>> 20) & 31]
  out[at + 22] = ALPHABET[(w3 >>> 15) & 31]
  out[at + 23] = ALPHABET[(w3 >>> 10) & 31]
  out[at + 24] = ALPHABET[(w3 >>> 5) & 31]
  out[at + 25] = ALPHABET[w3 & 31]
  return at + ID_LENGTH
}

/** 26 base32 characters to four 32-bit words, or null. */
export function readBase32(text: string): [number, number, number, number] | null {
  if (text.length !== ID_LENGTH) return null
  let bits = 0n
  for (let i = 0; i < ID_LENGTH; i++) {
    const digit = text.charCodeAt(i) < 256 ? DIGIT[text.charCodeAt(i)] : -1
    if (digit < 0 || (i === 0 && digit > 7)) return null
    bits = (bits << 5n) | BigInt(digit)
  }
  const word = (shift: bigint): number => Number((bits >> shift) & 0xffffffffn)
  return [word(96n), word(64n), word(32n), word(0n)]
}

function writeOrdered(key: OrderedKey, hi: number, lo: number, out: Uint8Array, at: number): number {
  const { prefix } = key
  for (let i = 0; i < prefix.length; i++) out[at++] = prefix.charCodeAt(i)
  siphash8(key.key, hi, lo)
  const w1 = (lo & 0xffff0000) | 0x8000 | ((lo >>> 4) & 0xfff)
  const w2 = 0x80000000 | ((lo & 15) << 26) | (hash.hi >>> 6)
  return writeBase32(out, at, hi, w1, w2, (hash.hi << 26) | (hash.lo >>> 6))
}

const INT8_MIN = -(2n ** 63n)
const INT8_MAX = 2n ** 63n - 1n

/**
 * Writes the ordered id of the integer that stands as ASCII in `buf[start, end)`; returns the position after it, or -1 when those bytes
 * are not a canonical int8 (`007`, `+1`, `-0`, text): then nothing useful was written. `out` needs prefix + 26 bytes of room.
 */
export function mintOrdered(key: OrderedKey, buf: Uint8Array, start: number, end: number, out: Uint8Array, at: number): number {
  const digits = end - start
  if (digits < 1 || digits > 20) return -1
  const first = buf[start]
  if (digits <= 15 && first !== 45) {
    if (first === 48 && digits > 1) return -1
    let n = 0
    for (let i = start; i < end; i++) {
      const digit = buf[i] - 48
      if (digit < 0 || digit > 9) return -1
      n = n * 10 + digit
    }
    const hi = Math.floor(n / 4294967296)
    return writeOrdered(key, hi ^ 0x80000000, (n - hi * 4294967296) | 0, out, at)
  }
  const text = Buffer.from(buf.buffer, buf.byteOffset + start, digits).toString('latin1')
  if (!/^(0|-?[1-9][0-9]*)$/.test(text)) return -1
  const n = BigInt(text)
  if (n < INT8_MIN || n > INT8_MAX) return -1
  const u = BigInt.asUintN(64, n) ^ (1n << 63n)
  return writeOrdered(key, Number(u >> 32n) | 0, Number(u & 0xffffffffn) | 0, out, at)
}

/** The same for a key in text; null when it is not a canonical int8. */
export function mintOrderedText(key: OrderedKey, integer: string): string | null {
  const source = Buffer.from(integer, 'utf8')
  const out = Buffer.allocUnsafe(key.prefix.length + ID_LENGTH)
  const end = mintOrdered(key, source, 0, source.length, out, 0)
  return end < 0 ? null : out.toString('latin1', 0, end)
}

/** The integer (as text) that an ordered id was made of; null when the id is not ours: another prefix, form, deployment or entity. */
export function unmintOrdered(key: OrderedKey, id: string): string | null {
  if (!id.startsWith(key.prefix)) return null
  const words = readBase32(id.slice(key.prefix.length))
  if (!words) return null
  const [w0, w1, w2] = words
  if (((w1 >>> 12) & 15) !== 8 || w2 >>> 30 !== 2) return null
  const lo = ((w1 & 0xffff0000) | ((w1 & 0xfff) << 4) | ((w2 >>> 26) & 15)) >>> 0
  const integer = BigInt.asIntN(64, ((BigInt(w0) << 32n) | BigInt(lo)) ^ (1n << 63n)).toString()
  return mintOrderedText(key, integer) === id ? integer : null
}
