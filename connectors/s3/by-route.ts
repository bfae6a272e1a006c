import { createHash } from 'node:crypto'
import type {
  GetObjectCommandOutput, ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption, StorageClass,
} from '@aws-sdk/client-s3'
import type { ObjectTarget } from '../../src/core/objects/object.ts'
import type { ObjectContent, ObjectRead } from '../../src/ports.ts'
import type { S3Options } from './client.ts'
import type { HttpAnswer } from './http.ts'
import type { Route } from './route.ts'
import { base64Of, sentValue, tagging } from './text.ts'

const NOTHING = createHash('sha256').digest('hex')

/** What a GET answered, as the SDK says it, and its bytes. */
export interface Got {
  readonly said: Omit<GetObjectCommandOutput, '$metadata' | 'Body'>
  readonly body: AsyncIterable<Uint8Array> & { cancel(): void }
}

/** GetObject (API Reference). */
export async function getByRoute(route: Route, { key, version, etag, range }: ObjectRead, signal: AbortSignal | undefined): Promise<Got> {
  const answer = await route.send({
    method: 'GET', key, query: version === null ? {} : { versionId: version }, body: null, sha256: NOTHING, abortSignal: signal,
    headers: {
      ...(etag === null ? {} : { 'if-match': `"${etag}"` }),
      ...(range === null ? { 'x-amz-checksum-mode': 'ENABLED' } : { range: `bytes=${range.from}-${range.to}` }),
    },
  })
  return { said: saidBy(answer.headers), body: answer.body }
}

function saidBy(headers: HttpAnswer['headers']): Got['said'] {
  const count = (name: string): number | undefined => headers[name] === undefined ? undefined : Number(headers[name])
  const Metadata = Object.create(null) as Record<string, string>
  for (const name in headers) if (name.startsWith(META)) Metadata[name.slice(META.length)] = headers[name]!
  return {
    ETag: headers['etag'], VersionId: headers['x-amz-version-id'], ContentLength: count('content-length'),
    ContentRange: headers['content-range'], CacheControl: headers['cache-control'], ContentDisposition: headers['content-disposition'],
    ContentEncoding: headers['content-encoding'], ContentLanguage: headers['content-language'], ContentType: headers['content-type'],
    ExpiresString: headers['expires'], TagCount: count('x-amz-tagging-count'),
    ChecksumSHA256: headers['x-amz-checksum-sha256'], StorageClass: headers['x-amz-storage-class'] as StorageClass,
    ServerSideEncryption: headers['x-amz-server-side-encryption'] as ServerSideEncryption,
    ObjectLockMode: headers['x-amz-object-lock-mode'] as ObjectLockMode,
    ObjectLockLegalHoldStatus: headers['x-amz-object-lock-legal-hold'] as ObjectLockLegalHoldStatus, MissingMeta: count('x-amz-missing-meta'),
    WebsiteRedirectLocation: headers['x-amz-website-redirect-location'],
    LastModified: headers['last-modified'] === undefined ? undefined : new Date(headers['last-modified']), Metadata,
  }
}

const META = 'x-amz-meta-'

/** Buckets that lock what is written want the algorithm named (API Reference, PutObject). */
const checkedBy = (sha256: string): Record<string, string> =>
  ({ 'x-amz-sdk-checksum-algorithm': 'SHA256', 'x-amz-checksum-sha256': base64Of(sha256) })

interface Sent {
  readonly content: Extract<ObjectContent, { bytes: Uint8Array }>
  readonly signal: AbortSignal | undefined
}

interface PutSaid {
  readonly ETag?: string | undefined
  readonly VersionId?: string | undefined
  readonly ChecksumSHA256?: string | undefined
}

/** PutObject (API Reference). Both the payload's signature and the stored checksum are the one digest that is known already. */
export async function putByRoute(
  { encryption }: S3Options, route: Route, { target, content, signal }: Sent & { readonly target: ObjectTarget },
): Promise<PutSaid> {
  const { key, if: condition, metadata, tags } = target
  const headers: Record<string, string> = { 'content-type': 'application/octet-stream', ...target.headers, ...checkedBy(content.sha256) }
  for (const name in metadata) headers[META + name] = sentValue(metadata[name])
  if (Object.keys(tags).length > 0) headers['x-amz-tagging'] = tagging(tags)
  if (condition === 'absent') headers['if-none-match'] = '*'
  else if (condition !== 'any') headers['if-match'] = `"${condition.etag}"`
  if (encryption !== null) headers['x-amz-server-side-encryption'] = encryption.mode
  if (encryption?.key) headers['x-amz-server-side-encryption-aws-kms-key-id'] = encryption.key
  return sent(await route.send({ method: 'PUT', key, query: {}, headers, body: content.bytes, sha256: content.sha256, abortSignal: signal }))
}

interface SentPart extends Sent {
  readonly key: string
  readonly id: string
  readonly number: number
}

/** UploadPart (API Reference). */
export async function partByRoute(route: Route, { key, id, number, content, signal }: SentPart): Promise<PutSaid> {
  const { bytes: body, sha256 } = content
  const headers = checkedBy(sha256)
  const query = { partNumber: String(number), uploadId: id }
  return sent(await route.send({ method: 'PUT', key, query, headers, body, sha256, abortSignal: signal }))
}

/** The body of such an answer is empty, and read so that its connection can be used again. */
function sent({ headers, body }: HttpAnswer): PutSaid {
  body.drain()
  return { ETag: headers['etag'], VersionId: headers['x-amz-version-id'], ChecksumSHA256: headers['x-amz-checksum-sha256'] }
}
