import { RekeyError } from '../../src/core/errors.ts'
import type { Checkpoint, Decision, Totals } from '../../src/core/plan.ts'
import { quoteLiteral } from '../../src/core/quote.ts'
import { addTotals } from '../../src/core/totals.ts'
import { chunkTotals } from './chunks.ts'
import { countLetters } from './dead-letters.ts'
import { checkpointOf, lockOf } from './holder.ts'
import { type LaneState, readLanes, readTaken, readUnited } from './lanes.ts'
import { makeIndexSql } from './indexes.ts'
import { notedTopic } from './made-topics.ts'
import { findDecisions, findIds, type Query } from './lookup.ts'

/** A checkpoint with its age by the destination's clock. */
export interface StoredCheckpoint extends Checkpoint {
  readonly updatedAt: string
  readonly ageSeconds: number
}

/** The connection that holds the pipeline's lock: a rekey that is running, or one whose connection the server still thinks alive. */
export interface WriterState {
  readonly pid: number
  readonly application: string
  /** Null when the role may not see it. */
  readonly sinceSeconds: number | null
}

export interface ChunkState {
  readonly table: string
  readonly done: number
  readonly open: number
  readonly rows: number
}

export interface ParkedCount {
  readonly table: string
  readonly state: ParkedState
  readonly sqlstate: string
  readonly reason: string
  readonly rows: number
}
/** left: it failed while the stream was behind the copy; it is read again when the stream has come there, and nobody need act. */
export type ParkedState = 'left' | 'waiting' | 'retry' | 'waived' | 'done'

export interface ParkedRow {
  readonly id: string
  readonly table: string
  /** COPY text fields joined by tabs. */
  readonly key: string
  readonly op: string
  readonly sqlstate: string
  readonly reason: string
  readonly behind: boolean
  readonly state: ParkedState
  readonly note: string | null
  readonly commitLsn: string
  readonly ordinal: number
  readonly parkedAt: string
  /** The stored change as JSON text; null unless asked for. */
  readonly change: string | null
}

export interface ParkedFilter {
  readonly states: readonly ParkedState[]
  readonly table: string | null
  readonly values: boolean
  readonly limit: number
}

/** Which parked rows, and what they become. `ids` null: all that are in one of the states `from`. */
export interface ParkedDecision {
  readonly ids: readonly string[] | null
  readonly table: string | null
  readonly from: readonly ParkedState[]
  readonly to: 'retry' | 'waived'
  readonly note: string | null
}

/** What a pipeline has left at the destination, read and changed beside a bridge that may be running. */
export interface DestinationState {
  /** Null when nothing was ever started. */
  checkpoint(): Promise<StoredCheckpoint | null>
  writer(): Promise<WriterState | null>
  /** What became of every row, the copy included. */
  totals(checkpoint: Checkpoint): Promise<Record<string, Totals>>
  chunks(): Promise<ChunkState[]>
  /** The topic that changes go through; null where there is none, or its id is not known. */
  topic(): Promise<{ readonly name: string; readonly id: string } | null>
  /** Where the partitions are, of a pipeline that has several; none before its copy is complete. `member`: who applies it; null when nobody does. */
  lanes(): Promise<(LaneState & { readonly member: string | null })[]>
  /** The partition whose process applies all of them in the order of the source; null while each goes by itself. */
  united(): Promise<number | null>
  parkedCounts(): Promise<ParkedCount[]>
  /** Records of the change log that could not be read and were kept. */
  deadLetters(): Promise<number>
  parked(filter: ParkedFilter): Promise<{ rows: ParkedRow[]; total: number }>
  /** Resolves with the ids that changed. */
  decide(decision: ParkedDecision): Promise<string[]>
  /** States of these parked rows; those that are not there are absent. */
  parkedStates(ids: readonly string[]): Promise<Map<string, ParkedState>>
  find(entity: string, key: string): Promise<Decision | null>
  findId(id: string): Promise<Decision[]>
  /**
   * Takes the pipeline's lock for this connection, so that no bridge can begin or go on: true when a holder had to be ended for it. Rejects
   * with RUNNING when it is held and may not be ended (`force`), or does not end.
   */
  hold(force: boolean): Promise<boolean>
  /** Removes what this pipeline has left; to be called under hold(). */
  remove(): Promise<'schema dropped' | 'rows deleted' | 'nothing there'>
}

