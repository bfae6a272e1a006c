import { readFileSync } from 'node:fs'
import type { Admin, Kafka, SASLOptions } from 'kafkajs'
import { type ErrorCode, RekeyError } from '../../src/core/errors.ts'
import { installLean } from './lean.ts'
import { library } from './library.ts'
import { openSocket } from './socket.ts'

/** What may be said of a connection. Whatever else the client library knows of is left out on purpose. */
export interface ClientOptions {
  readonly brokers: readonly string[]
  /** null: plaintext. Files of PEM text; `ca` null: the authorities that Node knows. */
  readonly ssl: { readonly ca: string | null; readonly cert: string | null; readonly key: string | null } | null
  /** Who encodes and decodes batches of records. lean: as lean.ts does, in the whole process from then on. */
  readonly codec: 'lean' | 'kafkajs'
  readonly sasl: { readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; readonly username: string; readonly password: string } | null
}

/** Clients of the version whose inside is known, and that may be looked into. */
const open = new WeakSet<Kafka>()

/** Whether a client was opened with `codec: lean`. */
export function mayLookInside(kafka: Kafka): boolean {
  return open.has(kafka)
}

/** A client without a connection. Throws RekeyError CONFIG for a file that cannot be read, or a library that `codec: lean` does not fit. */
export function openClient({ brokers, ssl, sasl, codec }: ClientOptions): Kafka {
  if (codec === 'lean') installLean()
  const { Kafka: Client, logLevel } = library()
  const client = new Client({
    clientId: 'rekey', brokers: [...brokers], logLevel: logLevel.NOTHING, socketFactory: openSocket,
    connectionTimeout: 5_000, authenticationTimeout: 5_000, requestTimeout: 30_000,
    retry: { initialRetryTime: 100, maxRetryTime: 2_000, retries: 6 },
    ...(ssl ? { ssl: pemFiles(ssl) } : {}),
    ...(sasl ? { sasl: sasl as SASLOptions } : {}),
  })
  if (codec === 'lean') open.add(client)
  return client
}

function pemFiles(ssl: NonNullable<ClientOptions['ssl']>): { ca?: string; cert?: string; key?: string } {
  const read = (what: 'ca' | 'cert' | 'key'): Record<string, string> => {
    const file = ssl[what]
    if (file === null) return {}
    try {
      return { [what]: readFileSync(file, 'utf8') }
    } catch {
      throw new RekeyError('CONFIG', `kafka.ssl.${what}: ${file} cannot be read`)
    }
  }
  return { ...read('ca'), ...read('cert'), ...read('key') }
}

/** By the protocol's names of errors; all others may pass, or are ours. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  TOPIC_AUTHORIZATION_FAILED: 'PRIVILEGE', GROUP_AUTHORIZATION_FAILED: 'PRIVILEGE', CLUSTER_AUTHORIZATION_FAILED: 'PRIVILEGE',
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: 'PRIVILEGE', SASL_AUTHENTICATION_FAILED: 'PRIVILEGE', ILLEGAL_SASL_STATE: 'PRIVILEGE',
  UNSUPPORTED_SASL_MECHANISM: 'PRIVILEGE', UNKNOWN_TOPIC_OR_PARTITION: 'LOG_TOPIC', MESSAGE_TOO_LARGE: 'LOG_TOPIC',
  RECORD_LIST_TOO_LARGE: 'LOG_TOPIC', INVALID_CONFIG: 'LOG_TOPIC', POLICY_VIOLATION: 'LOG_TOPIC', INVALID_REPLICATION_FACTOR: 'CONFIG',
}
/** What lasts until somebody acts, by the library's names. */
const NAMES: Readonly<Record<string, ErrorCode>> = { KafkaJSSASLAuthenticationError: 'PRIVILEGE', KafkaJSNotImplemented: 'LOG_TOPIC' }
/** OpenSSL's and Node's refusals of a certificate (manual of Node, "X509 certificate error codes"). */
const CERTIFICATE = /^(CERT_|ERR_TLS_|ERR_SSL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_(GET|VERIFY))/

/** What the library threw as ours. Its own text is left out: it may hold what it was given. */
export function kafkaError(error: unknown, doing: string): RekeyError {
  if (error instanceof RekeyError) return error
  for (let cause: unknown = error; cause instanceof Error; cause = causeOf(cause)) {
    // Of the protocol's errors `code` is a number.
    const { type, code: number } = cause as { type?: unknown; code?: unknown }
    const name = type ?? number
    const known = typeof name === 'string' ? (CODES[name] ?? (CERTIFICATE.test(name) ? 'PRIVILEGE' : undefined)) : undefined
    const code = known ?? NAMES[cause.name]
    if (code) return new RekeyError(code, `could not ${doing}: ${typeof name === 'string' ? name : cause.name}`, { cause: error })
  }
  const { type, name } = error as { type?: string; name?: string }
  return new RekeyError('REMOTE', `could not ${doing}: ${type ?? name ?? 'no answer'}`, { cause: error })
}

/** What is behind an error: of several, the first one. */
function causeOf(error: Error): unknown {
  const { originalError, errors } = error as { originalError?: unknown; errors?: readonly unknown[] }
  return error.cause ?? originalError ?? errors?.[0]
}

/** Opens an administrator's connection for the length of `work`. Rejects with RekeyError. */
export async function withAdmin<T>(kafka: Kafka, doing: string, work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = kafka.admin()
  try {
    await admin.connect()
    return await work(admin)
  } catch (error) {
    throw kafkaError(error, doing)
  } finally {
    await admin.disconnect().catch(() => {})
  }
}
