import { RekeyError } from '../core/errors.ts'
import { IN_MEMORY, wayInParts } from '../core/copy-path.ts'
import { etagMeans, type ObjectInfo, type WriteIf } from '../core/objects/object.ts'
import type { Copied, CopyRequest } from '../core/objects/copy.ts'
import { isMd5 } from '../core/objects/marks.ts'
import type { ObjectBody, ObjectRead } from '../ports.ts'
import { again, codeOf } from './again.ts'
import { copyParts } from './copy-parts.ts'
import { copied, targetOf, type CopyContext, type Copying } from './copying.ts'
import { digesting, gathered, type Gathered } from './digest.ts'
import { prove, withdraw } from './evidence.ts'

/** Up to this an object is read at once, before anything is known of it. Such reads are not counted against the memory budget. */
const SMALL = 256 * 1_024

/** An object whose bytes are here, and were found to be what its ETag says, or were read twice. */
export interface InMemory extends Gathered {
  readonly info: ObjectInfo
}

/** The source as it is now, by one request; null where more must be known of it first. */
export async function readSmall({ from: name, size }: CopyRequest, { from, signal }: CopyContext): Promise<InMemory | null> {
  if (size !== null && size > SMALL) return null
  const read = (): Promise<ObjectBody> => from.read({ ...name, etag: null, range: null }, signal)
  const whole = (etag: string): boolean => (etagMeans(etag)?.parts ?? null) === null
  return checked(read, (info) => info.size <= SMALL && info.tags !== null && whole(info.etag), signal)
}

type Wanted = (info: ObjectInfo) => boolean

/** Reads until two reads agree, or one agrees with the ETag: an ETag may look like an MD5 and be none. Null for what is not wanted. */
async function checked(read: () => Promise<ObjectBody>, wanted: Wanted, signal: AbortSignal): Promise<InMemory | null> {
  let before: InMemory | null = null
  return again(async () => {
    const { info, body, cancel } = await read()
    if (!wanted(info)) {
      cancel()
      return null
    }
    const now = { info, ...await gathered(body, info.size) }
    const means = isMd5(info) ? etagMeans(info.etag) : null
    if (means === null || means.parts !== null || means.md5 === now.digest.md5) return now
    if (before?.info.etag === info.etag && before.digest.sha256 === now.digest.sha256) return now
    before = now
    throw new RekeyError('OBJECT_CORRUPT', 'the bytes are not those of the ETag')
  }, signal)
}

/** By way of memory: the digest is known before the write, stored with the object, and checked by the store. */
export async function copyWhole(copying: Copying, condition: WriteIf, read: InMemory | null): Promise<Copied> {
  const { source, budget, signal } = copying
  const held = read === null ? await budget.take(source.size) : null
  try {
    const { bytes, digest } = read ?? await readWhole(copying)
    const { target, lost } = targetOf(copying, condition, digest.sha256)
    const { to, request } = copying
    const written = await again(() => to.put(target, { bytes, sha256: digest.sha256 }, signal), signal)
    const checksum = { sha256: digest.sha256, parts: null }
    const claim = { store: to, key: target.key, size: source.size, written, etag: digest.md5, checksum, ours: true, signal }
    return copied(copying, { path: 'whole', written, checksum, evidence: await prove(claim, request.verify), lost })
  } finally {
    held?.give()
  }
}

const readOf = ({ source, request }: Copying): ObjectRead => ({ ...request.from, etag: source.etag, range: null })

async function readWhole(copying: Copying): Promise<InMemory> {
  const { from, signal } = copying
  const read = await checked(() => from.read(readOf(copying), signal), ({ size }) => size <= IN_MEMORY, signal)
  if (read === null) throw new RekeyError('OBJECT_CHANGED', 'the object is another by now')
  return read
}

/**
 * In one piece, too large for memory: so that the ETag stays, which the store is told and checks. An ETag that turns out to be no MD5
 * is not worth one piece: then it goes in parts.
 */
export async function copyStream(copying: Copying, condition: WriteIf): Promise<Copied> {
  const { source, to, from, request, signal } = copying
  const { target, lost } = targetOf(copying, condition, null)
  let before: string | null = null
  const streamed = await again(async () => {
    const { body, cancel } = await from.read(readOf(copying), signal)
    const { stream, digest } = digesting(body)
    const content = { stream, size: source.size, md5: source.etag }
    const written = await to.put(target, content, signal).catch((error: unknown) => {
      if (codeOf(error) !== 'OBJECT_CORRUPT') throw error
      return null
    // A write that failed before it began has not read the body to its end, nor at all.
    }).finally(cancel)
    const { sha256, size, md5 } = digest()
    if (written !== null && md5 === source.etag) return { written, sha256 }
    if (written !== null) await withdraw(to, target.key, written)
    if (size === source.size && md5 !== source.etag && before === sha256) return null
    before = sha256
    throw new RekeyError('OBJECT_CORRUPT', 'the bytes are not those of the ETag')
  }, signal)
  if (streamed === null) return copyParts(copying, condition, { ...wayInParts(source.size), sameEtag: false })
  const { written, sha256 } = streamed
  const checksum = { sha256, parts: null }
  const claim = { store: to, key: target.key, size: source.size, written, etag: source.etag, checksum, ours: true, signal }
  return copied(copying, { path: 'whole', written, checksum, evidence: await prove(claim, request.verify), lost })
}
