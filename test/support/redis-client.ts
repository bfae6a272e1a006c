import { Redis } from 'ioredis'
import type { IdMapEvents } from '../../src/meter.ts'

/** A person at the server of a test. */
export async function redisClient(url: string): Promise<Redis> {
  const client = new Redis(url, { lazyConnect: true, maxRetriesPerRequest: 20 })
  client.on('error', () => {})
  await client.connect()
  return client
}

/** What was told of an id map, added up. */
export interface Counts {
  readonly events: IdMapEvents
  readonly known: Record<'memory' | 'redis' | 'ledger', number>
  readonly asked: Record<'memory' | 'redis' | 'ledger', number>
  conflicts: number
  rebuilds: number
  /** How often it ceased to answer, and whether it answers. */
  silences: number
  answers: boolean
}

export function counts(): Counts {
  const zero = (): Counts['known'] => ({ memory: 0, redis: 0, ledger: 0 })
  const all: Counts = {
    known: zero(), asked: zero(), conflicts: 0, rebuilds: 0, silences: 0, answers: false,
    events: {
      looked(tier, asked, known) {
        all.asked[tier] += asked
        all.known[tier] += known
      },
      corrected: (_entity, keys) => void (all.conflicts += keys),
      refilled: () => void all.rebuilds++,
      copyAnswers(yes) {
        all.answers = yes
        if (!yes) all.silences++
      },
    },
  }
  return all
}
