import type { BegunUpload } from '../../src/core/objects/copy.ts'
import type { NamedObject } from '../../src/core/objects/named.ts'
import { noCounts, type JobResult, type JobState, type ObjectJob } from '../../src/core/objects/job.ts'
import type { JobNotes, ListedJobs, ObjectJobs } from '../../src/ports.ts'
import { fromRaw } from './ledger.ts'
import type { Query } from './lookup.ts'
import { allVerified, unnamed, WHEN_LEFT_ALONE } from './object-names.ts'

/**
 * The jobs as workers see them. Every change of a job raises its turn; a report that names another turn changes nothing. `record` takes and
 * reports jobs, where that is not to wait for the other questions: what it has committed may be lost with the server, for such a job is done
 * again and finds its copy.
 */
export function objectJobs(query: Query, pipeline: string, record = query): ObjectJobs {
  const take = async (where: string, most: number, leaseMs: number, more: readonly unknown[] = []): Promise<ObjectJob[]> => {
    const rows = await record(
      `with due as (select id from rekey.object where pipeline = $1 and ${where} and not_before <= clock_timestamp()
         order by not_before limit $2 for update skip locked)
       update rekey.object o set state = case when o.state = 'wanted' then 'copying' else o.state end, turn = turn + 1, attempts =
         attempts + 1,
         not_before = clock_timestamp() + make_interval(secs => $3)
       from due where o.id = due.id returning ${COLUMNS}`, [pipeline, most, leaseMs / 1_000, ...more])
    return rows.map(jobOf)
  }
  /** Whoever recorded that an object is verified may have ended, or lost the connection, before the rows that wait for it were told. */
  let woken = false
  return {
    async take({ most, leaseMs }) {
      if (!woken) await record(WAKE_ALL, [pipeline])
      woken = true
      return take("state in ('wanted', 'copying', 'copied')", most, leaseMs)
    },
    takeLeaving: ({ most, leaseMs, graceMs, approved }) => take(
      "state = 'tombstone' and buried_at + make_interval(secs => $4) <= clock_timestamp() and (approved or not $5)", most, leaseMs,
        [graceMs / 1_000, approved]),
    async renew(jobs, leaseMs) {
      await record(
        `update rekey.object o set not_before = clock_timestamp() + make_interval(secs => $3)
           from json_to_recordset($2) j(id bigint, turn bigint) where o.pipeline = $1 and o.id = j.id and o.turn = j.turn`,
        [pipeline, JSON.stringify(jobs.map(({ id, turn }) => ({ id, turn }))), leaseMs / 1_000])
    },
    async settle(results) {
      try {
        const settled = await record(SETTLE, [pipeline, JSON.stringify(results.map(recordOf))])
        const verified = settled.filter(([, state]) => state === 'verified').map(([id]) => id!)
        // A statement of its own: it must see rows that were parked while the first one waited for the job.
        if (verified.length > 0) await record(WAKE, [pipeline, verified])
      } catch (error) {
        woken = false
        throw error
      }
    },
    listed: listedJobs(query, pipeline),
    notes: jobNotes(query, pipeline),
  }
}

/** Since changed_at, which a failed try does not change. */
const PENDING: readonly JobState[] = ['wanted', 'copying', 'copied']

const COLUMNS = `o.id::text, o.turn::text, o.kind, o.state, o.src_store, o.src_key, o.dst_store, o.dst_key, o.attempts::text,
  o.size::text, o.src_etag, o.dst_etag,
  o.upload::text, o.listed_to`

function jobOf(row: readonly (string | null)[]): ObjectJob {
  const [id, turn, kind, state, store, key, to, newKey, attempts, size, sourceEtag, etag, upload, listedTo] = row
  return {
    id: id!, turn: turn!, kind: kind as ObjectJob['kind'], state: state as JobState, store: store!, key: key!, to: to!, newKey, sourceEtag,
      etag, listedTo,
    attempts: Number(attempts), size: size === null ? null : Number(size), begun: upload === null ? null
      : JSON.parse(upload) as BegunUpload,
  }
}

function recordOf({ job, result }: { job: ObjectJob; result: JobResult }): object {
  const copied = result.state === 'verified' ? result.copied : null
  const { checksum } = copied ?? {}
  return {
    id: job.id, turn: job.turn, state: result.state, error: 'error' in result ? result.error : null, after: 'afterMs' in result
      ? result.afterMs / 1_000 : 0,
    upload: ('begun' in result ? result.begun : null) ?? null,
    ...(copied && {
      size: copied.source.size, src_etag: copied.source.etag, src_version: copied.source.version, dst_etag: copied.destination.etag,
      dst_version: copied.destination.version, evidence: copied.evidence, lost: copied.lost.length > 0 ? copied.lost : null,
      checksum_alg: checksum ? (checksum.parts ? `sha256-${checksum.parts.count}x${checksum.parts.partSize}` : 'sha256') : null,
        checksum: checksum?.sha256 ?? null,
    }),
  }
}

