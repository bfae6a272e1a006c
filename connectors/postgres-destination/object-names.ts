import { formatLsn, type Lsn } from '../../src/core/lsn.ts'
import type { RowObjects } from '../../src/core/objects/named.ts'
import { Lines } from '../../src/core/out.ts'
import { quoteLiteral } from '../../src/core/quote.ts'
import { fromRaw } from './ledger.ts'
import { emptyStage, type Message, type StageFill } from './stage.ts'

/** What rows name, one line an object (without kind: a row that names nothing), and the objects that a row no longer names. */
const STAGE = 'rekey_objects'
const LEFT = 'rekey_objects_left'
const COLUMNS = 'n, tbl, row_key, kind, src_store, src_key, dst_store, dst_key, stamp, size, fault'

/** The stages of a session that writes jobs. */
export const OBJECT_STAGES = [
  `create temporary table ${STAGE} (n integer, tbl text collate "C", row_key text collate "C", kind text, src_store text collate "C",
     src_key text collate "C", dst_store text collate "C", dst_key text collate "C", stamp text, size bigint, fault text)`,
  `create temporary table ${LEFT} (src_store text collate "C", src_key text collate "C", kind text)`,
]

interface Scope {
  readonly pipeline: string
  readonly fill: StageFill
  readonly lsn: Lsn
}

/**
 * What rows name from here on, as statements: jobs for what is new or has changed, tombstones for what no row names any more. Set by set,
 * whatever the number of rows, and the same however often it is done.
 */
export function objectsMessage(objects: readonly RowObjects[], { pipeline, fill, lsn }: Scope, { sql, copies }: Message): void {
  if (objects.length === 0) return
  const { truncated, rows } = lastOf(objects)
  const lines = linesOf(rows)
  for (const stage of [LEFT, STAGE]) {
    const empty = emptyStage(fill, stage, lines.rows)
    if (empty) sql.push(empty)
  }
  sql.push(`copy ${STAGE} (${COLUMNS}) from stdin`)
  copies.push([lines.view()])
  const p = quoteLiteral(pipeline)
  for (const table of truncated) sql.push(leave(`r.pipeline = ${p} and r.tbl = ${quoteLiteral(table)}`, ''))
  const own = 'r.tbl = s.tbl and r.row_key = s.row_key'
  const still = `exists (select 1 from ${STAGE} x where x.tbl = r.tbl and x.row_key = r.row_key and x.src_store = r.src_store and
    x.src_key = r.src_key and x.kind = r.kind)`
  sql.push(
    leave(`r.pipeline = ${p} and ${own} and not ${still}`, ` using (select distinct tbl, row_key from ${STAGE}) s`),
    want(p, formatLsn(lsn)),
    `insert into rekey.object_row select distinct ${p}, tbl, row_key, src_store, src_key, kind from ${STAGE} where kind is not null on
      conflict do nothing`,
    bury(p),
    buryBelow(p),
  )
}

/** A held row, and the job that it waits for, may meet here: see parked.ts. */
export function wakeHeld(pipeline: string): string {
  return `update rekey.parked p set state = 'retry' where p.pipeline = ${quoteLiteral(pipeline)} and p.sqlstate = 'RK004' and p.state =
    'waiting'
 and p.tbl in (select tbl from ${STAGE}) and exists (select 1 from ${STAGE} s where s.tbl = p.tbl and s.row_key = p.key) and
   ${allVerified('p')}`
}

/** No object that the parked row names is missing. */
export function allVerified(parked: string): string {
  return `not exists (select 1 from rekey.object_row r join rekey.object o using (pipeline, src_store, src_key, kind)
 where r.pipeline = ${parked}.pipeline and r.tbl = ${parked}.tbl and r.row_key = ${parked}.key and o.state <> 'verified')`
}

/** The last word on each row; a truncate takes the word of all that came before it. */
function lastOf(objects: readonly RowObjects[]): { truncated: Set<string>; rows: Iterable<RowObjects> } {
  const truncated = new Set<string>()
  const rows = new Map<string, RowObjects>()
  for (const one of objects) {
    if (one.key !== null) {
      rows.set(`${one.table}\n${one.key}`, one)
      continue
    }
    truncated.add(one.table)
    for (const [name, { table }] of rows) if (table === one.table) rows.delete(name)
  }
  return { truncated, rows: rows.values() }
}

function linesOf(rows: Iterable<RowObjects>): Lines {
  const lines = new Lines()
  let n = 0
  for (const { table, key, names } of rows) {
    const row = [table, fromRaw(key!)]
    if (names.length === 0) lines.line([String(n++), ...row, null, null, null, null, null, null, null, null])
    for (const o of names) {
      lines.line([String(n++), ...row, o.kind, o.store, o.key, o.to, o.newKey, o.stamp === null ? null : fromRaw(o.stamp), o.size === null
        ? null : String(o.size), o.fault])
    }
  }
  return lines
}

