import { CreateBucketCommand, PutBucketVersioningCommand, S3Client } from '@aws-sdk/client-s3'
import { openS3Store } from '../../connectors/s3/store.ts'
import type { S3Options } from '../../connectors/s3/client.ts'
import type { ObjectStore } from '../../src/ports.ts'

/** What a test needs to know of a server. */
export interface Endpoint {
  readonly url: string
  readonly region: string
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
}

export const optionsFor = (server: Endpoint, bucket: string): S3Options => ({
  bucket, region: server.region, endpoint: server.url, pathStyle: true, credentials: server.credentials, encryption: null,
  sockets: 64, timeout: 20_000,
})

/** A client of the test's own, for what our stores do not do: buckets, policies, other parts. */
export function clientFor(server: Endpoint): S3Client {
  return new S3Client({
    region: server.region, endpoint: server.url, credentials: server.credentials, forcePathStyle: true, maxAttempts: 1,
    requestChecksumCalculation: 'WHEN_REQUIRED', responseChecksumValidation: 'WHEN_REQUIRED',
  })
}

/** Makes a bucket and opens it. */
export async function newBucket(server: Endpoint, bucket: string, more: { readonly versions?: boolean } = {}): Promise<ObjectStore> {
  const client = clientFor(server)
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
  if (more.versions) {
    await client.send(new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration: { Status: 'Enabled' } }))
  }
  client.destroy()
  return openS3Store(optionsFor(server, bucket))
}
