import { ledgerChanges } from '../../src/core/ledger.ts'
import type { Decision } from '../../src/core/plan.ts'
import type { Cached, CacheUpkeep, IdCache, PairShelf } from '../../src/ports.ts'
import type { ClientOptions } from './client.ts'
import { chunksOf } from './debts.ts'
import { type EntryCodec, entryCodec } from './entry.ts'
import { fillerName, goOnFilling, type Keys, keysOf, setFull, stateOf, stopFilling } from './keys.ts'
import { type Link, MOST_WRITING, openLink, type Sent } from './link.ts'
import { FIELDS, isMark, type Marks, marks } from './marks.ts'
import { pairShelf } from './shelf.ts'

export interface RedisCacheOptions extends Pick<ClientOptions, 'url' | 'ca'> {
  /** In front of every key, with the pipeline's name: several pipelines share a server. */
  readonly prefix: string
  readonly pipeline: string
  /** Key of one life of one ledger: see entryCodec. */
  readonly key: Buffer
  /** Tells that life from others; no secret. */
  readonly generation: string
  /** How long one answer may take. */
  readonly timeoutMs: number
  /** False: it never empties or fills it as a whole; for processes beside those that deliver. Default true. */
  readonly fills?: boolean
  /** It met a value that was not written for this ledger and key. */
  readonly onForeign?: (entity: string) => void
  /** It begins or ceases to answer. */
  readonly onSure?: (sure: boolean) => void
}

export interface RedisCache extends IdCache, CacheUpkeep {
  readonly shelf: PairShelf
  /** Resolves when what was kept so far is written, or cannot be. */
  flushed(): Promise<void>
  close(): Promise<void>
}

/** By field: what was seen there (empty: nothing), and the value that takes just its place. Many in one call, since a client pays by the call. */
const REPLACE = `for i = 1, #ARGV, 3 do
  if (redis.call('hget', KEYS[1], ARGV[i]) or '') == ARGV[i + 1] then redis.call('hset', KEYS[1], ARGV[i], ARGV[i + 2]) end
end`

const UNKNOWN: Cached = { entries: new Map(), learn: () => {} }

/**
 * A ledger's entries in Redis: one hash an entity, field = old key, value = entryCodec. Beside a value, a field may hold a mark (`?` and a
 * random word): the entry has changed, ask the ledger. A mark is set after the commit that changed an entry; what was read in the ledger
 * after a mark was seen replaces just that mark; so an old value never comes back over a newer commit, whichever process writes it.
 */
export function redisCache(options: RedisCacheOptions): RedisCache {
  const link = openLink({ url: options.url, ca: options.ca ?? null, timeoutMs: options.timeoutMs, name: `rekey_${options.pipeline}` }, options.onSure)
  const { client, busy, sure, become, failed, send } = link
  const keys = keysOf(options)
  const asking = { keys, generation: options.generation, filler: options.fills === false ? null : fillerName() }
  const at: At = { link, keys, codec: entryCodec(options.key), taken: marks(link, keys) }
  const { codec, taken } = at
  let asked: Promise<'full' | 'empty' | 'away'> = Promise.resolve('away')
  const ask = async (): Promise<'full' | 'empty' | 'away'> => {
    if (client.status !== 'ready') return 'away'
    const found = await stateOf(client, asking).catch((error: Error) => {
      failed(error)
      return 'away' as const
    })
    if (found !== 'full') become(false)
    else if (!sure() && !(await taken.pay())) return 'away'
    else become(true)
    return found
  }
  const cache: RedisCache = {
    async find(entity, raw) {
      const values = sure() && raw.length > 0 ? await read(entity, raw, at) : null
      return values === null || !sure() ? UNKNOWN : foundOf(entity, { raw, values, onForeign: options.onForeign }, at)
    },
    keep(decisions) {
      const { truncated, added, replaced, gone } = ledgerChanges(decisions)
      for (const entity of truncated) void taken.forgetAll(entity)
      for (const [entity, raw] of gone) void taken.set(entity, raw.map(codec.field))
      for (const [entity, some] of grouped(replaced)) void taken.set(entity, some.map((d) => codec.field(d.key)))
      if (added.length > 0 && !busy()) void put(added, at)
    },
    async drop(entity, raw) {
      const token = await taken.set(entity, raw.map(codec.field))
      return token === null ? UNKNOWN : { learn: learner(new Map(raw.map((key) => [key, token])), at) }
    },
    // One question at a time: the answer to an older one must not undo what a newer one did.
    state: () => (asked = asked.then(ask)),
    async compare(entries) {
      if (!sure()) void goOnFilling(client, keys).catch(() => {})
      return compare(entries, at)
    },
    async filled() {
      await setFull(client, asking).then(() => cache.state(), failed)
    },
    shelf: pairShelf({ client, keys, field: codec.field, busy: () => !sure() || busy(), send }),
    flushed: link.flushed,
    async close() {
      await link.flushed()
      if (client.status === 'ready') await stopFilling(client, asking).catch(() => {})
      client.disconnect()
    },
  }
  client.on('ready', () => void cache.state())
  client.connect().catch(() => {})
  return cache
}

