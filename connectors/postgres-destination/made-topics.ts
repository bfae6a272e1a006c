import type { Query } from './lookup.ts'

/** These topics were made by the pipeline: whoever removes it may remove them. */
export async function noteTopics(query: Query, pipeline: string, topics: readonly string[]): Promise<void> {
  if (topics.length === 0) return
  await query('insert into rekey.topic (pipeline, topic) select $1, unnest($2::text[]) on conflict do nothing', [pipeline, [...topics]])
}

/** Empty where there are no tables of ours. */
export async function notedTopics(query: Query, pipeline: string): Promise<string[]> {
  if ((await query("select (to_regclass('rekey.topic') is not null)::text", []))[0][0] !== 'true') return []
  const rows = await query('select topic from rekey.topic where pipeline = $1 order by topic', [pipeline])
  return rows.map(([topic]) => topic!)
}
