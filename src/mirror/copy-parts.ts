import { PART_IN_MEMORY, rangeOf, type PartsWay } from '../core/copy-path.ts'
import { RekeyError } from '../core/errors.ts'
import { etagMeans, type Checksum, type UploadedPart, type WriteIf, type Written } from '../core/objects/object.ts'
import type { Copied, Loss } from '../core/objects/copy.ts'
import { MARKS, isMd5, isOurs } from '../core/objects/marks.ts'
import type { ObjectContent, Upload } from '../ports.ts'
import { again, codeOf } from './again.ts'
import { evidenceOf } from './copy-by-store.ts'
import { copied, targetOf, type Copying } from './copying.ts'
import { checksumOf, composite, digesting, gathered, type Digest, type Gathered } from './digest.ts'
import { prove, withdraw } from './evidence.ts'

export type InParts = PartsWay & { readonly sameEtag: boolean }

/** A part and, where its bytes came through here, what they were. */
interface DonePart {
  readonly part: UploadedPart
  readonly sha256: string | null
}

/**
 * In parts: ranges are read, each on the condition that the source is still the same, and written as parts, several at a time. An upload
 * that an earlier try began is gone on with. When the copy is interrupted, its upload stays and can be gone on with; when it fails for
 * good, the upload is aborted.
 */
export async function copyParts(copying: Copying, condition: WriteIf, way: InParts): Promise<Copied> {
  const { upload, lost } = await uploadFor(copying, condition, way)
  try {
    const parts = await fillParts(copying, upload, way)
    const written = await finish(copying, upload, parts.map(({ part }) => part))
    await copying.begun(null)
    return await provenParts(copying, { way, parts, written, lost })
  } catch (error) {
    const passing = copying.signal.aborted || ['REMOTE', 'STORE_BUSY'].includes(codeOf(error) ?? '')
    if (!passing) {
      await again(() => copying.to.uploads.abort(copying.request.to, upload.id), copying.signal)
      await copying.begun(null)
    }
    throw error
  }
}

async function uploadFor(copying: Copying, condition: WriteIf, way: InParts): Promise<{ upload: Upload; lost: Loss[] }> {
  const { to, request, source, signal } = copying
  const { target, lost } = targetOf(copying, condition, null)
  const { begun } = request
  if (begun !== null) {
    const fits = begun.sourceEtag === source.etag && begun.partSize === way.partSize
    const upload = fits ? await again(() => to.uploads.resume(target, begun.id), signal) : null
    if (upload) return { upload, lost }
    await again(() => to.uploads.abort(request.to, begun.id), signal)
  }
  const fill = way.path === 'parts' ? 'sent' : 'copied'
  const upload = await again(() => to.uploads.begin(target, fill), signal)
  await copying.begun({ id: upload.id, partSize: way.partSize, sourceEtag: source.etag })
  return { upload, lost }
}

/** All parts in their order; at most `ranges` under way, each within the memory that all copies share. */
async function fillParts(copying: Copying, upload: Upload, way: InParts): Promise<DonePart[]> {
  const { source, ranges } = copying
  const done = new Map<number, DonePart>()
  for (const part of upload.parts) {
    const { from, to } = rangeOf(source.size, way.partSize, part.number)
    const fits = part.number <= way.parts && part.size === to - from + 1
    // Without a digest the bytes of a part that was sent would have to be believed.
    if (fits && (part.sha256 !== null || way.path === 'store-parts')) done.set(part.number, { part, sha256: part.sha256 })
  }
  const numbers = Array.from({ length: way.parts }, (_, i) => i + 1).filter((number) => !done.has(number))
  const stop = new AbortController()
  const within = { ...copying, signal: AbortSignal.any([copying.signal, stop.signal]) }
  const work = async (): Promise<void> => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      done.set(number, await copyPart(within, upload, { number, way }))
    }
  }
  const workers = await Promise.allSettled(Array.from({ length: Math.min(ranges, numbers.length) }, () => work().catch((error: unknown) => {
    stop.abort()
    throw error
  })))
  copying.signal.throwIfAborted()
  const failed = workers.flatMap((one) => one.status === 'rejected' && !isAbort(one.reason) ? [one.reason as unknown] : [])
  if (failed.length > 0) throw failed[0]
  return Array.from({ length: way.parts }, (_, i) => done.get(i + 1)!)
}

const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError'

interface Which {
  readonly number: number
  readonly way: InParts
}

