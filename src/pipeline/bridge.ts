import { postgresDestination, type PostgresDestination } from '../../connectors/postgres-destination/destination.ts'
import type { CreatedSlot } from '../../connectors/postgres-source/slot.ts'
import type { RedisCache } from '../../connectors/redis/cache.ts'
import type { Point } from '../failpoint.ts'
import type { Meter } from '../meter.ts'
import type { RunEvents } from '../progress.ts'
import type { Opened } from './open.ts'

/** A copy of the ledger that is being kept right. */
export interface LedgerCopy {
  readonly cache: RedisCache
  close(): Promise<void>
}

/** What the parts of one run share. */
export interface Bridge {
  readonly opened: Opened
  readonly main: PostgresDestination
  readonly meter: Meter
  readonly events: RunEvents
  readonly point: Point
  readonly options: { readonly takeover: boolean; readonly conflicts?: string }
  /** What is asked before the ledger, once the ledger is there. */
  copy: LedgerCopy | null
  /** The slot that this run made, while its exported snapshot is held open. */
  slot: CreatedSlot | null
}

/** A connection to the destination; `join` makes it one more of the writer that holds the pipeline. */
export function destinationOf({ config, mapping, catalogs }: Opened,
  more: { takeover: boolean; point: Bridge['point']; join?: () => string }): PostgresDestination {
  return postgresDestination({
    url: config.destination.url, pipeline: config.pipeline, mapping, catalog: catalogs.destination, checks: config.checks,
    searchPath: config.destination.searchPath, lockTimeoutMs: 10_000, ...more,
  })
}

/** How many decisions fit: about 400 bytes each, in two generations. */
export function decisionsIn(bytes: number): number {
  return Math.max(1_000, Math.floor(bytes / 800))
}
