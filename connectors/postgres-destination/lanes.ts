import { RekeyError } from '../../src/core/errors.ts'
import { formatLsn, parseLsn, type Lsn } from '../../src/core/lsn.ts'
import type { Checkpoint, Totals, WritePlan } from '../../src/core/plan.ts'
import { quoteLiteral } from '../../src/core/quote.ts'
import { APPLICATION_NAME } from '../../src/core/session.ts'
import { checkpointOf, COLUMNS, type Held, type Holder, lockOf } from './holder.ts'
import type { Query } from './lookup.ts'
import { endIdle } from './takeover.ts'
import type { Wire } from './wire.ts'

export interface LaneOptions {
  readonly pipeline: string
  readonly partition: number
  /** The process that takes it. */
  readonly member: string
  /** Take it only if this process was the last who did: others may have moved it, and must not have taken it. */
  readonly again: boolean
  readonly checks: 'engine' | 'set'
}

/** One partition, for one process. `offset`: where the log may be read from, behind what was applied; a hint. */
export function laneHolder(options: LaneOptions, offset: () => bigint): Holder {
  const at = `${quoteLiteral(options.pipeline)}, ${options.partition}`
  return {
    application: laneApplication(options),
    take: (wire, former) => take(wire, options, former),
    enter: (writer) => [`select rekey.enter(${at}, ${writer})`],
    advance(plan, writer) {
      const lsns = [plan.before, plan.after.commitLsn, plan.after.endLsn].map((lsn) => quoteLiteral(formatLsn(lsn)))
      return `select rekey.advance_lane(${at}, ${writer}, ${lsns.join(', ')}, ${offset()}, ${quoteLiteral(JSON.stringify(plan.totals))})`
    },
  }
}

export interface AllLanesOptions extends LaneOptions {
  /** They come where the plan comes, and are united from then on; else they stay where they are. */
  readonly moves: boolean
  /** How long they are to stay united. */
  readonly stayMs: number
  /** For each partition where the log may be read from. */
  readonly offsets: () => readonly bigint[]
}

/**
 * All partitions at once, in the name of one of them: a transaction waits for those of the others, and then nobody moves until its end.
 * Whoever had another partition must take it anew afterwards. Rows that were left unite them, whatever `moves` says.
 */
export function allLanesHolder(options: AllLanesOptions): Holder {
  const at = `${quoteLiteral(options.pipeline)}, ${options.partition}`
  return {
    application: laneApplication(options),
    take: (wire, former) => take(wire, options, former),
    enter: (writer) => [`select rekey.enter_all(${at}, ${writer})`],
    advance({ before, after, totals }: WritePlan, writer) {
      const { moves, stayMs } = options
      const lsn = (value: Lsn): string => quoteLiteral(formatLsn(value))
      const to = moves ? `${lsn(after.commitLsn)}, ${lsn(after.endLsn)}` : 'null, null'
      const offsets = `'{${options.offsets().join(',')}}'`
      return `select rekey.advance_all(${at}, ${writer}, ${lsn(before)}, ${to}, ${lsn(after.convergeLsn)}, ${offsets}, ${moves}, ${stayMs}, ${quoteLiteral(JSON.stringify(totals))})`
    },
  }
}

export interface United {
  /** The partition whose writer writes all of them; null when each goes by itself. */
  readonly by: number | null
  /** How long they stay united, or stayed the last time. */
  readonly stayMs: number
  /** Since they parted; null when they never did. */
  readonly partedMs: number | null
}

/** Null when they never were united. */
export async function readUnited(query: Query, pipeline: string): Promise<United | null> {
  const [row] = await query(
    `select partition::text, stay_ms::text, (extract(epoch from clock_timestamp() - parted_at) * 1000)::text from rekey.united where pipeline = $1`, [pipeline])
  if (!row) return null
  const [by, stay, parted] = row
  return { by: by === null ? null : Number(by), stayMs: Number(stay), partedMs: parted === null ? null : Number(parted) }
}

/** From here on each goes by itself again. Rejects with FENCED when this writer has the partition no more in whose name they are united. */
export async function partLanes(query: Query, { pipeline, partition }: Pick<LaneOptions, 'pipeline' | 'partition'>, writer: string): Promise<void> {
  await query('select rekey.part($1, $2, $3)', [pipeline, partition, writer]).catch((error: unknown) => {
    if (!(error instanceof RekeyError) || error.sqlstate !== 'RK001') throw error
    throw new RekeyError('FENCED', `partition ${partition} of ${pipeline} is another process's`, { cause: error, sqlstate: 'RK001' })
  })
}

function laneApplication({ pipeline, partition }: LaneOptions): string {
  return `${APPLICATION_NAME} ${pipeline}/${partition}`
}

/**
 * A new writer of the partition: whoever wrote it before cannot any more. Rejects with FENCED where another process has taken it since, if that matters
 * (`again`), and where anybody has who is not the former session of the same delivery: what that has read may be older than where the partition is.
 */
