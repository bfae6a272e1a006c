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
  /** Whose lease it must be. */
  readonly member: string
  readonly checks: 'engine' | 'set'
}

/** One partition, for the process whose lease it is. `offset`: where the log may be read from, behind what was applied; a hint. */
export function laneHolder(options: LaneOptions, offset: () => bigint): Holder {
  const at = `${quoteLiteral(options.pipeline)}, ${options.partition}`
  return {
    application: laneApplication(options),
    take: (wire) => take(wire, options),
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
    take: (wire) => take(wire, options),
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

/** A new writer of the partition: whoever wrote it before cannot any more. Rejects with FENCED when the lease is another's by now. */
async function take(wire: Wire, options: LaneOptions): Promise<Held> {
  const { pipeline, partition, member, checks } = options
  const held = await wire.send(`select pg_try_advisory_lock_shared(${lockOf(pipeline)})`)
  if (held.rows[0][0] !== 't') throw new RekeyError('RUNNING', `another rekey holds the whole pipeline ${pipeline}`)
  await wire.send(endIdle(laneApplication(options)))
  if (checks === 'set') await wire.send('begin; set local session_replication_role = replica; rollback')
  const mine = `select from rekey.lease s where s.pipeline = l.pipeline and s.partition = l.partition and s.member = ${quoteLiteral(member)}`
  const { rows } = await wire.send(
    `with l as (update rekey.lane l set writer = writer + 1 where pipeline = ${quoteLiteral(pipeline)} and partition = ${partition}
       and exists (${mine}) returning *)
     select ${COLUMNS.split(', ').map((name) => (OWN.includes(name) ? `l.${name}` : `c.${name}`)).join(', ')}
       from l join rekey.checkpoint c on c.pipeline = l.pipeline`)
  if (rows.length === 0) throw new RekeyError('FENCED', `partition ${partition} of ${pipeline} is another process's`)
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
  /** The process that applies it; null when nobody does who is alive. */
  readonly member: string | null
}

/** In the order of their numbers; none before the copy is complete. */
export async function readLanes(query: Query, pipeline: string): Promise<LaneState[]> {
  const rows = await query(
    `select l.partition::text, l.commit_lsn::text, l.end_lsn::text, l.next_offset::text, l.totals::text, m.member
       from rekey.lane l left join rekey.lease s on s.pipeline = l.pipeline and s.partition = l.partition
       left join rekey.member m on m.pipeline = s.pipeline and m.member = s.member and m.alive_until > clock_timestamp()
      where l.pipeline = $1 order by l.partition`, [pipeline])
  return rows.map(([partition, commit, end, offset, totals, member]) => ({
    partition: Number(partition), commitLsn: parseLsn(commit!), endLsn: parseLsn(end!), offset: BigInt(offset!),
    totals: JSON.parse(totals!) as Record<string, Totals>, member,
  }))
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

/** Processes that are alive, and who holds each partition. Says that `member` is alive, for so long. */
export async function meetMembers(query: Query, { pipeline, member, aliveMs }: { pipeline: string; member: string; aliveMs: number }):
Promise<{ readonly members: string[]; readonly holders: (string | null)[] }> {
  await query(
    `insert into rekey.member values ($1, $2, clock_timestamp() + $3 * interval '1 millisecond')
     on conflict (pipeline, member) do update set alive_until = excluded.alive_until`, [pipeline, member, aliveMs])
  const members = await query('select member from rekey.member where pipeline = $1 and alive_until > clock_timestamp()', [pipeline])
  const lanes = await readLanes(query, pipeline)
  return { members: members.map(([name]) => name!), holders: lanes.map((lane) => lane.member) }
}

/** True when the partition is this member's now: nobody else held it who is alive. */
export async function claimLane(query: Query, { pipeline, partition, member }: Omit<LaneOptions, 'checks'>): Promise<boolean> {
  const rows = await query(
    `insert into rekey.lease as s values ($1, $2, $3) on conflict (pipeline, partition) do update set member = excluded.member
      where s.member = excluded.member or not exists (
        select from rekey.member m where m.pipeline = s.pipeline and m.member = s.member and m.alive_until > clock_timestamp())
     returning 1::text`, [pipeline, partition, member])
  return rows.length > 0
}

export async function releaseLane(query: Query, { pipeline, partition, member }: Omit<LaneOptions, 'checks'>): Promise<void> {
  await query('delete from rekey.lease where pipeline = $1 and partition = $2 and member = $3', [pipeline, partition, member])
}

export async function leaveMembers(query: Query, pipeline: string, member: string): Promise<void> {
  await query('delete from rekey.lease where pipeline = $1 and member = $2', [pipeline, member])
  await query(`delete from rekey.member where pipeline = $1 and (member = $2 or alive_until < clock_timestamp() - interval '1 hour')`, [pipeline, member])
}
