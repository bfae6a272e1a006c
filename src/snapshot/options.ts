import type { Lsn } from '../core/lsn.ts'
import type { Mapping } from '../core/mapping.ts'
import type { Blocked, ParkedRow } from '../core/parking.ts'
import type { Checkpoint } from '../core/plan.ts'
import type { Relation } from '../core/relation.ts'
import type { Planner } from '../planning/planner.ts'
import type { CopyChunk, Destination, IdMap, Source } from '../ports.ts'

/** What an initial copy is made of. */
export interface SnapshotOptions {
  readonly source: Source
  readonly mapping: Mapping
  readonly relations: ReadonlyMap<string, Relation>
  readonly chunks: readonly CopyChunk[]
  /** Tables whose rows must be complete before this one's first pass begins, by source table. */
  readonly parents: ReadonlyMap<string, readonly string[]>
  /** One destination connection a worker. */
  readonly writers: readonly Writer[]
  /** Makes a planner for a pass that looks things up through this writer. */
  readonly planner: (pass: 1 | 2, through: Pick<Writer, 'match' | 'idMap'>) => Planner
  readonly checkpoint: Checkpoint
  /** True when chunks may be read under a newer snapshot than the slot's: rows may be there already, parents may come with the stream. */
  readonly converging: boolean
  /** Tables without a key that are copied as of a later moment than the slot's. */
  readonly since: ReadonlyMap<string, Lsn>
  readonly blocked: Blocked
  /** Rows that an earlier process left to the stream. */
  readonly left: readonly ParkedRow[]
  readonly onChunk: (done: { readonly table: string; readonly pass: 1 | 2; readonly rows: number; readonly finished: boolean }) => void
  readonly point: (name: string) => Promise<void>
}

export interface Writer {
  readonly destination: Destination
  readonly match: Destination['match']
  readonly idMap: IdMap
}
