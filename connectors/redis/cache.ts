import { randomBytes } from 'node:crypto'
import type { ChainableCommander } from 'ioredis'
import { ledgerChanges } from '../../src/core/ledger.ts'
import type { Decision } from '../../src/core/plan.ts'
import type { Cached, CacheUpkeep, IdCache, PairShelf } from '../../src/ports.ts'
import { openClient } from './client.ts'
import { chunksOf, debts } from './debts.ts'
import { entryCodec } from './entry.ts'
import { pairShelf } from './shelf.ts'
import { fillerName, goOnFilling, keysOf, setFull, stateOf, stopFilling } from './keys.ts'

export interface RedisCacheOptions {
  readonly url: string
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

/** Fields of one command: a long one would keep others on the same server waiting. */
const FIELDS = 1_000
/** Fields that are on their way at most; what comes beyond them is written later or not at all. */
const MOST_WRITING = 100_000

/** By field: what was seen there (empty: nothing), and the value that takes just its place. One call for many: they cost a client by the call. */
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
  const client = openClient({ url: options.url, timeoutMs: options.timeoutMs, name: `rekey_${options.pipeline}` })
  const codec = entryCodec(options.key)
  const keys = keysOf(options)
  const asking = { keys, generation: options.generation, filler: options.fills === false ? null : fillerName() }
  const owed = debts()
  let sure = false
  let writing = 0
  let last: Promise<unknown> = Promise.resolve()
  let asked: Promise<'full' | 'empty' | 'away'> = Promise.resolve('away')

