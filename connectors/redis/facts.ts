import type { RedisFacts } from '../../src/core/check/redis.ts'
import { type ClientOptions, openClient } from './client.ts'
import { clear, keysOf } from './keys.ts'

type RedisAt = Pick<ClientOptions, 'url' | 'ca'>

/** What a server says of itself; null when it does not answer or does not let us in. */
export async function redisFacts(at: RedisAt): Promise<RedisFacts | null> {
  const client = openClient({ ...at, timeoutMs: 3_000, name: 'rekey_check' })
  try {
    await client.connect()
    const info = await client.info()
    const member = (name: string): string => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1] ?? ''
    return { version: member('redis_version'), policy: member('maxmemory_policy'), role: member('role') }
  } catch {
    return null
  } finally {
    client.disconnect()
  }
}

/** Removes what a pipeline has on a server. Null when that does not answer. */
export async function removeCopy(at: RedisAt, of: Parameters<typeof keysOf>[0]): Promise<'removed' | 'not there' | null> {
  const client = openClient({ ...at, timeoutMs: 3_000, name: 'rekey_remove' })
  try {
    await client.connect()
    return (await clear(client, keysOf(of))) > 0 ? 'removed' : 'not there'
  } catch {
    return null
  } finally {
    client.disconnect()
  }
}
