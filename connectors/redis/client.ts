import { Redis } from 'ioredis'

export interface ClientOptions {
  /** redis:// or rediss:// (TLS; the server's certificate is verified). */
  readonly url: string
  /** How long one answer may take, in milliseconds. */
  readonly timeoutMs: number
  readonly name: string
}

/**
 * A connection that is made anew for as long as it takes. While there is none, commands fail at once; each fails when it is not answered in
 * time.
 */
export function openClient({ url, timeoutMs, name }: ClientOptions): Redis {
  const client = new Redis(url, {
    lazyConnect: true, connectionName: name, enableOfflineQueue: false, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0,
    connectTimeout: Math.max(1_000, timeoutMs), commandTimeout: timeoutMs,
    retryStrategy: (tries) => Math.min(2_000, 50 * 2 ** Math.min(tries, 6)),
  })
  client.on('error', () => {})
  return client
}
