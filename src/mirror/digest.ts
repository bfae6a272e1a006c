import { createHash, hash, type Hash } from 'node:crypto'
import { RekeyError } from '../core/errors.ts'
import type { Checksum } from '../core/objects/object.ts'

export interface Digest {
  readonly size: number
  /** Hex. */
  readonly md5: string
  readonly sha256: string
}

/** MD5 costs more than SHA-256 on today's processors, and is not always asked for. */
function digestOf(bytes: Uint8Array, sha256: string): Digest {
  let md5: string | null = null
  return { size: bytes.length, sha256, get md5() { return (md5 ??= hash('md5', bytes)) } }
}

export interface Gathered {
  readonly bytes: Uint8Array
  readonly digest: Digest
}

/**
 * All bytes of a body, which must be `size`; rejects with OBJECT_CORRUPT when they are not. Each chunk is hashed and copied while the
 * processor still has it at hand, and is then forgotten. What comes in one chunk stays where it is; the rest goes into `memory`.
 */
export async function gathered(
  body: AsyncIterable<Uint8Array>, size: number, memory: (size: number) => Uint8Array = Buffer.allocUnsafeSlow,
): Promise<Gathered> {
  let open: Hash | null = null
  let bytes: Uint8Array | null = null
  let length = 0
  for await (const chunk of body) {
    if (length + chunk.length > size) {
      length = -1
      break
    }
    if (chunk.length === size) [bytes, open] = [chunk, null]
    else {
      (bytes ??= memory(size)).set(chunk, length)
      open = (open ?? createHash('sha256')).update(chunk)
    }
    length += chunk.length
  }
  if (length !== size) throw new RekeyError('OBJECT_CORRUPT', 'a body has another size')
  bytes ??= new Uint8Array(0)
  return { bytes, digest: digestOf(bytes, open === null ? hash('sha256', bytes) : open.digest('hex')) }
}

export interface Digesting {
  readonly stream: AsyncIterable<Uint8Array>
  /** Once, when the bytes have passed. */
  digest(): Digest
}

/** Bytes as they pass, and what they were when they have. */
export function digesting(chunks: AsyncIterable<Uint8Array>): Digesting {
  const [md5, sha256] = [createHash('md5'), createHash('sha256')]
  let size = 0
  async function* passing(): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      md5.update(chunk)
      sha256.update(chunk)
      size += chunk.length
      yield chunk
    }
  }
  return { stream: passing(), digest: () => ({ size, md5: md5.digest('hex'), sha256: sha256.digest('hex') }) }
}

/** SHA-256 of a body of this size, whole or in parts of this size. Rejects with OBJECT_CORRUPT when the body has another size. */
export async function checksumOf(chunks: AsyncIterable<Uint8Array>, expected: number, parts: Checksum['parts']): Promise<Checksum> {
  const partSize = parts?.partSize ?? Infinity
  const done: Buffer[] = []
  let open: Hash = createHash('sha256')
  let [filled, size] = [0, 0]
  for await (const chunk of chunks) {
    size += chunk.length
    let rest = chunk
    while (filled + rest.length > partSize) {
      done.push(open.update(rest.subarray(0, partSize - filled)).digest())
      rest = rest.subarray(partSize - filled)
      open = createHash('sha256')
      filled = 0
    }
    open.update(rest)
    filled += rest.length
  }
  if (size !== expected) throw new RekeyError('OBJECT_CORRUPT', 'a body ended early')
  done.push(open.digest())
  if (parts === null) return { sha256: done[0].toString('hex'), parts: null }
  return { sha256: createHash('sha256').update(Buffer.concat(done)).digest('hex'), parts: { ...parts, count: done.length } }
}

/** The digest of parts' digests, as S3 makes it for MD5 and SHA-256. */
export function composite(algorithm: 'md5' | 'sha256', hex: readonly string[]): string {
  return createHash(algorithm).update(Buffer.from(hex.join(''), 'hex')).digest('hex')
}

/** A checksum in the form in which stores keep it. */
export const asStored = ({ sha256, parts }: Checksum): string => parts === null ? sha256 : `${sha256}-${parts.count}`
