import type { DestinationSample } from '../../src/core/samples.ts'
import type { Query } from './lookup.ts'

/** Entries of the ledger by the name under which they stand there. Reads all of them: not to be asked often. */
export async function countLedger(query: Query, pipeline: string): Promise<Map<string, number>> {
  const rows = await query('select entity, count(*)::text from rekey.id_map where pipeline = $1 group by entity', [pipeline])
  return new Map(rows.map(([entity, n]) => [entity!, Number(n)]))
}

/** What waits and how old the checkpoint is. Rejects as the query does, and when our tables are not there. */
export async function measureDestination(query: Query, pipeline: string): Promise<DestinationSample> {
  const [[parked, age]] = await query(
    `select (select count(*) from rekey.parked where pipeline = $1 and state in ('waiting', 'retry'))::text,
       (select extract(epoch from clock_timestamp() - updated_at) from rekey.checkpoint where pipeline = $1)::text`, [pipeline])
  return { parkedRows: Number(parked), checkpointAgeSeconds: age === null ? null : Math.max(0, Number(age)) }
}