const SETTLE = `update rekey.object o set state = r.state, error = r.error, upload = r.upload, turn = o.turn + 1,
  changed_at = case when r.state in ('wanted', 'copied') then o.changed_at else clock_timestamp() end,
  not_before = clock_timestamp() + make_interval(secs => r.after), attempts = case when r.state in ('verified', 'gone', 'parked') then 0
    else o.attempts end,
  size = coalesce(r.size, o.size), src_etag = coalesce(r.src_etag, o.src_etag), src_version = coalesce(r.src_version, o.src_version),
  dst_etag = coalesce(r.dst_etag, o.dst_etag), dst_version = coalesce(r.dst_version, o.dst_version), evidence = coalesce(r.evidence,
    o.evidence),
  lost = case when r.evidence is null then o.lost else r.lost end, checksum_alg = case when r.evidence is null then o.checksum_alg else
    r.checksum_alg end,
  checksum = case when r.evidence is null then o.checksum else r.checksum end
from json_to_recordset($2) r(id bigint, turn bigint, state text, error text, after double precision, upload json, size bigint, src_etag
  text, src_version text,
  dst_etag text, dst_version text, evidence smallint, lost json, checksum_alg text, checksum text)
where o.pipeline = $1 and o.id = r.id and o.turn = r.turn returning o.id::text, o.state`

const WAKE = `update rekey.parked p set state = 'retry' from rekey.object o join rekey.object_row r using (pipeline, src_store, src_key,
  kind)
where o.pipeline = $1 and o.id = any ($2::bigint[]) and p.pipeline = $1 and p.tbl = r.tbl and p.key = r.row_key and p.state = 'waiting'
  and p.sqlstate = 'RK004'
  and ${allVerified('p')}`

const WAKE_ALL = `update rekey.parked p set state = 'retry' where p.pipeline = $1 and p.state = 'waiting' and p.sqlstate = 'RK004' and ${allVerified('p')}`

/** For each object, whether it is verified under the key, and in the version, that the row says. */
export async function areVerified(query: Query, pipeline: string, objects: readonly NamedObject[]): Promise<boolean[]> {
  const asked = objects.map((o, n) => ({ n, kind: o.kind, store: o.store, key: o.key, new_key: o.newKey, stamp: o.stamp === null ? null
    : fromRaw(o.stamp) }))
  const rows = await query(
    `select a.n::text from json_to_recordset($2) a(n integer, kind text, store text, key text, new_key text, stamp text)
       join rekey.object o on o.pipeline = $1 and o.src_store = a.store and o.src_key = a.key and o.kind = a.kind
      where o.state = 'verified' and o.dst_key = a.new_key and (a.stamp is null or a.stamp is not distinct from
        o.stamp)`, [pipeline, JSON.stringify(asked)])
  const verified = new Set(rows.map(([n]) => Number(n)))
  return objects.map((_, n) => verified.has(n))
}

function listedJobs(query: Query, pipeline: string): ListedJobs {
  return {
    async sweep(prefixes, everyMs) {
      await query(
        `insert into rekey.object as o (pipeline, kind, src_store, src_key, dst_store, row_lsn, state)
           select $1, 'sweep', p.store, p.prefix, p."to", '0/0', 'wanted' from json_to_recordset($2) p(store text, prefix text, "to" text)
         on conflict (pipeline, src_store, src_key, kind) do update set state = 'wanted', listed_to = null, turn = o.turn + 1, attempts =
           0, error = null,
           not_before = clock_timestamp()
         where o.state not in ('wanted', 'copying') and o.changed_at + make_interval(secs => $3) <= clock_timestamp()`,
        [pipeline, JSON.stringify(prefixes), everyMs / 1_000])
    },
    async found(job, page) {
      const found = JSON.stringify(page.map((one) => ({ ...one, above: above(one.key) })))
      await query(JOIN, [pipeline, found, job.store])
      const rows = await query(job.kind === 'directory' ? foundBy('directory') : foundBy('sweep'), [pipeline, found, job.id, job.turn,
        page.at(-1)!.key, job.store, job.to])
      return rows.length > 0
    },
    async isWhole({ id }) {
      const [[open]] = await query(
        // What went before it could be copied is not in it any more, as its store has said each time; a row that names it wants it all the same.
        `select exists (select 1 from rekey.object o where parent = $1 and kind = 'object' and state not in ('verified', 'gone', 'tombstone')
           and not (state = 'parked' and error = 'OBJECT_MISSING' and ${unnamed('o')}))::text`, [id])
      return open !== 'true'
    },
  }
}

