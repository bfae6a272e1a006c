import { RekeyError } from '../../src/core/errors.ts'
import { formatLsn, parseLsn } from '../../src/core/lsn.ts'
import type { Checkpoint, Totals, WritePlan } from '../../src/core/plan.ts'
import { quoteLiteral } from '../../src/core/quote.ts'
import { APPLICATION_NAME } from '../../src/core/session.ts'
import { LANES_SQL } from './lanes-schema.ts'
import { SCHEMA_SQL } from './schema.ts'
import { endIdle, refuseFenced } from './takeover.ts'
import type { Wire } from './wire.ts'

export interface Held {
  /** The number under which the session writes: nobody else has it. */
  readonly writer: string
  readonly checkpoint: Checkpoint
}

/** In whose name a session writes: a whole pipeline, one of its partitions, or all of them at once. */
export interface Holder {
  /** The name of its connections, by which those that a lost process left behind are found. */
  readonly application: string
  /** Takes it for this session. `former`: the number of this process's session before. Rejects with RUNNING, FENCED. */
  take(wire: Wire, former: string | null): Promise<Held>
  /** Statements that begin each transaction. */
  enter(writer: string): readonly string[]
  /** The statement that moves what is applied, in the transaction of the rows; it fails when somebody else holds it by now (RK001). */
  advance(plan: WritePlan, writer: string): string
}

export interface PipelineOptions {
  readonly pipeline: string
  readonly checks: 'engine' | 'set'
  /** End another process that holds this pipeline (its next commit fails) instead of refusing to start. */
  readonly takeover: boolean
  /** Join the writer that holds the pipeline (a further connection of the same process) instead of becoming a new one. */
  readonly join?: () => string
}

/** The whole pipeline, for one process. */
export function pipelineHolder(options: PipelineOptions): Holder {
  return {
    application: `${APPLICATION_NAME} ${options.pipeline}`,
    take: (wire, former) => (options.join ? join(wire, options.pipeline, options.join) : take(wire, options, former)),
    enter: () => [],
    advance: (plan, writer) => advance(plan, options.pipeline, writer),
  }
}

async function join(wire: Wire, pipeline: string, writer: () => string): Promise<Held> {
  const read = await wire.send(`${READ_CHECKPOINT} where pipeline = ${quoteLiteral(pipeline)}`)
  return { writer: writer(), checkpoint: checkpointOf(read.rows[0]) }
}

/** The lock that one process holds alone, or all that share a pipeline's partitions together. */
export function lockOf(pipeline: string): string {
  return `hashtextextended(${quoteLiteral(`rekey/${pipeline}`)}, 0)`
}

/**
 * Makes what is missing of our tables, in one message and so in one transaction: another pipeline that begins at this moment must see what it made,
 * so the lock is held until its end.
 */
export const TABLES_SQL = `select pg_advisory_xact_lock(7163); ${SCHEMA_SQL}; ${LANES_SQL}`

/** Makes our tables and takes the pipeline. */
async function take(wire: Wire, { pipeline, takeover, checks }: PipelineOptions, former: string | null): Promise<Held> {
  const held = await wire.send(`select pg_try_advisory_lock(${lockOf(pipeline)})`)
  if (held.rows[0][0] !== 't' && !takeover) throw new RekeyError('RUNNING', `another rekey holds the pipeline ${pipeline}`)
  await wire.send(TABLES_SQL)
  // From then on nobody has the whole of it, whatever is free at the moment.
  const lanes = await wire.send(`select count(*) from rekey.lane where pipeline = ${quoteLiteral(pipeline)}`)
  if (lanes.rows[0][0] !== '0') throw new RekeyError('RUNNING', `the pipeline ${pipeline} goes on in ${lanes.rows[0][0]} partitions; kafka.partitions must say so`)
  if (former !== null) await refuseFenced(wire, pipeline, former)
  if (takeover) await wire.send(endIdle(`${APPLICATION_NAME} ${pipeline}`))
  if (checks === 'set') await wire.send('begin; set local session_replication_role = replica; rollback')
  await wire.send(`insert into rekey.ledger (pipeline) values (${quoteLiteral(pipeline)}) on conflict do nothing`)
  const answer = await wire.send(`insert into rekey.checkpoint values (${quoteLiteral(pipeline)}, 1, 0, '0/0', '0/0', '0/0', 'new', '{}', '', '', 0, clock_timestamp())
    on conflict (pipeline) do update set writer = checkpoint.writer + 1
    returning ${COLUMNS}`)
  return { writer: answer.rows[0][0]!, checkpoint: checkpointOf(answer.rows[0]) }
}

export const COLUMNS = 'writer, epoch, commit_lsn, end_lsn, converge_lsn, phase, totals, mapping_digest, source_system, source_timeline'
const READ_CHECKPOINT = `select ${COLUMNS} from rekey.checkpoint`

export function checkpointOf(row: readonly (string | null)[]): Checkpoint {
  const [, epoch, commit, end, converge, phase, totals, digest, system, timeline] = row as string[]
  return {
    epoch: Number(epoch), commitLsn: parseLsn(commit), endLsn: parseLsn(end), convergeLsn: parseLsn(converge), phase: phase as Checkpoint['phase'],
    totals: JSON.parse(totals) as Record<string, Totals>, mappingDigest: digest, sourceSystem: system, sourceTimeline: Number(timeline),
  }
}

function advance(plan: WritePlan, pipeline: string, writer: string): string {
  const { after } = plan
  const lsns = [plan.before, after.commitLsn, after.endLsn, after.convergeLsn].map((lsn) => quoteLiteral(formatLsn(lsn)))
  const values = [quoteLiteral(pipeline), writer, lsns[0], String(after.epoch), lsns[1], lsns[2], lsns[3], quoteLiteral(after.phase), quoteLiteral(JSON.stringify(plan.totals))]
  return `select rekey.advance(${values.join(', ')})`
}
