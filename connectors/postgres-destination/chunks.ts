import type { Client } from 'pg'
import { RekeyError } from '../../src/core/errors.ts'
import { formatLsn, type Lsn, parseLsn } from '../../src/core/lsn.ts'
import type { Meaning } from '../../src/core/meaning.ts'
import type { Checkpoint } from '../../src/core/plan.ts'
import { nameOf } from '../../src/core/relation.ts'
import type { CopyChunk } from '../../src/ports.ts'
import type { Query } from './lookup.ts'

/** The chunks as remembered; on the first call they are made and stored in one statement, so that a crash leaves all of them or none. */
export async function chunkList(client: Client, pipeline: string,
  make: () => Promise<readonly CopyChunk[]>): Promise<readonly CopyChunk[]> {
  const read = async (): Promise<CopyChunk[]> => {
    const sql = `select schema_name, table_name, pass, index, after, up_to, rows is not null from rekey.chunk where pipeline = $1 order by tbl, pass, index`
    const { rows } = await client.query<[string, string, string, string, string[] | null, string[] | null,
      boolean]>({ text: sql, values: [pipeline], rowMode: 'array' })
    return rows.map(([schema, table, pass, index, after, upTo, done]) => ({ table: { schema, table }, pass: Number(pass) as 1 | 2,
      index: Number(index), after, upTo, done }))
  }
  const known = await read()
  if (known.length > 0) return known
  const chunks = await make()
  const columns = chunks.map((c) => ({
    tbl: nameOf(c.table), schema_name: c.table.schema, table_name: c.table.table, pass: c.pass, index: c.index, after: c.after,
    up_to: c.upTo,
  }))
  await client.query(
    `insert into rekey.chunk (pipeline, tbl, schema_name, table_name, pass, index, after, up_to)
     select $1, c.tbl, c.schema_name, c.table_name, c.pass, c.index, c.after, c.up_to
       from json_to_recordset($2) c(tbl text, schema_name text, table_name text, pass smallint, index integer, after json, up_to json)`,
    [pipeline, JSON.stringify(columns)],
  )
  return read()
}

/** Per-table totals of every finished chunk. */
export async function chunkTotals(query: Query, pipeline: string): Promise<string[]> {
  const rows = await query('select totals::text from rekey.chunk where pipeline = $1 and totals is not null', [pipeline])
  return rows.map(([totals]) => totals!)
}

export interface Beginning {
  readonly pipeline: string
  readonly writer: string
  readonly meaning: Meaning
  /** The entries of the source's publication, by table; null when they could not be read. */
  readonly publication: Readonly<Record<string, string>> | null
}

/** The entries of the publication as the run began with; null where they are not known. */
export async function publicationAtBeginning(query: Query, pipeline: string): Promise<Beginning['publication']> {
  const [row] = await query('select publication::text from rekey.beginning where pipeline = $1', [pipeline])
  return row?.[0] ? JSON.parse(row[0]) as Beginning['publication'] : null
}

/** Marks the beginning of a run: which slot, which source, which mapping. Before it, nothing of the run is at the destination. */
export async function beginRun(query: Query, { pipeline, writer, meaning, publication }: Beginning, at: Checkpoint): Promise<void> {
  const rows = await query(
    `with held as (
       update rekey.checkpoint set epoch = $3, commit_lsn = $4, end_lsn = $5, converge_lsn = $6, phase = $7, mapping_digest = $8, source_system = $9,
         source_timeline = $10, updated_at = clock_timestamp() where pipeline = $1 and writer = $2 returning pipeline),
     began as (
       insert into rekey.beginning select pipeline, pg_current_xact_id(), $12 from held
       on conflict (pipeline) do update set xid = excluded.xid, publication = excluded.publication)
     insert into rekey.mapping select pipeline, $11 from held on conflict (pipeline) do update set meaning = excluded.meaning returning '1'`,
    [pipeline, writer, at.epoch, formatLsn(at.commitLsn), formatLsn(at.endLsn), formatLsn(at.convergeLsn), at.phase, at.mappingDigest,
    at.sourceSystem, at.sourceTimeline, JSON.stringify(meaning), JSON.stringify(publication)],
  )
  if (rows.length !== 1) throw new RekeyError('FENCED', `another rekey has taken the pipeline ${pipeline}`)
}

/** The source was promoted: positions go on in its new timeline. */
export async function followTimeline(query: Query, { pipeline, writer }: Pick<Beginning, 'pipeline' | 'writer'>, timeline: number): Promise<void> {
  const rows = await query('update rekey.checkpoint set source_timeline = $3 where pipeline = $1 and writer = $2 returning 1', [pipeline, writer, timeline])
  if (rows.length !== 1) throw new RekeyError('FENCED', `another rekey has taken the pipeline ${pipeline}`)
}

/** Tables that were copied as of a later moment than the slot's: what was committed before it is not to be applied again. */
export async function copiedSince(query: Query, pipeline: string): Promise<Map<string, Lsn>> {
  const rows = await query('select tbl, max(since)::text from rekey.chunk where pipeline = $1 and since is not null group by tbl',
    [pipeline])
  return new Map(rows.map(([table, since]) => [table!, parseLsn(since!)]))
}
