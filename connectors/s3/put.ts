import { Readable } from 'node:stream'
import { RekeyError } from '../../src/core/errors.ts'
import type { ObjectTarget, WriteIf, Written } from '../../src/core/objects/object.ts'
import type { ObjectContent, StoredBytes } from '../../src/ports.ts'
import { ask } from './ask.ts'
import { putByRoute } from './by-route.ts'
import { encryptionOf, type Session } from './client.ts'
import { addressOf, head } from './head.ts'
import { described } from './info.ts'
import { base64Of, copySource, etagOf, hexOf } from './text.ts'

export interface Put {
  readonly target: ObjectTarget
  readonly content: ObjectContent
  readonly signal: AbortSignal | undefined
}

export async function put(session: Session, { target, content, signal }: Put): Promise<Written> {
  if ('stored' in content) return copy(session, { target, stored: content.stored, signal })
  const { sdk, client, options } = session
  const route = session.route()
  const fixed = { ...addressOf(session, { key: target.key, version: null }), ...conditionOf(target.if), ...encryptionOf(options) }
  if (route && 'bytes' in content) {
    const { ETag, VersionId, ChecksumSHA256 } = await ask(session, { signal, onCondition: 'OBJECT_EXISTS' }, (how) =>
      putByRoute(options, route, { target, content, signal: how.abortSignal }))
    return writtenOf(ETag, VersionId, ChecksumSHA256)
  }
  const body = bodyOf(content, signal)
  const input = Object.assign(described(target), fixed, body.fields)
  const said = await withBody(body, () => ask(session, { signal: body.signal, onCondition: 'OBJECT_EXISTS' }, (how) =>
    client.send(new sdk.PutObjectCommand(input), how)))
  return writtenOf(said.ETag, said.VersionId, said.ChecksumSHA256)
}

/** A body for a request, and the signal that ends the request when the body breaks off. */
export interface Body {
  readonly fields: {
    readonly Body: Uint8Array | Readable
    readonly ContentLength: number
    readonly ChecksumAlgorithm?: 'SHA256'
    readonly ChecksumSHA256?: string
    readonly ContentMD5?: string
  }
  readonly signal: AbortSignal | undefined
  /** What the body broke off with, if it did. */
  broken(): unknown
}

export function bodyOf(content: Exclude<ObjectContent, { stored: StoredBytes }>, signal: AbortSignal | undefined): Body {
  if ('bytes' in content) {
    const { bytes, sha256 } = content
    const check = { ChecksumAlgorithm: 'SHA256' as const, ChecksumSHA256: base64Of(sha256) }
    return { fields: { Body: bytes, ContentLength: bytes.length, ...check }, signal, broken: () => undefined }
  }
  const { stream, size, md5 } = content
  const end = new AbortController()
  let broken: unknown
  // The request is ended rather than the stream failed: the SDK wraps streams, and nobody listens to the wrapper's failure.
  async function* whole(): AsyncGenerator<Uint8Array> {
    try {
      yield* stream
    } catch (error) {
      broken = error
      end.abort()
    }
  }
  const check = md5 === null ? {} : { ContentMD5: base64Of(md5) }
  return {
    fields: { Body: Readable.from(whole(), { objectMode: false }), ContentLength: size, ...check },
    signal: signal ? AbortSignal.any([signal, end.signal]) : end.signal, broken: () => broken,
  }
}

/** Sends a request with a body. What the body broke off with is what the request fails with. */
export async function withBody<T>(body: Body, send: () => Promise<T>): Promise<T> {
  try {
    return await send()
  } catch (error) {
    throw body.broken() ?? error
  } finally {
    if (body.fields.Body instanceof Readable) body.fields.Body.destroy()
  }
}

export function conditionOf(condition: WriteIf): { IfNoneMatch?: string; IfMatch?: string } {
  if (condition === 'any') return {}
  return condition === 'absent' ? { IfNoneMatch: '*' } : { IfMatch: `"${condition.etag}"` }
}

/** A write without an ETag in its answer is not known to have happened, whatever its status (200 and an error in the body among them). */
export function writtenOf(etag: string | undefined, version: string | undefined, sha256: string | undefined): Written {
  if (!etag) throw new RekeyError('REMOTE', 'the object store did not say what it has written')
  return { etag: etagOf(etag), version: version ?? null, sha256: hexOf(sha256) }
}

interface Copy {
  readonly target: ObjectTarget
  readonly stored: StoredBytes
  readonly signal: AbortSignal | undefined
}

/**
 * Many servers ignore the condition of a copy (and AWS answers 501 to it under some bucket policies), so it is looked up before; and
 * a 412 can be either side's, so it is looked up after.
 */
async function copy(session: Session, { target, stored, signal }: Copy): Promise<Written> {
  if (stored.range !== null) throw new RekeyError('INTERNAL', 'a whole object is copied whole')
  if (!await holds(session, target)) throw new RekeyError('OBJECT_EXISTS', 'the condition of the copy does not hold')
  const { sdk, client, options } = session
  const fixed = {
    ...addressOf(session, { key: target.key, version: null }), CopySource: copySource(stored), CopySourceIfMatch: `"${stored.etag}"`,
    MetadataDirective: 'REPLACE' as const, TaggingDirective: 'REPLACE' as const, ChecksumAlgorithm: 'SHA256' as const,
    ...encryptionOf(options),
  }
  try {
    const said = await ask(session, { signal, slow: true }, (how) =>
      client.send(new sdk.CopyObjectCommand(Object.assign(described(target), fixed)), how))
    return writtenOf(said.CopyObjectResult?.ETag, said.VersionId, said.CopyObjectResult?.ChecksumSHA256)
  } catch (error) {
    if (error instanceof RekeyError && error.code === 'OBJECT_CHANGED' && !await holds(session, target)) {
      throw new RekeyError('OBJECT_EXISTS', 'the condition of the copy does not hold', { cause: error.cause })
    }
    throw error
  }
}

async function holds(session: Session, { key, if: condition }: ObjectTarget): Promise<boolean> {
  if (condition === 'any') return true
  const there = await head(session, { key, version: null })
  return condition === 'absent' ? there === null : there?.etag === condition.etag
}
