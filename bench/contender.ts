import type { Client } from 'pg'
import type { Server } from '../test/support/postgres.ts'

export const CONTENDERS = ['native', 'rekey'] as const
export type ContenderName = (typeof CONTENDERS)[number]

/** The two servers and a folder for files of this benchmark. */
export interface Place {
  readonly source: Server
  readonly destination: Server
  readonly folder: string
}

/** What a contender's runs of one phase begin with. */
export interface Start {
  /** Destination database: each run gets a copy. */
  readonly template: string
  /**
   * The slot that a run reads, copied for it from `master`, which is at the point where the template stands. Without a master, the
   * contender makes the slot. Null: the clock starts with the command, not with the reading of a slot.
   */
  readonly slot: { readonly master: string | null; readonly name: string } | null
}

/** One database at the source, whose changes are replayed, or whose rows are copied. */
export interface Subject {
  /** stream: changes from a slot; copy: the initial copy of all rows. */
  readonly kind: 'stream' | 'copy'
  readonly phase: string
  /** Source database. */
  readonly database: string
}

export interface Trial {
  readonly subject: Subject
  readonly start: Start
  /** Destination database of this run alone. */
  readonly database: string
}

export interface Running {
  /** Processes outside the servers. */
  readonly pids: readonly number[]
  /** True when all rows of the initial copy are visible. Only for copies; `probe` is connected to the run's database. */
  copied(probe: Client): Promise<boolean>
  /** Why it can never get there; null while it works. */
  failure(): string | null
  /** Ends everything of this run but the databases; the slot is free afterwards. */
  stop(): Promise<void>
}

export interface Contender {
  readonly name: ContenderName
  /** Called before the changes of a phase are written at the source. */
  prepare(subject: Subject): Promise<Start>
  start(trial: Trial): Promise<Running>
  /** Once for each run, after its database is gone: removes what it left at the source. */
  clean(subject: Subject): Promise<void>
}
