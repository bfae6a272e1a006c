import { randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'

/** Names of what a pipeline has on a server. */
export interface Keys {
  /** Hash of an entity: old key -> entry of the ledger. */
  map(entity: string): string
  /** Hash of an entity: old key -> computed id. */
  pairs(entity: string): string
  /** Set of the hashes that there are, without what is in front of all. */
  readonly hashes: string
  readonly lead: string
  /** Hash: of which ledger it is, filled in which run of the server, and whether wholly. */
  readonly state: string
  /** Who fills it, while that goes on. */
  readonly filling: string
}

export function keysOf({ prefix, pipeline }: { readonly prefix: string; readonly pipeline: string }): Keys {
  const lead = `${prefix}:${pipeline}`
  return {
    lead, map: (entity) => `${lead}:map:${entity}`, pairs: (entity) => `${lead}:pairs:${entity}`,
    hashes: `${lead}:hashes`, state: `${lead}:state`, filling: `${lead}:filling`,
  }
}

/** A run of the server: after a restart it may hold an old dump. Null when it does not tell. */
export async function runOf(client: Redis): Promise<string | null> {
  return /^run_id:(\w+)/m.exec(await client.info('server'))?.[1] ?? null
}

/** How long a filler may be silent before another one takes its place, in milliseconds. */
const FILLER_MS = 30_000

export interface Asking {
  readonly keys: Keys
  readonly generation: string
  /** Null: it does not fill. */
  readonly filler: string | null
}

/**
 * What is not this ledger's, or was filled before the server's last start, is removed by the filler. Rejects when the server does not
 * answer.
 */
export async function stateOf(client: Redis, asking: Asking): Promise<'full' | 'empty' | 'away'> {
  const { keys, filler } = asking
  if (await isFull(client, asking)) return 'full'
  if (filler === null) return 'away'
  const taken = (await client.set(keys.filling, filler, 'PX', FILLER_MS, 'NX')) === 'OK'
  if (!taken && (await client.get(keys.filling)) !== filler) return 'away'
  // Another one may have filled it since it was asked.
  if (await isFull(client, asking)) {
    await stopFilling(client, asking)
    return 'full'
  }
  await clear(client, keys)
  return 'empty'
}

export async function isFull(client: Redis, { keys, generation }: Asking): Promise<boolean> {
  const [state, run] = await Promise.all([client.hgetall(keys.state), runOf(client)])
  return run !== null && state['generation'] === generation && state['run'] === run && state['full'] === '1'
}

export async function setFull(client: Redis, asking: Asking): Promise<void> {
  await client.hset(asking.keys.state, { generation: asking.generation, run: (await runOf(client)) ?? '', full: '1' })
  await stopFilling(client, asking)
}

/** Only the own mark: another one may have come after it ran out. */
const STOP = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1])"

export async function stopFilling(client: Redis, { keys, filler }: Asking): Promise<void> {
  if (filler !== null) await client.eval(STOP, 1, keys.filling, filler)
}

export function goOnFilling(client: Redis, keys: Keys): Promise<unknown> {
  return client.pexpire(keys.filling, FILLER_MS)
}

export const fillerName = (): string => randomUUID()

/** At once: a hash that somebody adds between the look at their names and the removal would have no name any more. */
const CLEAR = `
local found = redis.call('smembers', KEYS[2])
local removed = redis.call('unlink', KEYS[1], KEYS[2])
for _, name in ipairs(found) do removed = removed + redis.call('unlink', ARGV[1] .. ':' .. name) end
return removed`

/** Removes everything of the pipeline but the filler's mark; resolves with how many keys there were. */
export async function clear(client: Redis, keys: Keys): Promise<number> {
  return Number(await client.eval(CLEAR, 2, keys.state, keys.hashes, keys.lead))
}
