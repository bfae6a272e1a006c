import type { DestinationSample } from '../../src/core/samples.ts'
import type { Query } from './lookup.ts'

/** What waits and how old the checkpoint is. Rejects as the query does, and when our tables are not there. */
export async function measureDestination(query: Query, pipeline: string): Promise<DestinationSample> {
  const [[parked, age]] = await query(
    `select (select count(*) from rekey.parked where pipeline = $1 and state in ('waiting', 'retry'))::text,
       (select extract(epoch from clock_timestamp() - updated_at) from rekey.checkpoint where pipeline = $1)::text`, [pipeline])
  return { parkedRows: Number(parked), checkpointAgeSeconds: age === null ? null : Math.max(0, Number(age)) }
}
