import type { GetObjectCommandOutput, HeadObjectCommandOutput } from '@aws-sdk/client-s3'
import type { ContentHeaders, ObjectInfo, ObjectTarget } from '../../src/core/objects/object.ts'
import { withHeaders } from './headers.ts'
import { etagOf, hexOf, receivedValue, sentValue, tagging } from './text.ts'

type Described = Omit<HeadObjectCommandOutput | GetObjectCommandOutput, 'Body' | '$metadata'>

/** What a HEAD or a GET answered. `size` is of the whole object, which a ranged GET tells apart from its content length. */
export function infoOf(key: string, said: Described, size: number): ObjectInfo {
  return {
    key, size, etag: etagOf(said.ETag), version: said.VersionId === 'null' ? null : said.VersionId ?? null,
    modified: said.LastModified?.getTime() ?? 0, headers: headersOf(said), metadata: metadataOf(said.Metadata),
    tags: (said.TagCount ?? 0) > 0 ? null : {}, sha256: hexOf(said.ChecksumSHA256), partSize: null, particulars: particularsOf(said),
  }
}

function headersOf(said: Described): ContentHeaders {
  // Chunked framing is of the upload, not of the object; servers that kept it are read as if they had not.
  const encoding = said.ContentEncoding?.split(',').map((one) => one.trim()).filter((one) => one !== '' && one !== 'aws-chunked').join(', ')
  return present({
    'cache-control': said.CacheControl, 'content-disposition': said.ContentDisposition, 'content-encoding': encoding,
    'content-language': said.ContentLanguage, 'content-type': said.ContentType, expires: said.ExpiresString,
  })
}

function metadataOf(metadata: Record<string, string> | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata ?? {}).map(([name, value]) => [name.toLowerCase(), receivedValue(value)]))
}

function particularsOf(said: Described): Record<string, string> {
  const kms = said.ServerSideEncryption?.startsWith('aws:kms') ? said.ServerSideEncryption : undefined
  const missing = said.MissingMeta ? String(said.MissingMeta) : undefined
  return present({
    'storage-class': said.StorageClass === 'STANDARD' ? undefined : said.StorageClass, encryption: kms,
    'lock-mode': said.ObjectLockMode, 'legal-hold': said.ObjectLockLegalHoldStatus === 'ON' ? 'ON' : undefined,
    'website-redirect': said.WebsiteRedirectLocation, 'missing-metadata': missing,
  })
}

function present(values: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).filter((pair): pair is [string, string] => Boolean(pair[1])))
}

/** The same, to be written. `Expires` stays text: the SDK would make a date of it. */
export function described({ headers, metadata, tags }: ObjectTarget) {
  const fields = present({
    CacheControl: headers['cache-control'], ContentDisposition: headers['content-disposition'],
    ContentEncoding: headers['content-encoding'], ContentLanguage: headers['content-language'], ContentType: headers['content-type'],
    Tagging: Object.keys(tags).length > 0 ? tagging(tags) : undefined,
  })
  const Metadata = Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, sentValue(value)]))
  return withHeaders({ ...fields, Metadata }, present({ expires: headers.expires }))
}
