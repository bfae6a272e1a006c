import { RekeyError } from '../core/errors.ts'
import type { Checksum, ObjectInfo, Written } from '../core/objects/object.ts'
import type { Evidence } from '../core/objects/copy.ts'
import { isMd5 } from '../core/objects/marks.ts'
import type { ObjectStore } from '../ports.ts'
import { again, codeOf } from './again.ts'
import { asStored, checksumOf } from './digest.ts'

export interface Claim {
  readonly store: ObjectStore
  readonly key: string
  readonly size: number
  readonly written: Written
  /** ETag that these bytes have where ETags are MD5; null where that is not known. */
  readonly etag: string | null
  /** Of the bytes as they were read at the source; null where they were not, and then evidence 0 may be all there is. */
  readonly checksum: Checksum | null
  /** We wrote it: then it is taken away where its bytes are wrong, or the next try would find it and believe its marks. */
  readonly ours: boolean
  readonly signal: AbortSignal
}

/**
 * Gives at least the evidence that is wanted that a copy has the bytes it should, by the cheapest means that gives it: the answer to the
 * write, what the store says of the object now, the bytes themselves. Rejects with OBJECT_CORRUPT where they are others.
 */
export async function prove(claim: Claim, wanted: Evidence): Promise<Evidence> {
  try {
    return await proven(claim, wanted)
  } catch (error) {
    if (claim.ours && codeOf(error) === 'OBJECT_CORRUPT') await withdraw(claim.store, claim.key, claim.written)
    throw error
  }
}

/** Takes away what we wrote and is wrong, and nothing else. */
export async function withdraw(store: ObjectStore, key: string, { etag }: Written): Promise<void> {
  await store.remove(key, etag)
}

async function proven(claim: Claim, wanted: Evidence): Promise<Evidence> {
  const sha256 = claim.checksum && asStored(claim.checksum)
  const byAnswer = sha256 !== null && claim.written.sha256 === sha256 ? 2 : claim.written.etag === claim.etag ? 1 : 0
  if (byAnswer >= wanted) return byAnswer
  const there = await headOf(claim)
  if (wanted <= 2 && sha256 !== null && there.sha256 === sha256) return 2
  // Where ETags are no MD5, the size and the ETag of our own write are what there is.
  const comparable = claim.etag !== null && isMd5(there) && sameForm(there.etag, claim.etag)
  if (wanted === 1 && !comparable) return 1
  return claim.checksum === null ? 0 : readBack(claim, claim.checksum)
}

const sameForm = (one: string, two: string): boolean => one.split('-')[1] === two.split('-')[1]

async function headOf({ store, key, size, written, signal }: Claim): Promise<ObjectInfo> {
  const there = await again(() => store.head({ key, version: written.version }), signal)
  if (there?.size === size && there.etag === written.etag) return there
  throw new RekeyError('OBJECT_CORRUPT', 'the destination has another object than the one that was written')
}

async function readBack({ store, key, size, written, signal }: Claim, checksum: Checksum): Promise<3> {
  const found = await again(async () => {
    const { body } = await store.read({ key, version: written.version, etag: written.etag, range: null }, signal)
    return checksumOf(body, size, checksum.parts)
  }, signal)
  if (found.sha256 === checksum.sha256) return 3
  throw new RekeyError('OBJECT_CORRUPT', 'the copy was read back and has other bytes')
}
