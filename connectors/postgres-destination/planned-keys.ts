import type { NamedObject } from '../../src/core/objects/named.ts'
import type { PlannedKeys } from '../../src/ports.ts'
import type { Query } from './lookup.ts'

const STAGE = 'pg_temp.rekey_planned_keys'

/**
 * New keys in a temporary table of the session, so that any number of objects is compared by one statement. `pipeline`: where jobs of an
 * earlier run are there, whose keys count, too; null where none has run.
 */
export function plannedKeys(query: Query, pipeline: string | null): PlannedKeys {
  let made = false
  const make = async (): Promise<void> => {
    await query(`drop table if exists ${STAGE}`, [])
    await query(`create temporary table rekey_planned_keys (src_store text collate "C", src_key text collate "C",
      dst_store text collate "C", dst_key text collate "C", primary key (src_store, src_key))`, [])
    made = true
  }
  const known = pipeline === null ? '' : ` or exists (select 1 from rekey.object o where o.pipeline = $1 and o.kind = 'object'
    and o.dst_store = p.dst_store and o.dst_key = p.dst_key and o.state <> 'gone' and (o.src_store, o.src_key) <> (p.src_store, p.src_key))`
  return {
    async add(objects: readonly NamedObject[]) {
      if (!made) await make()
      const keys = objects.map(({ store, key, to, newKey }) => ({ store, key, to, newKey }))
      await query(`insert into ${STAGE} select store, key, "to", "newKey" from json_to_recordset($1) j(store text, key text, "to" text,
        "newKey" text) on conflict do nothing`, [JSON.stringify(keys)])
    },
    async clashes(samples) {
      if (!made) return { objects: 0, samples: [] }
      const rows = await query(
        `with c as (select p.*, row_number() over (partition by p.dst_store, p.dst_key order by p.src_store, p.src_key) > 1 as later,
             count(*) over (partition by p.dst_store, p.dst_key) > 1 as shared, false${known} as taken from ${STAGE} p)
         select count(*) filter (where later or taken) over ()::text, src_key from c where shared or taken
         order by dst_store, dst_key, src_store, src_key limit ${samples}`, pipeline === null ? [] : [pipeline])
      await query(`drop table ${STAGE}`, [])
      return { objects: Number(rows[0]?.[0] ?? 0), samples: rows.map(([, key]) => key!) }
    },
  }
}