async function take(wire: Wire, options: LaneOptions, former: string | null): Promise<Held> {
  const { pipeline, partition, member, again, checks } = options
  const held = await wire.send(`select pg_try_advisory_lock_shared(${lockOf(pipeline)})`)
  if (held.rows[0][0] !== 't') throw new RekeyError('RUNNING', `another rekey holds the whole pipeline ${pipeline}`)
  await wire.send(endIdle(laneApplication(options)))
  if (checks === 'set') await wire.send('begin; set local session_replication_role = replica; rollback')
  const at = `${quoteLiteral(pipeline)}, ${partition}`
  const { rows } = await wire.send(
    `with t as (insert into rekey.taken as t values (${at}, ${quoteLiteral(member)}, pg_backend_pid())
       on conflict (pipeline, partition) do update set member = excluded.member, pid = excluded.pid ${again || former !== null ? 'where t.member = excluded.member' : ''} returning 1),
     l as (update rekey.lane set writer = writer + 1 where (pipeline, partition) = (${at}) and writer = ${former ?? 'writer'} and exists (select from t) returning *)
     select ${COLUMNS.split(', ').map((name) => (OWN.includes(name) ? `l.${name}` : `c.${name}`)).join(', ')}
       from l join rekey.checkpoint c on c.pipeline = l.pipeline`)
  if (rows.length === 0) throw new RekeyError('FENCED', `partition ${partition} of ${pipeline} was taken by another process, or moved`)
  return { writer: rows[0][0]!, checkpoint: checkpointOf(rows[0]) }
}

/** What a partition has of its own; the rest is the pipeline's. */
const OWN = ['writer', 'commit_lsn', 'end_lsn', 'totals']

export interface LaneState {
  readonly partition: number
  readonly commitLsn: Lsn
  readonly endLsn: Lsn
  readonly offset: bigint
  readonly totals: Readonly<Record<string, Totals>>
}

/** In the order of their numbers; none before the copy is complete. */
export async function readLanes(query: Query, pipeline: string): Promise<LaneState[]> {
  const rows = await query(
    'select partition::text, commit_lsn::text, end_lsn::text, next_offset::text, totals::text from rekey.lane where pipeline = $1 order by partition', [pipeline])
  return rows.map(([partition, commit, end, offset, totals]) => ({
    partition: Number(partition), commitLsn: parseLsn(commit!), endLsn: parseLsn(end!), offset: BigInt(offset!), totals: JSON.parse(totals!) as Record<string, Totals>,
  }))
}

/**
 * Which process applies each partition; absent where nobody does whose connection is open. While they are united, whoever has the one in whose
 * name they are. A lock on a 64-bit number is shown in two halves (manual, "pg_locks").
 */
export async function readTaken(query: Query, pipeline: string): Promise<Map<number, string>> {
  // Absent while no process of this version has run.
  if ((await query("select (to_regclass('rekey.taken') is not null)::text", []))[0][0] !== 'true') return new Map()
  const rows = await query(
    `select l.partition::text, t.member from rekey.lane l left join rekey.united u on u.pipeline = l.pipeline
       join rekey.taken t on t.pipeline = l.pipeline and t.partition = coalesce(u.partition, l.partition)
      where l.pipeline = $1 and exists (
       select from pg_locks k where k.pid = t.pid and k.locktype = 'advisory' and k.granted and k.objsubid = 1
          and k.database = (select oid from pg_database where datname = current_database())
          and ((k.classid::bigint << 32) | k.objid::bigint) = ${lockOf(pipeline)})`, [pipeline])
  return new Map(rows.map(([partition, member]) => [Number(partition), member!]))
}

export async function readPositions(query: Query, pipeline: string): Promise<Lsn[]> {
  const rows = await query('select commit_lsn::text from rekey.lane where pipeline = $1 order by partition', [pipeline])
  return rows.map(([lsn]) => parseLsn(lsn!))
}

/** From here on the pipeline goes on partition by partition; nothing happens when it does so already. */
export async function beginLanes(query: Query, { pipeline, partitions, writer }: { pipeline: string; partitions: number; writer: string }, at: Checkpoint): Promise<void> {
  await query(
    `with g as (select rekey.guard($1, $2))
     insert into rekey.lane (pipeline, partition, writer, commit_lsn, end_lsn)
     select $1, k, 0, $4, $5 from generate_series(0, $3::integer - 1) k, g on conflict do nothing`,
    [pipeline, writer, partitions, formatLsn(at.commitLsn), formatLsn(at.endLsn)])
}

/** The pipeline's own checkpoint follows the last of its partitions, for whoever asks how far it is. */
export async function followLanes(query: Query, pipeline: string): Promise<void> {
  await query(
    `update rekey.checkpoint c set commit_lsn = l.commit_lsn, end_lsn = l.end_lsn, updated_at = clock_timestamp()
       from (select commit_lsn, end_lsn from rekey.lane where pipeline = $1 order by commit_lsn, end_lsn limit 1) l
      where c.pipeline = $1 and c.commit_lsn < l.commit_lsn`, [pipeline])
}
