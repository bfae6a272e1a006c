import { RekeyError } from '../core/errors.ts'
import { wayOf } from '../core/copy-path.ts'
import type { Checksum, ObjectInfo, WriteIf } from '../core/objects/object.ts'
import type { Copied, CopyRequest } from '../core/objects/copy.ts'
import { MARKS, isOurs, lossesOf, verdictOn } from '../core/objects/marks.ts'
import type { ObjectStore } from '../ports.ts'
import { again, codeOf } from './again.ts'
import { copyByStore } from './copy-by-store.ts'
import { copyParts } from './copy-parts.ts'
import { copyStream, copyWhole, readSmall } from './copy-whole.ts'
import { aboutOf, bytesOf, type CopyContext, type Copying } from './copying.ts'
import { checksumOf } from './digest.ts'
import { prove } from './evidence.ts'

/** So often a source that keeps changing is begun anew before the job is put back. */
const NEWEST_TRIES = 5
const PLACE_TRIES = 5

/**
 * Copies one object under its new key and proves it; does nothing where that was done before. Resolves when the copy is durable, with the
 * evidence that was asked for. A source that changes meanwhile is copied as it is then. Rejects with RekeyError: OBJECT_MISSING the source
 * is not there; OBJECT_EXISTS another's object is under the key; the others as ObjectStore says. Nothing that was half done is visible.
 */
export async function copyObject(request: CopyRequest, context: CopyContext): Promise<Copied> {
  for (let tries = 1; ; tries++) {
    try {
      return await copyNewest(request, context)
    } catch (error) {
      const code = codeOf(error)
      if ((code !== 'OBJECT_CHANGED' && code !== 'OBJECT_CORRUPT') || tries === NEWEST_TRIES) throw error
    }
  }
}

async function copyNewest(request: CopyRequest, context: CopyContext): Promise<Copied> {
  const near = context.from.place === context.to.place
  const small = near || request.begun ? null : await readSmall(request, context)
  if (small) {
    const copying = { ...context, request, source: small.info }
    // What is replaced may be a copy of a newer source than was read: it is read again, behind the look at what is there.
    return place(copying, null, (condition) => copyWhole(copying, condition, condition === 'absent' ? small : null))
  }
  const source = await again(() => context.from.head(request.from), context.signal)
  if (source === null) throw new RekeyError('OBJECT_MISSING', 'the source has no such object')
  const copying = { ...context, request, source }
  const there = await headOfCopy(copying)
  const { way, sameEtag } = wayOf(source, { near, etags: request.etags })
  return place(copying, there, (condition) => {
    if (way.path === 'store') return copyByStore(copying, condition)
    if (way.path === 'whole') return way.streams ? copyStream(copying, condition) : copyWhole(copying, condition, null)
    return copyParts(copying, condition, { ...way, sameEtag })
  })
}

const headOfCopy = ({ to, request, signal }: Copying): Promise<ObjectInfo | null> =>
  again(() => to.head({ key: request.to, version: null }), signal)

/** Writes on the condition that fits what is under the key, and looks again when that has changed: nothing of another's is overwritten. */
async function place(copying: Copying, found: ObjectInfo | null, write: (condition: WriteIf) => Promise<Copied>): Promise<Copied> {
  let there = found
  for (let tries = 1; ; tries++) {
    const verdict = there === null ? 'replace' : await decide(copying, there)
    if (there !== null && verdict !== 'replace') {
      await forget(copying)
      if (verdict === 'conflict') throw new RekeyError('OBJECT_EXISTS', 'another object is under the destination key')
      return verdict === 'present' ? await present(copying, there) : standing(copying, there, { path: 'kept', evidence: 0, checksum: null })
    }
    try {
      return await write(there === null ? 'absent' : { etag: there.etag })
    } catch (error) {
      if (codeOf(error) !== 'OBJECT_EXISTS' || tries === PLACE_TRIES) throw error
    }
    there = await headOfCopy(copying)
  }
}

/** An upload that an earlier try began is not needed any more. */
async function forget({ request, to, begun, signal }: Copying): Promise<void> {
  const { begun: upload } = request
  if (upload === null) return
  await again(() => to.uploads.abort(request.to, upload.id), signal)
  await begun(null)
}

async function decide(copying: Copying, there: ObjectInfo): Promise<'present' | 'replace' | 'kept' | 'conflict'> {
  const { source, request } = copying
  const verdict = verdictOn(there, source, { ...request, about: aboutOf(source) })
  if (verdict !== 'compare') return verdict
  const [ours, theirs] = [await hashed(copying, copying.from, source), await hashed(copying, copying.to, there)]
  if (ours.sha256 === theirs.sha256) return 'present'
  return request.existing === 'keep' ? 'kept' : request.existing === 'overwrite' ? 'replace' : 'conflict'
}

function hashed({ signal }: Copying, store: ObjectStore, info: ObjectInfo): Promise<Checksum> {
  return again(async () => {
    const { body } = await store.read({ key: info.key, version: info.version, etag: info.etag, range: null }, signal)
    return checksumOf(body, info.size, null)
  }, signal)
}

/** What is there has the size, and the ETag or the mark, of the source: more than that takes reading the source. */
async function present(copying: Copying, there: ObjectInfo): Promise<Copied> {
  const { request, source, to, signal } = copying
  const known = there.metadata[MARKS.sha256] ?? null
  const own = known === null ? null : { sha256: known, parts: null }
  if (request.verify === 1) return standing(copying, there, { path: 'present', evidence: 1, checksum: own })
  const checksum = await hashed(copying, copying.from, source)
  const written = { etag: there.etag, version: there.version, sha256: there.sha256 }
  const claim = { store: to, key: request.to, size: source.size, written, etag: null, checksum, ours: isOurs(there, request.run), signal }
  const evidence = await prove(claim, request.verify)
  return standing(copying, there, { path: 'present', evidence, checksum })
}

function standing({ source }: Copying, there: ObjectInfo, what: Pick<Copied, 'path' | 'evidence' | 'checksum'>): Copied {
  const { etag, version } = there
  return { ...what, source: bytesOf(source), destination: { etag, version }, lost: what.path === 'kept' ? [] : lossesOf(source, etag) }
}