function leave(where: string, using: string): string {
  return `with d as (delete from rekey.object_row r${using} where ${where} returning r.src_store, r.src_key, r.kind)
insert into ${LEFT} select distinct src_store, src_key, kind from d`
}

/** Whoever removes the copy right now has a lease: what was copied before that ends could be removed with it. */
export const WHEN_LEFT_ALONE = `case when o.state = 'tombstone' then greatest(o.not_before, clock_timestamp()) else clock_timestamp() end`

/** What a copy that was not reported has left under the key has an ETag that nobody noted: our mark tells it. */
const NOTED_ETAG = `case when o.state = 'verified' then o.dst_etag end`

/**
 * A job once made is done anew only if the row says that the object has changed, or if it had been given up. A key that another object
 * has at the destination is never shared: the later job is parked.
 */
function want(pipeline: string, lsn: string): string {
  return `with s as (select distinct on (src_store, src_key, kind) * from ${STAGE} where kind is not null order by src_store, src_key,
    kind, n desc),
c as (select s.*, s.kind = 'object' and s.dst_key is not null and (row_number() over (partition by s.kind, s.dst_store, s.dst_key order by
  s.n) > 1 or exists (
  select 1 from rekey.object o where o.pipeline = ${pipeline} and o.kind = 'object' and o.dst_store = s.dst_store and o.dst_key =
    s.dst_key and o.state <> 'gone'
    and (o.src_store, o.src_key) <> (s.src_store, s.src_key))) as clash from s)
insert into rekey.object as o (pipeline, kind, src_store, src_key, dst_store, dst_key, stamp, size, tbl, row_lsn, state, error)
select ${pipeline}, kind, src_store, src_key, dst_store, case when not clash then dst_key end, stamp, size, tbl, ${quoteLiteral(lsn)},
  case when clash or fault is not null then 'parked' else 'wanted' end, case when clash then 'CONFLICT' else fault end
from c order by src_store, src_key, kind
on conflict (pipeline, src_store, src_key, kind) do update set
  dst_store = excluded.dst_store, dst_key = coalesce(excluded.dst_key, o.dst_key), stamp = coalesce(excluded.stamp, o.stamp), size =
    coalesce(excluded.size, o.size),
  tbl = excluded.tbl, row_lsn = excluded.row_lsn, listed_to = null, approved = false,
  state = case when excluded.dst_key is null and o.dst_key is not null then 'wanted' else excluded.state end,
  error = case when excluded.dst_key is null and o.dst_key is not null then null else excluded.error end,
  turn = o.turn + 1, attempts = 0, not_before = ${WHEN_LEFT_ALONE}, changed_at = clock_timestamp()
where o.state in ('tombstone', 'gone') or o.stamp is distinct from coalesce(excluded.stamp, o.stamp) or o.dst_key is distinct from
  coalesce(excluded.dst_key, o.dst_key)`
}

function bury(pipeline: string): string {
  return `update rekey.object o set state = 'tombstone', dst_etag = ${NOTED_ETAG}, buried_at = clock_timestamp(), error = null, approved = false, turn = turn + 1,
    attempts = 0, not_before = clock_timestamp(), changed_at = clock_timestamp()
 from (select distinct * from ${LEFT}) l
 where o.pipeline = ${pipeline} and o.src_store = l.src_store and o.src_key = l.src_key and o.kind = l.kind and o.state not in
   ('tombstone', 'gone') and ${unnamed('o')}
 and not exists (select 1 from rekey.object d where d.id = o.parent and d.state not in ('tombstone', 'gone'))`
}

/** Objects that a directory brought along go with it, unless they have a row of their own. */
function buryBelow(pipeline: string): string {
  return `update rekey.object o set state = 'tombstone', dst_etag = ${NOTED_ETAG}, buried_at = clock_timestamp(), error = null, approved = false, turn = o.turn + 1,
    attempts = 0, not_before = clock_timestamp(), changed_at = clock_timestamp()
 from rekey.object d, ${LEFT} l where l.kind = 'directory' and d.pipeline = ${pipeline} and d.src_store = l.src_store and d.src_key =
   l.src_key and d.kind = l.kind
 and d.state = 'tombstone' and o.parent = d.id and o.state not in ('tombstone', 'gone') and ${unnamed('o')}`
}

/** No row names the object by itself. */
export function unnamed(object: string): string {
  return `not exists (select 1 from rekey.object_row r where r.pipeline = ${object}.pipeline and r.src_store = ${object}.src_store and
    r.src_key = ${object}.src_key and r.kind = ${object}.kind)`
}
