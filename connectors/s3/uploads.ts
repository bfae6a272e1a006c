import type { ListMultipartUploadsCommandOutput, ListPartsCommandOutput } from '@aws-sdk/client-s3'
import { RekeyError } from '../../src/core/errors.ts'
import type { ObjectTarget, OpenUpload, UploadedPart, Written } from '../../src/core/objects/object.ts'
import type { ObjectContent, ObjectUploads, Upload } from '../../src/ports.ts'
import { ask } from './ask.ts'
import { partByRoute } from './by-route.ts'
import { encryptionOf, type Session } from './client.ts'
import { addressOf } from './head.ts'
import { described } from './info.ts'
import { bodyOf, conditionOf, withBody, writtenOf } from './put.ts'
import { base64Of, copySource, etagOf, hexOf, listedKey } from './text.ts'

/** S3's multipart uploads, with a SHA-256 for each part. */
export function s3Uploads(session: Session): ObjectUploads {
  return {
    begin: (target, fill) => begin(session, target, fill),
    resume: async (target, id) => {
      const parts = await partsOf(session, target, id)
      return parts && uploadOf(session, { target, id, parts })
    },
    abort: (key, id) => abort(session, key, id),
    list: (prefix) => list(session, prefix),
  }
}

const addressed = (session: Session, { key }: Pick<ObjectTarget, 'key'>) => addressOf(session, { key, version: null })

/** versitygw 1.8 gives a copied part the digest of the whole source and then misses the part: such uploads are begun without digests. */
async function begin(session: Session, target: ObjectTarget, fill: 'sent' | 'copied'): Promise<Upload> {
  const { sdk, client, options } = session
  const digests = fill === 'sent' ? { ChecksumAlgorithm: 'SHA256' as const } : {}
  const fixed = { ...addressed(session, target), ...digests, ...encryptionOf(options) }
  const { UploadId } = await ask(session, {}, (how) =>
    client.send(new sdk.CreateMultipartUploadCommand(Object.assign(described(target), fixed)), how))
  if (!UploadId) throw new RekeyError('REMOTE', 'the object store did not begin the upload')
  return uploadOf(session, { target, id: UploadId, parts: [] })
}

interface Begun {
  readonly target: ObjectTarget
  readonly id: string
  readonly parts: readonly UploadedPart[]
}

function uploadOf(session: Session, begun: Begun): Upload {
  return {
    id: begun.id, parts: begun.parts,
    part: (number, content, signal) => part(session, begun, { number, content, signal }),
    finish: (parts) => finish(session, begun, parts),
  }
}

interface Part {
  readonly number: number
  readonly content: ObjectContent
  readonly signal: AbortSignal | undefined
}

async function part(session: Session, { target, id }: Begun, { number, content, signal }: Part): Promise<UploadedPart> {
  const { sdk, client } = session
  const fixed = { ...addressed(session, target), UploadId: id, PartNumber: number }
  if ('stored' in content) {
    const { stored } = content
    const { range } = stored
    if (range === null) throw new RekeyError('INTERNAL', 'a part is a range of an object')
    const CopySourceRange = `bytes=${range.from}-${range.to}`
    const source = { CopySource: copySource(stored), CopySourceIfMatch: `"${stored.etag}"`, CopySourceRange }
    const { CopyPartResult: said } = await ask(session, { signal, slow: true }, (how) =>
      client.send(new sdk.UploadPartCopyCommand({ ...fixed, ...source }), how))
    const { etag } = writtenOf(said?.ETag, undefined, undefined)
    return { number, size: range.to - range.from + 1, etag, sha256: null }
  }
  const route = session.route()
  if (route && 'bytes' in content) {
    const said = await ask(session, { signal }, (how) =>
      partByRoute(route, { key: target.key, id, number, content, signal: how.abortSignal }))
    const { etag, sha256 } = writtenOf(said.ETag, undefined, said.ChecksumSHA256)
    return { number, size: content.bytes.length, etag, sha256 }
  }
  const body = bodyOf(content, signal)
  // The digest of a stream follows it: the upload was begun with digests, so each part must have one.
  const trailer = 'stream' in content ? { ChecksumAlgorithm: 'SHA256' as const } : {}
  const input = { ...fixed, ...body.fields, ...trailer }
  const said = await withBody(body, () =>
    ask(session, { signal: body.signal }, (how) => client.send(new sdk.UploadPartCommand(input), how)))
  const { etag, sha256 } = writtenOf(said.ETag, undefined, said.ChecksumSHA256)
  return { number, size: body.fields.ContentLength, etag, sha256 }
}