async function copyPart(copying: Copying, upload: Upload, { number, way }: Which): Promise<DonePart> {
  const { from, request, source, budget, signal } = copying
  const range = rangeOf(source.size, way.partSize, number)
  const size = range.to - range.from + 1
  if (way.path === 'store-parts') {
    const stored = { ...request.from, bucket: from.bucket, etag: source.etag, range }
    const part = await again(() => upload.part(number, { stored }, signal), signal)
    return { part, sha256: part.sha256 }
  }
  const held = way.partSize <= Math.min(PART_IN_MEMORY, budget.total) ? await budget.take(size) : null
  // After a failure a connection may still read what it was to send: only memory that has arrived is used again.
  let done: Uint8Array | undefined
  try {
    return await again(async () => {
      const { body, cancel } = await from.read({ ...request.from, etag: source.etag, range }, signal)
      const { content, digest } = held ? gatheredPart(await gathered(body, size, held.memory)) : flowing(body, size)
      const part = await upload.part(number, content, signal).finally(cancel)
      const was = digest()
      if (was.size !== size || !arrived(part, was)) throw new RekeyError('OBJECT_CORRUPT', 'a part is not what was read')
      if ('bytes' in content) done = content.bytes
      return { part, sha256: was.sha256 }
    }, signal)
  } finally {
    held?.give(done)
  }
}

interface Flow {
  readonly content: ObjectContent
  readonly digest: () => Digest
}

function gatheredPart({ bytes, digest }: Gathered): Flow {
  return { content: { bytes, sha256: digest.sha256 }, digest: () => digest }
}

function flowing(body: AsyncIterable<Uint8Array>, size: number): Flow {
  const { stream, digest } = digesting(body)
  return { content: { stream, size, md5: null }, digest }
}

/** By the store's digest where it gives one, else by the ETag, which is the MD5 of a part unless KMS made it. */
function arrived(part: UploadedPart, was: Digest): boolean {
  if (part.sha256 !== null) return part.sha256 === was.sha256
  return part.etag === was.md5 || etagMeans(part.etag) === null
}

/** A lost answer may mean that it is finished: then the object is there, with our marks. */
async function finish(copying: Copying, upload: Upload, parts: readonly UploadedPart[]): Promise<Written> {
  const { to, request, source, signal } = copying
  return again(async () => {
    try {
      return await upload.finish(parts)
    } catch (error) {
      if (codeOf(error) !== 'OBJECT_MISSING' && codeOf(error) !== 'OBJECT_EXISTS') throw error
      const there = await to.head({ key: request.to, version: null })
      if (there && there.size === source.size && isOurs(there, request.run) && there.metadata[MARKS.source] === source.etag) return there
      // The upload is gone, and not by us: begun anew.
      if (codeOf(error) === 'OBJECT_MISSING') throw new RekeyError('OBJECT_CHANGED', 'the upload is gone', { cause: error })
      throw error
    }
  }, signal)
}

interface Made {
  readonly way: InParts
  readonly parts: readonly DonePart[]
  readonly written: Written
  readonly lost: readonly Loss[]
}

async function provenParts(copying: Copying, { way, parts, written, lost }: Made): Promise<Copied> {
  const { source, to, request, signal } = copying
  const cut = { count: parts.length, partSize: way.partSize }
  if (way.path === 'store-parts') return copied(copying, { path: way.path, written, lost, ...await evidenceOf(copying, written, cut) })
  const checksum: Checksum = { sha256: composite('sha256', parts.map(({ sha256 }) => sha256 ?? '')), parts: cut }
  const etag = `${composite('md5', parts.map(({ part }) => part.etag))}-${parts.length}`
  const claim = { store: to, key: request.to, size: source.size, written, etag, checksum, ours: true, signal }
  if (way.sameEtag && isMd5(source) && etag !== source.etag && !await readsAgain(copying, checksum)) {
    await withdraw(to, request.to, written)
    throw new RekeyError('OBJECT_CORRUPT', 'the source was read twice and gave other bytes')
  }
  return copied(copying, { path: way.path, written, checksum, lost, evidence: await prove(claim, request.verify) })
}

/** The ETag of the source is of other parts, or the bytes were changed on the way: a second reading tells. */
async function readsAgain({ from, request, source, signal }: Copying, checksum: Checksum): Promise<boolean> {
  const second = await again(async () => {
    const { body } = await from.read({ ...request.from, etag: source.etag, range: null }, signal)
    return checksumOf(body, source.size, checksum.parts)
  }, signal)
  return second.sha256 === checksum.sha256
}