function jobNotes(query: Query, pipeline: string): JobNotes {
  return {
    async give({ id, turn }, newKey) {
      const taken = await query(
        `update rekey.object o set dst_key = $4 where pipeline = $1 and id = $2 and turn = $3 and not exists (select 1 from rekey.object x
           where x.pipeline = o.pipeline and x.kind = 'object' and x.dst_store = o.dst_store and x.dst_key = $4 and x.state <> 'gone' and
             x.id <> o.id) returning '1'`,
        [pipeline, id, turn, newKey])
      return taken.length > 0
    },
    async begun({ id, turn }, upload) {
      await query('update rekey.object set upload = $4 where pipeline = $1 and id = $2 and turn = $3',
        [pipeline, id, turn, upload === null ? null : JSON.stringify(upload)])
    },
    async withoutUpload(store, keys) {
      const rows = await query(
        `select dst_key from rekey.object where pipeline = $1 and dst_store = $2 and kind = 'object' and dst_key = any ($3::text[] collate
          "C") and upload is null`,
        [pipeline, store, keys])
      return new Set(rows.map(([key]) => key!))
    },
    async counts(graceMs) {
      const rows = await query(
        `select state, count(*)::text, coalesce(sum(size), 0)::text, (count(*) filter (where state = 'tombstone' and not approved
             and buried_at + make_interval(secs => $2) <= clock_timestamp()))::text,
             extract(epoch from clock_timestamp() - min(changed_at))::text
           from rekey.object where pipeline = $1 and kind <> 'sweep' group by state`, [pipeline, graceMs / 1_000])
      const counts = noCounts()
      for (const [state, objects, bytes] of rows) counts[state as JobState] = { objects: Number(objects), bytes: Number(bytes) }
      const ages = rows.filter(([state]) => PENDING.includes(state as JobState)).map((row) => Number(row[4]))
      return { counts, due: rows.reduce((sum, row) => sum + Number(row[3]), 0), oldestPendingSeconds: Math.max(0, ...ages) }
    },
  }
}

/** What a directory that holds this object may be called, in rows. */
function above(key: string): string[] {
  const found: string[] = []
  for (let end = key.indexOf('/'); end >= 0; end = key.indexOf('/', end + 1)) found.push(key.slice(0, end + 1), ...(end > 0 ? [key.slice(0, end)] : []))
  return found
}

/** The innermost directory that a row names and that holds what a listing has found. */
const HOLDER = `(select d.id from rekey.object d where d.pipeline = $1 and d.src_store = STORE and d.kind = 'directory' and d.state not in
  ('tombstone', 'gone') and d.src_key in (select json_array_elements_text(f.above)) order by length(d.src_key) desc limit 1)`

/** Objects that are known go with the directory that holds them, too, whoever found them first, unless they have rows of their own. */
const JOIN = `with f as (select f.key, ${HOLDER.replace('STORE', '$3')} as parent from json_to_recordset($2) f(key text, above json))
update rekey.object o set parent = f.parent from f where o.pipeline = $1 and o.src_store = $3 and o.kind = 'object' and o.src_key = f.key and
  o.parent is null and f.parent is not null and ${unnamed('o')}`

/**
 * What a page shows becomes jobs, or has known ones done again: an object that has another ETag than the one that was copied, and one that
 * was missing or could not be named. A directory also takes back what had been buried with it; a sweep does not, because there a row has gone.
 */
function foundBy(kind: 'directory' | 'sweep'): string {
  const parent = kind === 'directory' ? '$3::bigint' : HOLDER.replace('STORE', '$6')
  const back = kind === 'directory' ? " or o.state in ('tombstone', 'gone')" : ''
  return `with mine as (update rekey.object set listed_to = $5 where pipeline = $1 and id = $3::bigint and turn = $4::bigint returning id),
f as (select f.*, row_number() over () as n from json_to_recordset($2) f(key text, "newKey" text, fault text, size bigint, etag text,
  above json)),
c as (select f.*, f."newKey" is not null and (row_number() over (partition by f."newKey" order by f.n) > 1 or exists (select 1 from
  rekey.object o
  where o.pipeline = $1 and o.kind = 'object' and o.dst_store = $7 and o.dst_key = f."newKey" and o.state <> 'gone' and (o.src_store,
    o.src_key) <> ($6, f.key))) as clash from f),
w as (insert into rekey.object as o (pipeline, kind, src_store, src_key, dst_store, dst_key, size, src_etag, parent, row_lsn, state, error)
  select $1, 'object', $6, key, $7, case when not clash then "newKey" end, size, null, ${parent}, '0/0',
    case when clash or fault is not null then 'parked' else 'wanted' end, case when clash then 'CONFLICT' else fault end
  from c f, mine order by key
  on conflict (pipeline, src_store, src_key, kind) do update set parent = coalesce(o.parent, excluded.parent), size = excluded.size, state
    = 'wanted', error = null,
    dst_key = coalesce(o.dst_key, excluded.dst_key), turn = o.turn + 1, attempts = 0, not_before = ${WHEN_LEFT_ALONE}, changed_at =
      clock_timestamp()
  where (o.state = 'verified' and o.src_etag is distinct from (select f.etag from f where f.key = o.src_key))
    or (o.state = 'parked' and (o.error = 'OBJECT_MISSING' or (o.error in ('UNRESOLVED', 'UNMATCHED') and excluded.dst_key is not
      null)))${back} returning 1)
select id::text, (select count(*) from w)::text from mine`
}