interface At {
  readonly link: Link
  readonly keys: Keys
  readonly codec: EntryCodec
  readonly taken: Marks
}

async function read(entity: string, raw: readonly string[], at: At): Promise<(string | null)[] | null> {
  const { link: { client, failed }, keys, codec } = at
  if (client.status !== 'ready') return null
  const parts = chunksOf(raw, FIELDS).map((some) => client.hmget(keys.map(entity), ...some.map((key) => codec.field(key))))
  return Promise.all(parts).then((values) => values.flat(), (error: Error) => {
    failed(error)
    return null
  })
}

interface Read {
  readonly raw: readonly string[]
  readonly values: readonly (string | null)[]
  readonly onForeign: RedisCacheOptions['onForeign']
}

function foundOf(entity: string, { raw, values, onForeign }: Read, at: At): Cached {
  const entries = new Map<string, Decision>()
  const seen = new Map<string, string>()
  raw.forEach((key, i) => {
    const value = values[i]
    if (value === null) return
    const decision = isMark(value) ? null : at.codec.decode(entity, key, value)
    if (decision) return void entries.set(key, decision)
    seen.set(key, value)
    if (!isMark(value)) onForeign?.(entity)
  })
  return { entries, learn: learner(seen, at) }
}

/** `seen`: what stands there and is to be replaced; nothing stands under other keys. */
function learner(seen: ReadonlyMap<string, string>, at: At): Cached['learn'] {
  return (learned) => {
    const entries = [...learned].slice(0, MOST_WRITING)
    if (!at.link.busy() && entries.length > 0) void replace(entries, seen, at)
  }
}

/** Puts entries where nothing stands, or just what was seen there, by key. */
function replace(entries: readonly Decision[], seen: ReadonlyMap<string, string>, at: At): Promise<Sent> {
  const { link: { client, send }, keys, codec } = at
  const commands = client.pipeline()
  for (const [entity, some] of grouped(entries)) {
    commands.sadd(keys.hashes, `map:${entity}`)
    for (const part of chunksOf(some, FIELDS)) {
      commands.eval(REPLACE, 1, keys.map(entity), ...part.flatMap((d) => [codec.field(d.key), seen.get(d.key) ?? '', codec.encode(d)]))
    }
  }
  return send(commands, entries.length)
}

function put(added: readonly Decision[], { link: { client, send }, keys, codec }: At): Promise<Sent> {
  const commands = client.pipeline()
  for (const [entity, some] of grouped(added)) {
    commands.sadd(keys.hashes, `map:${entity}`)
    for (const part of chunksOf(some, FIELDS)) {
      commands.hset(keys.map(entity), ...part.flatMap((d) => [codec.field(d.key), codec.encode(d)]))
    }
  }
  return send(commands, added.length)
}

async function compare(entries: readonly Decision[], at: At): ReturnType<CacheUpkeep['compare']> {
  const differing: Decision[] = []
  let added = 0
  for (const [entity, some] of grouped(entries)) {
    const values = await read(entity, some.map((d) => d.key), at)
    if (values === null) return null
    const missing = some.filter((_, i) => values[i] === null)
    differing.push(...some.filter((decision, i) => {
      const value = values[i]
      return value !== null && !isMark(value) && value !== at.codec.encode(decision)
    }))
    if (missing.length > 0 && (await replace(missing, new Map(), at)) === 'lost') return null
    added += missing.length
  }
  return { added, differing }
}

function grouped(decisions: readonly Decision[]): Map<string, Decision[]> {
  const groups = new Map<string, Decision[]>()
  for (const decision of decisions) {
    const group = groups.get(decision.entity)
    if (group) group.push(decision)
    else groups.set(decision.entity, [decision])
  }
  return groups
}
