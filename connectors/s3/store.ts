import type { Readable } from 'node:stream'
import type { ListObjectsV2CommandOutput } from '@aws-sdk/client-s3'
import { RekeyError } from '../../src/core/errors.ts'
import type { ListedObject } from '../../src/core/objects/object.ts'
import type { ObjectBody, ObjectRead, ObjectStore } from '../../src/ports.ts'
import { ask, type SendOptions } from './ask.ts'
import { getByRoute, type Got } from './by-route.ts'
import { openSession, placeOf, type S3Options, type Session } from './client.ts'
import { failure, isMissing, isUnknown } from './failure.ts'
import { addressOf, head } from './head.ts'
import { withHeaders } from './headers.ts'
import { infoOf } from './info.ts'
import { put } from './put.ts'
import { etagOf, listedKey } from './text.ts'
import { s3Uploads } from './uploads.ts'

/** An S3 bucket. `close` ends its idle connections. */
export async function openS3Store(options: S3Options): Promise<ObjectStore & { close(): void }> {
  const session = await openSession(options)
  return {
    place: placeOf(session), bucket: options.bucket, uploads: s3Uploads(session),
    head: (name) => head(session, name),
    read: (what, signal) => read(session, what, signal),
    list: (prefix, after) => list(session, prefix, after),
    put: (target, content, signal) => put(session, { target, content, signal }),
    remove: (key, etag) => remove(session, key, etag),
    close: () => session.close(),
  }
}

async function read(session: Session, what: ObjectRead, signal: AbortSignal | undefined): Promise<ObjectBody> {
  const route = session.route()
  const address = addressOf(session, what)
  const { said, body } = await ask(session, { signal }, (how) =>
    route ? getByRoute(route, what, how.abortSignal) : getBySdk(session, { address, what }, how))
  const total = /\/(\d+)$/.exec(said.ContentRange ?? '')?.[1]
  if (what.range !== null && total === undefined) {
    body.cancel()
    throw new RekeyError('OBJECT_REFUSED', 'the object store does not know ranges')
  }
  const info = infoOf(what.key, said, total === undefined ? said.ContentLength ?? 0 : Number(total))
  return { info, body: bodyOf(body), cancel: () => body.cancel() }
}

interface Asked {
  readonly address: ReturnType<typeof addressOf>
  readonly what: ObjectRead
}

async function getBySdk({ sdk, client }: Session, { address, what }: Asked, how: SendOptions): Promise<Got> {
  const input = {
    ...address,
    ...(what.etag === null ? {} : { IfMatch: `"${what.etag}"` }),
    ...(what.range === null ? {} : { Range: `bytes=${what.range.from}-${what.range.to}` }),
  }
  // The digest of a whole object is wanted as text; the SDK's own check would hash it a second time.
  const asked = what.range === null ? withHeaders(input, { 'x-amz-checksum-mode': 'ENABLED' }) : input
  const said = await client.send(new sdk.GetObjectCommand(asked), how)
  const body = said.Body as Readable
  return { said, body: { [Symbol.asyncIterator]: () => body[Symbol.asyncIterator](), cancel: () => void body.destroy() } }
}

/** Whatever ends a body early is the network's fault. */
async function* bodyOf(body: Got['body']): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (error) {
    throw failure(error, 'OBJECT_CHANGED')
  }
}

async function* list(session: Session, prefix: string, after: string | null): AsyncGenerator<readonly ListedObject[]> {
  const { sdk, client, options } = session
  let token: string | undefined
  do {
    const said: ListObjectsV2CommandOutput = await ask(session, {}, (how) => client.send(new sdk.ListObjectsV2Command({
      Bucket: options.bucket, Prefix: prefix, EncodingType: 'url',
      ...(token === undefined ? (after ? { StartAfter: after } : {}) : { ContinuationToken: token }),
    }), how))
    const keyOf = said.EncodingType === 'url' ? listedKey : (key: string) => key
    yield (said.Contents ?? []).map(({ Key, Size, ETag, LastModified }) =>
      ({ key: keyOf(Key ?? ''), size: Size ?? 0, etag: etagOf(ETag), modified: LastModified?.getTime() ?? 0 }))
    token = said.IsTruncated ? said.NextContinuationToken : undefined
    if (said.IsTruncated && !token) throw new RekeyError('REMOTE', 'the object store broke off a listing')
  } while (token !== undefined)
}

/** The condition goes along where the server knows it; others are asked what is there right before. */
async function remove(session: Session, key: string, etag: string): Promise<boolean> {
  const { sdk, client } = session
  const address = addressOf(session, { key, version: null })
  const there = await head(session, { key, version: null })
  if (there?.etag !== etag) return false
  const send = (condition: { IfMatch?: string }): Promise<unknown> => ask(session, {}, (how) =>
    client.send(new sdk.DeleteObjectCommand({ ...address, ...condition }), how))
  try {
    await send({ IfMatch: `"${etag}"` }).catch((error: unknown) => {
      if (!isUnknown((error as Error).cause)) throw error
      return send({})
    })
    return true
  } catch (error) {
    if (error instanceof RekeyError && (error.code === 'OBJECT_CHANGED' || isMissing(error.cause))) return false
    throw error
  }
}