export function destinationState(query: Query, pipeline: string): DestinationState {
  const when = async <T>(empty: T, read: () => Promise<T>): Promise<T> => ((await isThere(query)) ? read() : empty)
  return {
    checkpoint: () => when(null, () => readCheckpoint(query, pipeline)),
    writer: () => readWriter(query, pipeline),
    totals: (checkpoint) => readTotals(query, pipeline, checkpoint),
    chunks: () => when([], () => readChunks(query, pipeline)),
    topic: () => notedTopic(query, pipeline),
    lanes: () => when([], () => lanesTaken(query, pipeline)),
    united: () => when(null, async () => (await readUnited(query, pipeline))?.by ?? null),
    parkedCounts: () => when([], () => readParkedCounts(query, pipeline)),
    deadLetters: () => countLetters(query, pipeline),
    parked: (filter) => when({ rows: [], total: 0 }, () => readParked(query, pipeline, filter)),
    decide: (decision) => when([], () => decideParked(query, pipeline, decision)),
    parkedStates: (ids) => when(new Map(), () => readParkedStates(query, pipeline, ids)),
    find: (entity, key) => when(null, async () => (await findDecisions(query, pipeline, entity, [key])).get(key) ?? null),
    findId: (id) => when([], () => findIds(query, pipeline, [id])),
    hold: (force) => hold(query, pipeline, force),
    remove: () => when('nothing there', () => removePipeline(query, pipeline)),
  }
}

async function lanesTaken(query: Query, pipeline: string): ReturnType<DestinationState['lanes']> {
  const taken = await readTaken(query, pipeline)
  return (await readLanes(query, pipeline)).map((lane) => ({ ...lane, member: taken.get(lane.partition) ?? null }))
}

async function isThere(query: Query): Promise<boolean> {
  return (await query("select (to_regclass('rekey.checkpoint') is not null)::text", []))[0][0] === 'true'
}

async function readCheckpoint(query: Query, pipeline: string): Promise<StoredCheckpoint | null> {
  const [row] = await query(
    `select writer::text, epoch::text, commit_lsn::text, end_lsn::text, converge_lsn::text, phase, totals::text, mapping_digest,
       source_system, source_timeline::text, to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
       extract(epoch from clock_timestamp() - updated_at)::text
     from rekey.checkpoint where pipeline = $1`, [pipeline])
  if (!row) return null
  return { ...checkpointOf(row), updatedAt: row[10]!, ageSeconds: Math.max(0, Number(row[11])) }
}

/** A lock on one 64-bit number is shown in two halves with objsubid 1 (manual, 54.12 "pg_locks"). */
async function readWriter(query: Query, pipeline: string): Promise<WriterState | null> {
  const [row] = await query(
    `select l.pid::text, a.application_name, extract(epoch from clock_timestamp() - a.backend_start)::text
       from pg_locks l left join pg_stat_activity a on a.pid = l.pid
      where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.pid <> pg_backend_pid()
        and l.database = (select oid from pg_database where datname = current_database())
        and ((l.classid::bigint << 32) | l.objid::bigint) = ${lockOf(pipeline)}`, [])
  if (!row) return null
  return { pid: Number(row[0]), application: row[1] ?? '', sinceSeconds: row[2] === null ? null : Number(row[2]) }
}

/** Until the stream begins, the totals of the copy stand with its chunks; the stream goes on from their sum. */
async function readTotals(query: Query, pipeline: string, checkpoint: Checkpoint): Promise<Record<string, Totals>> {
  const totals: Record<string, Totals> = {}
  if (checkpoint.phase === 'stream') {
    for (const one of [checkpoint, ...(await readLanes(query, pipeline))]) addTotals(totals, one.totals)
    return totals
  }
  for (const text of await chunkTotals(query, pipeline)) addTotals(totals, JSON.parse(text) as Record<string, Totals>)
  return totals
}

async function readChunks(query: Query, pipeline: string): Promise<ChunkState[]> {
  const rows = await query(
    `select tbl, count(*) filter (where rows is not null)::text, count(*) filter (where rows is null)::text,
       coalesce(sum(rows) filter (where pass = 1), 0)::text
     from rekey.chunk where pipeline = $1 group by tbl order by tbl`, [pipeline])
  return rows.map(([table, done, open, count]) => ({ table: table!, done: Number(done), open: Number(open), rows: Number(count) }))
}

async function readParkedCounts(query: Query, pipeline: string): Promise<ParkedCount[]> {
  const rows = await query(
    `select tbl, state, sqlstate, reason, count(*)::text from rekey.parked
      where pipeline = $1 and state <> 'done' group by 1, 2, 3, 4 order by count(*) desc, 1, 2, 3, 4`, [pipeline])
  return rows.map(([table, state, sqlstate, reason, n]) => ({
    table: table!, state: state as ParkedState, sqlstate: sqlstate!, reason: reason!, rows: Number(n),
  }))
}

