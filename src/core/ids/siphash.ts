/**
 * SipHash-2-4 (Aumasson and Bernstein, 2012) of one 8-byte message, in 32-bit halves: a keyed function for short input whose output
 * cannot be predicted without the key. About 0.1 µs; a MAC from a crypto library costs twenty times as much per call.
 * `key` is the 16-byte key as four little-endian 32-bit words; the message is the 64-bit number (hi, lo), little-endian.
 * The result is left in `hash` (hi, lo, signed) so that no object is made per id. Everything stays a 32-bit integer: the carry of an
 * addition is taken from the top bits, because a sum above 2^32 would make floating-point numbers of all of it (four times slower).
 */
export const hash = { hi: 0, lo: 0 }

export function siphash8(key: Uint32Array, hi: number, lo: number): void {
  let v0h = key[1] ^ 0x736f6d65, v0l = key[0] ^ 0x70736575
  let v1h = key[3] ^ 0x646f7261, v1l = key[2] ^ 0x6e646f6d
  let v2h = key[1] ^ 0x6c796765, v2l = key[0] ^ 0x6e657261
  let v3h = key[3] ^ 0x74656462, v3l = key[2] ^ 0x79746573
  v3h ^= hi
  v3l ^= lo
  for (let round = 0; round < 8; round++) {
    if (round === 2) {
      v0h ^= hi
      v0l ^= lo
      v3h ^= 0x08000000 // the final block: length 8 in the top byte, no bytes left
    } else if (round === 4) {
      v0h ^= 0x08000000
      v2l ^= 0xff
    }
    let sum = (v0l + v1l) | 0
    v0h = (v0h + v1h + (((v0l & v1l) | ((v0l | v1l) & ~sum)) >>> 31)) | 0
    v0l = sum
    let t = (v1h << 13) | (v1l >>> 19)
    v1l = ((v1l << 13) | (v1h >>> 19)) ^ v0l
    v1h = t ^ v0h
    t = v0h
    v0h = v0l
    v0l = t
    sum = (v2l + v3l) | 0
    v2h = (v2h + v3h + (((v2l & v3l) | ((v2l | v3l) & ~sum)) >>> 31)) | 0
    v2l = sum
    t = (v3h << 16) | (v3l >>> 16)
    v3l = ((v3l << 16) | (v3h >>> 16)) ^ v2l
    v3h = t ^ v2h
    sum = (v0l + v3l) | 0
    v0h = (v0h + v3h + (((v0l & v3l) | ((v0l | v3l) & ~sum)) >>> 31)) | 0
    v0l = sum
    t = (v3h << 21) | (v3l >>> 11)
    v3l = ((v3l << 21) | (v3h >>> 11)) ^ v0l
    v3h = t ^ v0h
    sum = (v2l + v1l) | 0
    v2h = (v2h + v1h + (((v2l & v1l) | ((v2l | v1l) & ~sum)) >>> 31)) | 0
    v2l = sum
    t = (v1h << 17) | (v1l >>> 15)
    v1l = ((v1l << 17) | (v1h >>> 15)) ^ v2l
    v1h = t ^ v2h
    t = v2h
    v2h = v2l
    v2l = t
  }
  hash.hi = v0h ^ v1h ^ v2h ^ v3h
  hash.lo = v0l ^ v1l ^ v2l ^ v3l
}
