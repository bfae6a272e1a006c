import type { Place } from '../contender.ts'
import type { Phase } from '../phase.ts'
import type { Connect } from '../../test/support/services/connect.ts'
import type { Kafka } from '../../test/support/services/kafka.ts'
import type { Redis } from '../../test/support/services/redis.ts'

export const MOVERS = ['debezium', 'rekey'] as const
export type MoverName = (typeof MOVERS)[number]

/** Everything that both movers use: two databases, one broker, Redis, and one Connect worker that lives through the whole benchmark. */
export interface Field {
  readonly place: Place
  readonly kafka: Kafka
  readonly redis: Redis
  readonly connect: Connect
  readonly pids: { readonly broker: number; readonly redis: number }
}

export interface Trial {
  readonly phase: Phase
  /** Of the topics: new for each run. */
  readonly prefix: string
  /** The destination database of this run. */
  readonly database: string
  /** Settings for single small transactions instead of bulk. */
  readonly prompt: boolean
}

/** One half that is under way. */
export interface Half {
  /** Why it can never get there; null while it works. */
  failure(): Promise<string | null>
  stop(): Promise<void>
  /** Its processes by name. */
  readonly pids: Readonly<Record<string, number>>
}

export interface Mover {
  readonly name: MoverName
  /** Whose slot and template of a phase it uses. */
  readonly start: 'native' | 'rekey'
  /** Topics of a run, which are made before it. */
  topics(prefix: string): readonly string[]
  /** From the slot to Kafka. */
  capture(trial: Trial): Promise<Half>
  /** From Kafka to the destination; resolves when it says that it runs. */
  deliver(trial: Trial): Promise<Half>
}
