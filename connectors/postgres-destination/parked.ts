import { block, type Blocked } from '../../src/core/parking.ts'
import type { Query } from './lookup.ts'

/** Keys that wait for a decision, for the engine: what comes later for them waits behind. */
export async function openParked(query: Query, pipeline: string): Promise<Blocked> {
  const blocked: Blocked = new Map()
  const rows = await query(`select tbl, key from rekey.parked where pipeline = $1 and state in ('waiting', 'retry')`, [pipeline])
  for (const [table, key] of rows) block(blocked, table!, Buffer.from(key!, 'utf8').toString('latin1'))
  return blocked
}
