import { randomBytes } from 'node:crypto'
import { chunksOf, debts } from './debts.ts'
import type { Keys } from './keys.ts'
import type { Link } from './link.ts'

/** Fields of one command: a long one would keep others on the same server waiting. */
export const FIELDS = 1_000

/** Takes back what the copy says; what cannot be taken back now is owed, and nothing is told until it is paid. */
export interface Marks {
  /** Resolves with the mark that now stands for the fields; null when it is owed, or nothing stands for them. */
  set(entity: string, fields: readonly string[]): Promise<string | null>
  forgetAll(entity: string): Promise<void>
  /** True when nothing is owed any more. */
  pay(): Promise<boolean>
}

export function isMark(value: string): boolean {
  return value.startsWith('?')
}

export function marks({ client, busy, become, send }: Link, keys: Keys): Marks {
  const owed = debts()
  const set: Marks['set'] = async (entity, fields) => {
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
    // A full server takes no mark, and lets what stands there be removed.
    const removals = client.pipeline()
    for (const some of chunksOf(fields, FIELDS)) removals.hdel(keys.map(entity), ...some)
    return how === 'refused' && (await send(removals, fields.length)) === 'done' ? null : owe()
  }
  const forgetAll: Marks['forgetAll'] = async (entity) => {
    if (!busy() && (await send(client.pipeline().unlink(keys.map(entity)), 1)) === 'done') return
    owed.all(entity)
    become(false)
  }
  return {
    set, forgetAll,
    async pay() {
      const { entities, marks: fields, lost } = owed.take()
      if (lost) {
        await client.del(keys.state).catch(owed.lose)
        return false
      }
      await Promise.all([...entities].map(forgetAll))
      await Promise.all([...fields].map(([entity, some]) => set(entity, [...some])))
      return client.status === 'ready' && owed.none()
    },
  }
}
