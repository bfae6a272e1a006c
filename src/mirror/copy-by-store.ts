import type { Checksum, WriteIf, Written } from '../core/objects/object.ts'
import type { Copied, Evidence } from '../core/objects/copy.ts'
import { isMd5 } from '../core/objects/marks.ts'
import { again } from './again.ts'
import { copied, targetOf, type Copying } from './copying.ts'
import { checksumOf } from './digest.ts'
import { prove } from './evidence.ts'

/** One request, no bytes through this process. */
export async function copyByStore(copying: Copying, condition: WriteIf): Promise<Copied> {
  const { source, to, from, request, signal } = copying
  const { target, lost } = targetOf(copying, condition, null)
  const stored = { ...request.from, bucket: from.bucket, etag: source.etag, range: null }
  const written = await again(() => to.put(target, { stored }, signal), signal)
  return { ...copied(copying, { path: 'store', written, lost, ...await evidenceOf(copying, written, null) }) }
}

interface Proof {
  readonly evidence: Evidence
  readonly checksum: Checksum | null
}

/**
 * Nothing was hashed here. An equal ETag, or the store's own digest on both sides, will do for evidence 1; for more the source is read
 * and hashed where it has no digest in the same form.
 */
export async function evidenceOf(copying: Copying, written: Written, parts: Checksum['parts']): Promise<Proof> {
  const { source, to, request, signal } = copying
  const etag = isMd5(source) ? source.etag : null
  const claim = { store: to, key: request.to, size: source.size, written, etag, ours: true, signal }
  if (request.verify === 1) {
    const told = checksumIn(written.sha256, parts)
    const evidence = await prove({ ...claim, checksum: null }, 1)
    if (evidence > 0) return { evidence, checksum: told }
  }
  const checksum = checksumIn(source.sha256, parts) ?? await hashOf(copying, parts)
  return { evidence: await prove({ ...claim, checksum }, request.verify === 3 ? 3 : 2), checksum }
}

/** A stored digest where it is of the form that is wanted. */
function checksumIn(stored: string | null, parts: Checksum['parts']): Checksum | null {
  const [, sha256, count] = /^([0-9a-f]{64})(?:-(\d+))?$/.exec(stored ?? '') ?? []
  return sha256 && Number(count ?? 0) === (parts?.count ?? 0) ? { sha256, parts } : null
}

function hashOf({ from, source, request, signal }: Copying, parts: Checksum['parts']): Promise<Checksum> {
  return again(async () => {
    const { body } = await from.read({ ...request.from, etag: source.etag, range: null }, signal)
    return checksumOf(body, source.size, parts)
  }, signal)
}
