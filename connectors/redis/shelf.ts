import type { ChainableCommander, Redis } from 'ioredis'
import type { PairShelf } from '../../src/ports.ts'
import { chunksOf } from './debts.ts'
import type { Keys } from './keys.ts'
import type { Sent } from './link.ts'
import { FIELDS } from './marks.ts'

export interface ShelfOptions {
  readonly client: Redis
  readonly keys: Keys
  readonly field: (raw: string) => string
  readonly busy: () => boolean
  readonly send: (commands: ChainableCommander, fields: number) => Promise<Sent>
}

/** One hash an entity, old key -> id. Whether it is complete stands with the state of the copy, and goes with it. */
export function pairShelf({ client, keys, field, busy, send }: ShelfOptions): PairShelf {
  let lacking = false
  const lacks = (): void => {
    lacking = true
  }
  return {
    lacks,
    put(entity, pairs) {
      if (busy()) return lacks()
      const commands = client.pipeline().sadd(keys.hashes, `pairs:${entity}`)
      for (const some of chunksOf(pairs, FIELDS)) commands.hset(keys.pairs(entity), ...some.flatMap(([key, id]) => [field(key), field(id)]))
      void send(commands, pairs.length).then((how) => how !== 'done' && lacks())
    },
    async complete() {
      if (busy()) return null
      return client.hget(keys.state, 'pairs').then((said) => said === '1' && !lacking, () => null)
    },
    async completedBy(work) {
      lacking = false
      const whole = await work()
      if (whole && !lacking && !busy()) await client.hset(keys.state, { pairs: '1' }).catch(lacks)
    },
  }
}
