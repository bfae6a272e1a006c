import type { Meaning } from '../../src/core/meaning.ts'
import type { Query } from './lookup.ts'

/** What the mapping of a run meant when it last started; null when there is no run. */
export async function rememberedMeaning(query: Query, pipeline: string): Promise<Meaning | null> {
  if ((await query("select (to_regclass('rekey.mapping') is not null)::text", []))[0][0] !== 'true') return null
  const [row] = await query('select meaning::text from rekey.mapping where pipeline = $1', [pipeline])
  return row ? JSON.parse(row[0]!) as Meaning : null
}

/** From now on this is the mapping of the run. False when it is no longer what it was: another process has changed it. */
export async function rememberMeaning(
  query: Query, pipeline: string, { was, meaning, digest }: { readonly was: Meaning; readonly meaning: Meaning; readonly digest: string },
): Promise<boolean> {
  const rows = await query(
    `with kept as (update rekey.mapping set meaning = $3 where pipeline = $1 and meaning::text = $2 returning pipeline)
     update rekey.checkpoint c set mapping_digest = $4 from kept where c.pipeline = kept.pipeline returning '1'`,
    [pipeline, JSON.stringify(was), JSON.stringify(meaning), digest],
  )
  return rows.length === 1
}