async function finish(session: Session, { target, id }: Begun, parts: readonly UploadedPart[]): Promise<Written> {
  const { sdk, client } = session
  const Parts = parts.map(({ number, etag, sha256 }) =>
    ({ PartNumber: number, ETag: `"${etag}"`, ...(sha256 === null ? {} : { ChecksumSHA256: base64Of(sha256) }) }))
  const input = { ...addressed(session, target), UploadId: id, MultipartUpload: { Parts }, ...conditionOf(target.if) }
  const said = await ask(session, { onCondition: 'OBJECT_EXISTS', slow: true }, (how) =>
    client.send(new sdk.CompleteMultipartUploadCommand(input), how))
  return writtenOf(said.ETag, said.VersionId, said.ChecksumSHA256)
}

async function partsOf(session: Session, target: ObjectTarget, id: string): Promise<UploadedPart[] | null> {
  const { sdk, client } = session
  const parts: UploadedPart[] = []
  let marker: string | undefined
  do {
    const input = { ...addressed(session, target), UploadId: id, ...(marker === undefined ? {} : { PartNumberMarker: marker }) }
    const said: ListPartsCommandOutput | null = await gone(ask(session, {}, (how) => client.send(new sdk.ListPartsCommand(input), how)))
    if (said === null) return null
    for (const { PartNumber = 0, Size = 0, ETag, ChecksumSHA256 } of said.Parts ?? []) {
      parts.push({ number: PartNumber, size: Size, etag: etagOf(ETag), sha256: hexOf(ChecksumSHA256) })
    }
    marker = said.IsTruncated ? said.NextPartNumberMarker : undefined
  } while (marker !== undefined)
  return parts
}

async function abort(session: Session, key: string, id: string): Promise<void> {
  const { sdk, client } = session
  const input = { ...addressed(session, { key }), UploadId: id }
  await gone(ask(session, {}, (how) => client.send(new sdk.AbortMultipartUploadCommand(input), how)))
}

/** Null where the upload is not there any more. */
async function gone<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work
  } catch (error) {
    if (error instanceof RekeyError && error.code === 'OBJECT_MISSING') return null
    throw error
  }
}

async function* list(session: Session, prefix: string): AsyncGenerator<readonly OpenUpload[]> {
  const { sdk, client, options } = session
  let marker: { KeyMarker?: string; UploadIdMarker?: string } | null = {}
  while (marker !== null) {
    const input = { Bucket: options.bucket, Prefix: prefix, EncodingType: 'url' as const, ...marker }
    const said: ListMultipartUploadsCommandOutput = await ask(session, {}, (how) =>
      client.send(new sdk.ListMultipartUploadsCommand(input), how))
    const keyOf = said.EncodingType === 'url' ? listedKey : (key: string) => key
    yield (said.Uploads ?? []).map(({ Key, UploadId, Initiated }) =>
      ({ key: keyOf(Key ?? ''), id: UploadId ?? '', begun: Initiated?.getTime() ?? 0 }))
    const { IsTruncated, NextKeyMarker, NextUploadIdMarker } = said
    const upload = NextUploadIdMarker === undefined ? {} : { UploadIdMarker: NextUploadIdMarker }
    marker = IsTruncated && NextKeyMarker !== undefined ? { KeyMarker: keyOf(NextKeyMarker), ...upload } : null
  }
}
