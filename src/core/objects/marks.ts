import { etagMeans, type ObjectInfo } from './object.ts'
import type { CopyRequest, Loss } from './copy.ts'

/**
 * Metadata that our copies carry: who wrote it, which bytes, what the source said of them (a digest of aboutText()), and the bytes' digest
 * where it was known before they were written.
 */
export const MARKS = { run: 'rekey-run', source: 'rekey-source', about: 'rekey-about', sha256: 'rekey-sha256' } as const

/** Most bytes of user metadata that S3 takes, names and values together (User Guide, "User-defined object metadata"). */
const METADATA_BYTES = 2_048

type Marked = Pick<ObjectInfo, 'metadata'>

interface MarkedMetadata {
  readonly metadata: Record<string, string>
  readonly lost: Loss[]
}

/** What an object says of its bytes, in one text: content headers, metadata but our marks, tags. */
export function aboutText({ headers, metadata, tags }: Pick<ObjectInfo, 'headers' | 'metadata' | 'tags'>): string {
  return JSON.stringify([headers, ownMetadata(metadata), tags ?? {}].map((one) => Object.entries(one).toSorted(([a], [b]) => (a < b ? -1 : 1))))
}

const ownMetadata = (metadata: ObjectInfo['metadata']): Record<string, string> =>
  Object.fromEntries(Object.entries(metadata).filter(([name]) => !isMark(name)))

interface Mark {
  readonly run: string
  readonly about: string
  readonly sha256: string | null
}

/** The metadata of a copy: the source's and our marks; without the marks where there is no room for both. */
export function marked(source: Pick<ObjectInfo, 'metadata' | 'etag'>, { run, about, sha256 }: Mark): MarkedMetadata {
  const own = ownMetadata(source.metadata)
  const marks = { [MARKS.run]: run, [MARKS.source]: source.etag, [MARKS.about]: about, ...(sha256 === null ? {} : { [MARKS.sha256]: sha256 }) }
  const metadata = { ...own, ...marks }
  const bytes = Object.entries(metadata).reduce((sum, [name, value]) => sum + name.length + sentLength(value), 0)
  return bytes <= METADATA_BYTES ? { metadata, lost: [] } : { metadata: own, lost: [{ what: 'mark', name: MARKS.run }] }
}

const isMark = (name: string): boolean => Object.values<string>(MARKS).includes(name)

/** At most: three bytes of UTF-8 for what JavaScript counts as one character, as an encoded word in Base64 where it is not ASCII. */
const sentLength = (text: string): number => /^[\t\x20-\x7e]*$/.test(text) ? text.length : text.length * 4 + 16

export const isOurs = ({ metadata }: Marked, run: string): boolean => metadata[MARKS.run] === run

/**
 * What to do about an object that is under the destination key: `present` it has the source's bytes · `replace` it is an earlier copy of
 * ours · `compare` nothing but the bytes can tell · otherwise what the request says of another's.
 */
export type Verdict = 'present' | 'replace' | 'compare' | 'kept' | 'conflict'

export function verdictOn(
  there: ObjectInfo, source: ObjectInfo, { run, existing, about }: Pick<CopyRequest, 'run' | 'existing'> & Pick<Mark, 'about'>,
): Verdict {
  const ours = isOurs(there, run)
  // By the mark and not by what is there: a store may not keep all that it is told, and the destination may have added to it.
  if (ours && (there.metadata[MARKS.about] ?? about) !== about) return 'replace'
  if (there.size === source.size) {
    if (ours && there.metadata[MARKS.source] === source.etag && !differs(there, source)) return 'present'
    if (sameDigest(there, source)) return 'present'
    if (!ours && !differs(there, source)) return 'compare'
  }
  if (ours || existing === 'overwrite') return 'replace'
  return existing === 'keep' ? 'kept' : 'conflict'
}

/** Equal digests prove equal bytes; of an MD5 that is enough where nobody wants to deceive. */
function sameDigest(one: ObjectInfo, two: ObjectInfo): boolean {
  if (one.sha256 !== null && two.sha256 !== null && !isComposite(one.sha256)) return one.sha256 === two.sha256
  return one.etag === two.etag && isMd5(one) && isMd5(two)
}

/** Different digests of the same kind prove different bytes; those of parts prove nothing, as the parts may differ. */
function differs(one: ObjectInfo, two: ObjectInfo): boolean {
  return isMd5(one) && isMd5(two) && etagMeans(one.etag)!.parts === null && etagMeans(two.etag)!.parts === null && one.etag !== two.etag
}

const isComposite = (sha256: string): boolean => sha256.includes('-')

/** SSE-KMS and SSE-C make ETags that look like an MD5 and are none (API Reference, "Object", ETag). */
export const isMd5 = ({ etag, particulars }: Pick<ObjectInfo, 'etag' | 'particulars'>): boolean =>
  etagMeans(etag) !== null && particulars.encryption === undefined

/** What a copy has not that the source has. Access lists are neither read nor carried, so they are never named here. */
export function lossesOf(source: ObjectInfo, etag: string): Loss[] {
  const particulars = Object.keys(source.particulars).map((name): Loss => ({ what: 'particular', name }))
  return etag === source.etag ? particulars : [{ what: 'etag', name: 'etag' }, ...particulars]
}
