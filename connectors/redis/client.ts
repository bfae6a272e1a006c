import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import { RekeyError } from '../../src/core/errors.ts'

export interface ClientOptions {
  /** redis:// or rediss:// (TLS; the server's certificate is verified). */
  readonly url: string
  /** With rediss: a file of PEM text with the authorities; null: those that Node knows. */
  readonly ca?: string | null
  /** How long one answer may take, in milliseconds. */
  readonly timeoutMs: number
  readonly name: string
}

function tlsOf({ url, ca = null }: Pick<ClientOptions, 'url' | 'ca'>): { tls?: { rejectUnauthorized: true; ca?: string } } {
  if (!url.startsWith('rediss:')) return {}
  try {
    // Said here, so that no variable of the environment (NODE_TLS_REJECT_UNAUTHORIZED) takes the proof away.
    return { tls: { rejectUnauthorized: true, ...(ca === null ? {} : { ca: readFileSync(ca, 'utf8') }) } }
  } catch {
    throw new RekeyError('CONFIG', `redis.ca: ${ca} cannot be read`)
  }
}

/**
 * A connection that is made anew for as long as it takes. While there is none, commands fail at once; each fails when it is not answered in
 * time. Throws CONFIG for a file that cannot be read.
 */
export function openClient({ url, ca = null, timeoutMs, name }: ClientOptions): Redis {
  const client = new Redis(url, {
    ...tlsOf({ url, ca }), lazyConnect: true, connectionName: name, enableOfflineQueue: false, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0,
    connectTimeout: Math.max(1_000, timeoutMs), commandTimeout: timeoutMs,
    retryStrategy: (tries) => Math.min(2_000, 50 * 2 ** Math.min(tries, 6)),
  })
  client.on('error', () => {})
  return client
}
