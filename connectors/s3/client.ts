import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { S3Client, S3ClientConfig, ServerSideEncryption } from '@aws-sdk/client-s3'
import { sendHeaders } from './headers.ts'
import { openHttp } from './http.ts'
import { learnRoute, type Route } from './route.ts'
import type { S3Credentials } from './signature.ts'

export interface S3Options {
  readonly bucket: string
  readonly region: string
  /** null: AWS's own for the region. */
  readonly endpoint: string | null
  /** Bucket in the path, not in the host name. */
  readonly pathStyle: boolean
  /** null: the AWS chain (environment, profile, web identity, container, instance). A function is asked again when they expire. */
  readonly credentials: S3Credentials | (() => Promise<S3Credentials>) | null
  /** How this store encrypts what is written; null leaves it to the bucket. */
  readonly encryption: { readonly mode: 'AES256' | 'aws:kms' | 'aws:kms:dsse'; readonly key: string | null } | null
  /** Most sockets at a time. */
  readonly sockets: number
  /** Milliseconds without a byte, and until an answer begins. Requests that let the store copy may take ten times as long. */
  readonly timeout: number
}

export type Sdk = typeof import('@aws-sdk/client-s3')

/** What all requests to one bucket share. */
export interface Session {
  readonly sdk: Sdk
  readonly client: S3Client
  readonly options: S3Options
  /** Null until a first request has shown it. */
  readonly route: () => Route | null
  /** Ends idle connections. */
  close(): void
}

/** The SDK is large: it is loaded when the first store is opened. */
export async function openSession(options: S3Options): Promise<Session> {
  const [sdk, undici] = await Promise.all([import('@aws-sdk/client-s3'), import('undici')])
  const { credentials, sockets, timeout } = options
  const agent = { keepAlive: true, maxSockets: sockets, scheduling: 'fifo' as const }
  const config: S3ClientConfig = {
    region: options.region,
    forcePathStyle: options.pathStyle,
    // Tries are counted in one place, by the rate that all requests share.
    maxAttempts: 1,
    // It would write to the console.
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    // A streamed PUT with the SDK's own trailing checksum is stored as `Content-Encoding: aws-chunked` by some servers.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      httpAgent: new HttpAgent(agent), httpsAgent: new HttpsAgent(agent),
      connectionTimeout: Math.min(timeout, 10_000), requestTimeout: timeout, throwOnRequestTimeout: true,
      // A store that copies for us is silent meanwhile: requests have their own timeout, this one is for bodies.
      socketTimeout: 10 * timeout, socketAcquisitionWarningTimeout: 2 ** 31 - 1,
    },
    ...(options.endpoint === null ? {} : { endpoint: options.endpoint }),
    // The SDK writes into what it is given.
    ...(credentials === null ? {} : { credentials: typeof credentials === 'function' ? credentials : { ...credentials } }),
  }
  const client = new sdk.S3Client(config)
  sendHeaders(client)
  let route: Route | null = null
  learnRoute(client, (origin) => openHttp(undici, { origin, sockets, timeout }), (found) => (route = found))
  return {
    sdk, client, options, route: () => route,
    close() {
      client.destroy()
      route?.close()
    },
  }
}

/** Equal for buckets between which the store copies by itself: the same server and the same credentials. */
export function placeOf({ options }: Session): string {
  const { credentials } = options
  const who = credentials === null ? 'chain' : typeof credentials === 'function' ? 'provider' : credentials.accessKeyId
  return `s3 ${options.endpoint ?? ''} ${options.region} ${who}`
}

export interface Encryption {
  readonly ServerSideEncryption?: ServerSideEncryption
  readonly SSEKMSKeyId?: string
}

export function encryptionOf({ encryption }: S3Options): Encryption {
  if (encryption === null) return {}
  return { ServerSideEncryption: encryption.mode, ...(encryption.key === null ? {} : { SSEKMSKeyId: encryption.key }) }
}
