import type { KnownLeaves } from '../../src/core/partitions.ts'
import type { Query } from './lookup.ts'

/** Partitions of carried tables that the run has seen at the source; null when it has not looked yet. */
export async function knownLeaves(query: Query, pipeline: string): Promise<KnownLeaves | null> {
  if ((await query("select (to_regclass('rekey.partition') is not null)::text", []))[0][0] !== 'true') return null
  const [row] = await query('select known::text from rekey.partition where pipeline = $1', [pipeline])
  return row?.[0] ? JSON.parse(row[0]) as KnownLeaves : null
}

export async function rememberLeaves(query: Query, pipeline: string, known: KnownLeaves): Promise<void> {
  const sql = 'insert into rekey.partition values ($1, $2) on conflict (pipeline) do update set known = excluded.known'
  await query(sql, [pipeline, JSON.stringify(known)])
}
