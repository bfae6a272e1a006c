/** Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4). */
const POLYNOMIAL = 0x82f63b78

/** TABLES[k][b]: what byte b does to the remainder when k bytes follow it. */
const TABLES: readonly Int32Array[] = tables(16)

function tables(count: number): Int32Array[] {
  const first = Int32Array.from({ length: 256 }, (_, byte) => {
    let rest = byte
    for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ POLYNOMIAL : rest >>> 1
    return rest
  })
  const all = [first]
  while (all.length < count) all.push(all[all.length - 1].map((rest) => (rest >>> 8) ^ first[rest & 255]))
  return all
}

const LITTLE_ENDIAN = new Uint8Array(new Int32Array([1]).buffer)[0] === 1
const [T0, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14, T15] = TABLES

/**
 * CRC-32C of the bytes `from` to `to`, unsigned. Sixteen bytes a step ("slicing", Kounavis and Berry 2005) on the words of the memory:
 * about six times as fast as a byte a step. On a big-endian machine it takes bytes.
 */
export function crc32c(buf: Uint8Array, from: number, to: number): number {
  let crc = -1
  let p = from
  while (p < to && ((buf.byteOffset + p) & 3) !== 0) crc = (crc >>> 8) ^ T0[(crc ^ buf[p++]) & 255]
  // Where nothing is left, `p` need not be at a word.
  const words = new Int32Array(buf.buffer, (buf.byteOffset + p) & ~3, LITTLE_ENDIAN ? (to - p) >> 2 : 0)
  const whole = words.length & ~3
  for (let i = 0; i < whole; i += 4) {
    const a = words[i] ^ crc
    const b = words[i + 1]
    const c = words[i + 2]
    const d = words[i + 3]
    crc = T15[a & 255] ^ T14[(a >>> 8) & 255] ^ T13[(a >>> 16) & 255] ^ T12[a >>> 24] ^
      T11[b & 255] ^ T10[(b >>> 8) & 255] ^ T9[(b >>> 16) & 255] ^ T8[b >>> 24] ^
      T7[c & 255] ^ T6[(c >>> 8) & 255] ^ T5[(c >>> 16) & 255] ^ T4[c >>> 24] ^
      T3[d & 255] ^ T2[(d >>> 8) & 255] ^ T1[(d >>> 16) & 255] ^ T0[d >>> 24]
  }
  p += whole * 4
  while (p < to) crc = (crc >>> 8) ^ T0[(crc ^ buf[p++]) & 255]
  return ~crc >>> 0
}
