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

/** The topic that the pipeline's changes go through is this one, and no other of its name. */
export async function noteTopicId(query: Query, pipeline: string, { topic, id }: { readonly topic: string; readonly id: string }): Promise<void> {
  await query('insert into rekey.topic_id values ($1, $2, $3) on conflict (pipeline) do update set topic = excluded.topic, id = excluded.id', [pipeline, topic, id])
}

/** Null where none was noted, and where there are no tables of ours. */
export async function notedTopic(query: Query, pipeline: string): Promise<{ readonly name: string; readonly id: string } | null> {
  if ((await query("select (to_regclass('rekey.topic_id') is not null)::text", []))[0][0] !== 'true') return null
  const [row] = await query('select topic, id from rekey.topic_id where pipeline = $1', [pipeline])
  return row ? { name: row[0]!, id: row[1]! } : null
}

/** Of this topic; null where none was noted. */
export async function notedTopicId(query: Query, pipeline: string, topic: string): Promise<string | null> {
  const noted = await notedTopic(query, pipeline)
  return noted?.name === topic ? noted.id : null
}