  const become = (now: boolean): void => {
    if (sure === now) return
    sure = now
    options.onSure?.(now)
  }
  const busy = (): boolean => client.status !== 'ready' || writing > MOST_WRITING
  /** An answer that did not come leaves open what was written, and others wait behind it: a new connection, and state() asks again. */
  const failed = (error: Error | null): void => {
    become(false)
    if (error?.name !== 'ReplyError' && client.status === 'ready') client.disconnect(true)
  }
  const send = async (commands: ChainableCommander, fields: number): Promise<'done' | 'refused' | 'lost'> => {
    writing += fields
    const done = commands.exec().then((results) => results?.find(([error]) => error !== null)?.[0] ?? null, (error: Error) => error)
    last = done
    const error = await done
    writing -= fields
    if (error === null) return 'done'
    // A server that is full refuses entries, and answers all the same.
    if (error.name === 'ReplyError') return 'refused'
    failed(error)
    return 'lost'
  }
  const read = async (entity: string, raw: readonly string[]): Promise<(string | null)[] | null> => {
    if (client.status !== 'ready') return null
    const parts = chunksOf(raw, FIELDS).map((some) => client.hmget(keys.map(entity), ...some.map((key) => codec.field(key))))
    return Promise.all(parts).then((values) => values.flat(), (error: Error) => {
      failed(error)
      return null
    })
  }
  /** Resolves with the mark that now stands for the fields; null when it is owed, or nothing stands for them. */
  const mark = async (entity: string, fields: readonly string[]): Promise<string | null> => {
    const token = `?${randomBytes(9).toString('base64url')}`
    const owe = (): null => {
      owed.mark(entity, fields)
      become(false)
      return null
    }
    if (busy()) return owe()
    const commands = client.pipeline().sadd(keys.hashes, `map:${entity}`)
    for (const some of chunksOf(fields, FIELDS)) commands.hset(keys.map(entity), ...some.flatMap((field) => [field, token]))
    const how = await send(commands, fields.length)
    if (how === 'done') return token
    const removals = client.pipeline()
    for (const some of chunksOf(fields, FIELDS)) removals.hdel(keys.map(entity), ...some)
    return how === 'refused' && (await send(removals, fields.length)) === 'done' ? null : owe()
  }
  const forgetAll = async (entity: string): Promise<void> => {
    if (!busy() && (await send(client.pipeline().unlink(keys.map(entity)), 1)) === 'done') return
    owed.all(entity)
    become(false)
  }
  /** What could not be taken back when it should have been. */
  const pay = async (): Promise<boolean> => {
    const { entities, marks, lost } = owed.take()
    if (lost) {
      await client.del(keys.state).catch(owed.lose)
      return false
    }
    await Promise.all([...entities].map(forgetAll))
    await Promise.all([...marks].map(([entity, fields]) => mark(entity, [...fields])))
    return client.status === 'ready' && owed.none()
  }
  /** Puts entries where nothing stands, or just what was seen there, by key. */
  const replace = (entries: readonly Decision[], seen: ReadonlyMap<string, string>): ReturnType<typeof send> => {
    const commands = client.pipeline()
    for (const [entity, some] of grouped(entries)) {
      commands.sadd(keys.hashes, `map:${entity}`)
      for (const part of chunksOf(some, FIELDS)) {
        commands.eval(REPLACE, 1, keys.map(entity), ...part.flatMap((d) => [codec.field(d.key), seen.get(d.key) ?? '', codec.encode(d)]))
      }
    }
    return send(commands, entries.length)
  }
  const learner = (seen: ReadonlyMap<string, string>): Cached['learn'] => (learned) => {
    const entries = [...learned].slice(0, MOST_WRITING)
    if (!busy() && entries.length > 0) void replace(entries, seen)
  }
  const ask = async (): Promise<'full' | 'empty' | 'away'> => {
    if (client.status !== 'ready') return 'away'
    const found = await stateOf(client, asking).catch((error: Error) => {
      failed(error)
      return 'away' as const
    })
    if (found !== 'full') become(false)
    else if (!sure && !(await pay())) return 'away'
    else become(true)
    return found
  }
  const cache: RedisCache = {
    async find(entity, raw) {
      const values = sure && raw.length > 0 ? await read(entity, raw) : null
      if (values === null || !sure) return UNKNOWN
      const entries = new Map<string, Decision>()
      const seen = new Map<string, string>()
      raw.forEach((key, i) => {
        const value = values[i]
        if (value === null) return
        const decision = isMark(value) ? null : codec.decode(entity, key, value)
        if (decision) return void entries.set(key, decision)
        seen.set(key, value)
        if (!isMark(value)) options.onForeign?.(entity)
      })
      return { entries, learn: learner(seen) }
    },
    keep(decisions) {
      const { truncated, added, replaced, gone } = ledgerChanges(decisions)
      for (const entity of truncated) void forgetAll(entity)
      for (const [entity, raw] of gone) void mark(entity, raw.map(codec.field))
      for (const [entity, some] of grouped(replaced)) void mark(entity, some.map((d) => codec.field(d.key)))
      if (added.length === 0 || busy()) return
      const commands = client.pipeline()
      for (const [entity, some] of grouped(added)) {
        commands.sadd(keys.hashes, `map:${entity}`)
        for (const part of chunksOf(some, FIELDS)) {
          commands.hset(keys.map(entity), ...part.flatMap((d) => [codec.field(d.key), codec.encode(d)]))
        }
      }
      void send(commands, added.length)
    },
    async drop(entity, raw) {
      const token = await mark(entity, raw.map(codec.field))
      return token === null ? UNKNOWN : { learn: learner(new Map(raw.map((key) => [key, token]))) }
    },
    // One question at a time: the answer to an older one must not undo what a newer one did.
    state: () => (asked = asked.then(ask)),
    async compare(entries) {
      const differing: Decision[] = []
      let added = 0
      if (!sure) void goOnFilling(client, keys).catch(() => {})
      for (const [entity, some] of grouped(entries)) {
        const values = await read(entity, some.map((d) => d.key))
        if (values === null) return null
        const missing = some.filter((_, i) => values[i] === null)
        differing.push(...some.filter((decision, i) => {
          const value = values[i]
          return value !== null && !isMark(value) && value !== codec.encode(decision)
        }))
        if (missing.length > 0 && (await replace(missing, new Map())) === 'lost') return null
        added += missing.length
      }
      return { added, differing }
    },
    async filled() {
      await setFull(client, asking).then(() => cache.state(), failed)
    },
    shelf: pairShelf({ client, keys, field: codec.field, busy: () => !sure || busy(), send }),
    flushed: () => last.then(() => {}),
    async close() {
      await last
      if (client.status === 'ready') await stopFilling(client, asking).catch(() => {})
      client.disconnect()
    },
  }
  client.on('ready', () => void cache.state())
  client.on('close', () => become(false))
  client.connect().catch(() => {})
  return cache
}

function isMark(value: string): boolean {
  return value.startsWith('?')
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
