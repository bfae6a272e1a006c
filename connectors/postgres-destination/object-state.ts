import { noCounts, type JobCounts, type JobState } from '../../src/core/objects/job.ts'
import type { Query } from './lookup.ts'

/** A job as it is shown to people and written to the manifest. */
export interface StoredJob {
  readonly id: string
  readonly kind: 'object' | 'directory' | 'sweep'
  readonly state: JobState
  readonly error: string | null
  readonly attempts: number
  /** Source table of the row that made it; null when a listing did. */
  readonly table: string | null
  readonly store: string
  readonly key: string
  readonly to: string
  readonly newKey: string | null
  readonly size: number | null
  readonly source: { readonly etag: string | null; readonly version: string | null }
  readonly destination: { readonly etag: string | null; readonly version: string | null }
  /** `sha256`, or `sha256-<parts>x<part size>` for the digest of the parts' digests. */
  readonly algorithm: string | null
  readonly checksum: string | null
  readonly evidence: number | null
  /** What the source object has and its copy has not. */
  readonly lost: readonly { readonly what: string; readonly name: string }[]
  readonly approved: boolean
  readonly changedAt: string
}

export interface JobFilter {
  /** Null: all. */
  readonly states: readonly JobState[] | null
  readonly limit: number
}

/** The jobs of a pipeline's objects, read and decided about beside workers that may be running. */
export interface ObjectState {
  counts(): Promise<JobCounts>
  list(filter: JobFilter): Promise<{ readonly jobs: readonly StoredJob[]; readonly total: number }>
  /** Has jobs done again that are parked or verified; null: all that are parked. Resolves with the ids that changed. */
  retry(ids: readonly string[] | null): Promise<readonly string[]>
  /** Copies whose rows went may be removed, however many they are. Resolves with their number. */
  approve(): Promise<number>
  /** Verified objects in the order of their new keys' bytes, in pages. */
  verified(): AsyncIterable<readonly StoredJob[]>
}

const COLUMNS = `id::text, kind, state, error, attempts::text, tbl, src_store, src_key, dst_store, dst_key, size::text, src_etag,
  src_version, dst_etag, dst_version,
  checksum_alg, checksum, evidence::text, lost::text, approved::text, to_char(changed_at at time zone 'UTC',
    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`
const PAGE = 1_000

export function objectState(query: Query, pipeline: string): ObjectState {
  const when = async <T>(empty: T, read: () => Promise<T>): Promise<T> =>
    (await query("select (to_regclass('rekey.object') is not null)::text", []))[0][0] === 'true' ? read() : empty
  return {
    counts: () => when(noCounts(), async () => {
      const rows = await query("select state, count(*)::text, coalesce(sum(size), 0)::text from rekey.object where pipeline = $1 and kind <> 'sweep' group by state", [pipeline])
      const counts = noCounts()
      for (const [state, objects, bytes] of rows) counts[state as JobState] = { objects: Number(objects), bytes: Number(bytes) }
      return counts
    }),
    list: ({ states, limit }) => when({ jobs: [], total: 0 }, async () => {
      const where = 'pipeline = $1 and ($2::text[] is null or state = any ($2::text[]))'
      const [[total]] = await query(`select count(*)::text from rekey.object where ${where}`, [pipeline, states])
      const rows = await query(`select ${COLUMNS} from rekey.object where ${where} order by id limit $3`, [pipeline, states, limit])
      return { total: Number(total), jobs: rows.map(jobOf) }
    }),
    retry: (ids) => when([], async () => {
      const rows = await query(
        `update rekey.object set state = 'wanted', error = null, turn = turn + 1, attempts = 0, listed_to = null, not_before =
          clock_timestamp(), changed_at = clock_timestamp()
          where pipeline = $1 and case when $2::bigint[] is null then state = 'parked' else id = any ($2::bigint[]) and state in
            ('parked', 'verified') end
          returning id::text`, [pipeline, ids])
      return rows.map(([id]) => id!).sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1))
    }),
    approve: () => when(0, async () => {
      const rows = await query(`update rekey.object set approved = true where pipeline = $1 and state = 'tombstone' and not approved
        returning '1'`, [pipeline])
      return rows.length
    }),
    async *verified() {
      for (let after = ['', '']; ;) {
        const rows = await when([] as (string | null)[][], () => query(
          `select ${COLUMNS} from rekey.object where pipeline = $1 and kind = 'object' and state = 'verified' and (dst_store, dst_key) >
            ($2, $3)
            order by dst_store, dst_key limit ${PAGE}`, [pipeline, ...after]))
        const page = rows.map(jobOf)
        if (page.length > 0) yield page
        if (page.length < PAGE) return
        const last = page.at(-1)!
        after = [last.to, last.newKey!]
      }
    },
  }
}

function jobOf(row: readonly (string | null)[]): StoredJob {
  const [id, kind, state, error, attempts, table, store, key, to, newKey, size, sourceEtag, sourceVersion, etag, version, algorithm,
    checksum, evidence, lost, approved, changedAt] = row
  return {
    id: id!, kind: kind as StoredJob['kind'], state: state as JobState, error, attempts: Number(attempts), table, store: store!, key: key!,
      to: to!, newKey,
    size: size === null ? null : Number(size), source: { etag: sourceEtag, version: sourceVersion }, destination: { etag, version },
      algorithm, checksum,
    evidence: evidence === null ? null : Number(evidence), lost: lost === null ? [] : JSON.parse(lost) as StoredJob['lost'],
      approved: approved === 'true', changedAt: changedAt!,
  }
}