async function readParked(query: Query, pipeline: string, filter: ParkedFilter): Promise<{ rows: ParkedRow[]; total: number }> {
  const where = 'pipeline = $1 and state = any ($2::text[]) and ($3::text is null or tbl = $3)'
  const params = [pipeline, filter.states, filter.table]
  const [[total]] = await query(`select count(*)::text from rekey.parked where ${where}`, params)
  const rows = await query(
    `select id::text, tbl, key, op, sqlstate, reason, behind::text, state, note, commit_lsn::text, ordinal::text,
       to_char(parked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), ${filter.values ? 'change' : 'null::text'}
     from rekey.parked where ${where} order by id limit $4`, [...params, filter.limit])
  return { total: Number(total), rows: rows.map(parkedOf) }
}

function parkedOf(row: readonly (string | null)[]): ParkedRow {
  const [id, table, key, op, sqlstate, reason, behind, state, note, commitLsn, ordinal, parkedAt, change] = row
  return {
    id: id!, table: table!, key: key!, op: op!, sqlstate: sqlstate!, reason: reason!, behind: behind === 'true',
    state: state as ParkedState, note, commitLsn: commitLsn!, ordinal: Number(ordinal), parkedAt: parkedAt!, change,
  }
}

async function decideParked(query: Query, pipeline: string, { ids, table, from, to, note }: ParkedDecision): Promise<string[]> {
  const rows = await query(
    `update rekey.parked set state = $4, note = coalesce($5, note)
      where pipeline = $1 and state = any ($2::text[])
        and ($3::bigint[] is null or id = any ($3::bigint[])) and ($6::text is null or tbl = $6)
      returning id::text`, [pipeline, from, ids, to, note, table])
  return rows.map(([id]) => id!).sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1))
}

async function readParkedStates(query: Query, pipeline: string, ids: readonly string[]): Promise<Map<string, ParkedState>> {
  const rows = await query('select id::text, state from rekey.parked where pipeline = $1 and id = any ($2::bigint[])', [pipeline, ids])
  return new Map(rows.map(([id, state]) => [id!, state as ParkedState]))
}

const TRIES = 10

/** A bridge that lost its connection comes back and only tries the lock, so who waits in its queue is sure to get it first. */
async function hold(query: Query, pipeline: string, force: boolean): Promise<boolean> {
  const [[free]] = await query(`select pg_try_advisory_lock(${lockOf(pipeline)})::text`, [])
  if (free === 'true') return false
  for (let tries = 0; force && tries < TRIES; tries++) {
    const writer = await readWriter(query, pipeline)
    await query("select set_config('lock_timeout', '1s', false)", [])
    if (writer) await query('select pg_terminate_backend($1::integer)', [writer.pid])
    const got = await query(`select pg_advisory_lock(${lockOf(pipeline)})`, []).then(() => true, (error: RekeyError) => {
      if (error.sqlstate === LOCK_TIMEOUT) return false
      throw error
    })
    if (got) return true
  }
  const writer = await readWriter(query, pipeline)
  throw new RekeyError('RUNNING', `${writer ? `process ${writer.pid}` : 'a connection'} at the destination holds the pipeline ${pipeline}`)
}

const LOCK_TIMEOUT = '55P03'

/**
 * One statement, and so one transaction: the schema is dropped only when no other pipeline has a checkpoint in it. 7163 is the lock under
 * which the schema is made.
 */
async function removePipeline(query: Query, pipeline: string): Promise<'schema dropped' | 'rows deleted'> {
  const name = quoteLiteral(pipeline)
  if ((await query("select (to_regclass('rekey.dropped_index') is not null)::text", []))[0][0] === 'true') await query(makeIndexSql(pipeline), [])
  await query(`do $do$
declare t text;
begin
  perform set_config('lock_timeout', '10s', true);
  perform pg_advisory_xact_lock(7163);
  if not exists (select from rekey.checkpoint where pipeline <> ${name}) then
    drop schema rekey cascade;
  else
    for t in select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'pipeline' and not a.attisdropped
              where c.relnamespace = 'rekey'::regnamespace and c.relkind in ('r', 'p') loop
      execute format('delete from rekey.%I where pipeline = $1', t) using ${name};
    end loop;
  end if;
end $do$`, [])
  return (await isThere(query)) ? 'rows deleted' : 'schema dropped'
}
