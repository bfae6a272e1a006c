import type { Config } from '../config/config.ts'
import { RekeyError } from '../core/errors.ts'
import { formatLsn, type Lsn } from '../core/lsn.ts'
import { jobTotals, type JobCounts, type JobTotals } from '../core/objects/job.ts'
import type { Totals } from '../core/plan.ts'
import { judgeSlot } from '../core/slot-health.ts'
import { closes } from '../core/totals.ts'
import type { ChunkState, Operated, ParkedCount, SourceState, StoredCheckpoint, WriterState } from '../pipeline/operate.ts'
import { totalOf } from './progress.ts'

export type ClosedTotals = Totals & { readonly closes: boolean }

export interface SlotStatus {
  readonly name: string
  /** ok, missing, lost, ahead, recreated, in use (while running: by that run), timeline. */
  readonly health: string
  readonly active: boolean
  readonly walStatus: string | null
  readonly retainedBytes: number | null
  readonly safeBytes: number | null
  readonly confirmedLsn: string | null
}

/** Jobs by state, and their sums: total = done + waiting + parked + leaving. */
export type ObjectStatus = JobTotals & { readonly states: JobCounts }

/** What `rekey status --json` prints. */
export interface Status {
  readonly pipeline: string
  readonly deployment: string
  readonly state: 'not started' | 'running' | 'stopped'
  readonly phase: 'new' | 'snapshot' | 'stream' | null
  readonly position: string | null
  readonly updatedAt: string | null
  readonly writer: WriterState | null
  readonly lag: { readonly bytes: number; readonly seconds: number } | null
  readonly slot: SlotStatus | null
  /** The topic that changes go through, and its id as Kafka's tools write it; null where there is none, or its id is not known. */
  readonly topic: { readonly name: string; readonly id: string } | null
  /** Where each partition is, with kafka.partitions above 1; `member` is the process that applies it, null when nobody does. */
  readonly partitions: readonly { readonly partition: number; readonly position: string; readonly lagBytes: number; readonly member: string | null }[]
  /** The partition whose process applies all of them together at the moment; null while each goes by itself. */
  readonly united: number | null
  readonly chunks: { readonly done: number; readonly open: number; readonly rows: number; readonly tables: readonly ChunkState[] }
  readonly parked: {
    readonly waiting: number
    readonly retry: number
    readonly waived: number
    /** Rows that are read again when the stream has passed the copy: nobody need act. */
    readonly left: number
    readonly reasons: readonly ParkedCount[]
  }
  /** Null without objects. */
  readonly objects: ObjectStatus | null
  /** Records of the change log that could not be read and were kept for a person to look at. */
  readonly deadLetters: number
  readonly totals: ClosedTotals
  readonly tables: Readonly<Record<string, ClosedTotals>>
  readonly warnings: readonly string[]
}

/** Reads both ends; also while a run is active, and when there is nothing yet. */
export async function readStatus(operated: Operated, config: Pick<Config, 'pipeline' | 'deployment' | 'log'>): Promise<Status> {
  const { opened, source, destination } = operated
  const warnings: string[] = []
  // Before the checkpoint: what comes between the two is no lag.
  const end = await source.walEnd()
  const stored = await destination.checkpoint()
  const writer = await destination.writer()
  // A checkpoint of phase new is a start that did not come to its slot.
  const checkpoint = stored?.phase === 'new' ? null : stored
  const totals = checkpoint ? await destination.totals(checkpoint) : {}
  const reasons = await destination.parkedCounts()
  const chunks = await destination.chunks()
  const counts = opened.mapping.stores.size > 0 ? await operated.objects.counts() : null
  const sum = <T>(all: readonly T[], of: (one: T) => number): number => all.reduce((n, one) => n + of(one), 0)
  const parkedIn = (state: string): number => sum(reasons.filter((r) => r.state === state), (r) => r.rows)
  if (checkpoint && checkpoint.mappingDigest !== opened.mapping.digest) {
    warnings.push('the mapping files were changed since this run last started: its next start takes them, or names what may not change')
  }
  if (checkpoint) warnings.push(...await source.changes())
  return {
    pipeline: config.pipeline, deployment: config.deployment, state: writer ? 'running' : checkpoint ? 'stopped' : 'not started',
    phase: stored?.phase ?? null, updatedAt: checkpoint?.updatedAt ?? null, writer,
    position: checkpoint ? `${checkpoint.epoch}:${formatLsn(checkpoint.commitLsn)}` : null,
    lag: checkpoint ? lagOf(end, checkpoint) : null,
    slot: await slotStatus(source, { checkpoint, logged: config.log === 'kafka', running: writer !== null || config.log === 'kafka', database: opened.catalogs.source.database, warnings }),
    topic: await destination.topic(),
    partitions: (await destination.lanes()).map(({ partition, commitLsn, endLsn, member }) => (
      { partition, position: formatLsn(commitLsn), lagBytes: Math.max(0, Number(end - endLsn)), member })),
    united: await destination.united(),
    chunks: { done: sum(chunks, (c) => c.done), open: sum(chunks, (c) => c.open), rows: sum(chunks, (c) => c.rows), tables: chunks },
    parked: { waiting: parkedIn('waiting'), retry: parkedIn('retry'), waived: parkedIn('waived'), left: parkedIn('left'), reasons },
    objects: counts && { ...jobTotals(counts), states: counts },
    deadLetters: await destination.deadLetters(),
    totals: closed(totalOf(totals)), tables: Object.fromEntries(Object.entries(totals).map(([table, t]) => [table, closed(t)])), warnings,
  }
}

/** A checkpoint that has all of the source's WAL is not behind, however old it is. */
function lagOf(end: Lsn, { endLsn, ageSeconds }: StoredCheckpoint): NonNullable<Status['lag']> {
  const bytes = Math.max(0, Number(end - endLsn))
  return { bytes, seconds: bytes === 0 ? 0 : ageSeconds }
}

function closed(t: Totals): ClosedTotals {
  return { ...t, closes: closes(t) }
}

interface SlotContext {
  readonly checkpoint: StoredCheckpoint | null
  /** What the slot has let go of is in a log of its own. */
  readonly logged: boolean
  readonly running: boolean
  readonly database: string
  readonly warnings: string[]
}

/** A role that may not read slots still gets the rest. */
async function slotStatus(source: SourceState, { checkpoint, logged, running, database, warnings }: SlotContext): Promise<SlotStatus | null> {
  const state = await source.slot().catch((error: unknown) => {
    if (!(error instanceof RekeyError)) throw error
    warnings.push(`the slot cannot be read: ${error.message}`)
    return null
  })
  if (state === null || (state.slot === null && !checkpoint)) return null
  const health = checkpoint ? judgeSlot(state, { ...checkpoint, endLsn: logged ? null : checkpoint.endLsn, database }) : { state: 'ok' as const }
  if (health.state !== 'ok' && !(health.state === 'in use' && running)) warnings.push(health.message)
  const { slot } = state
  const number = (n: bigint | null | undefined): number | null => (n === null || n === undefined ? null : Number(n))
  return {
    name: source.slotName, health: health.state === 'in use' && running ? 'ok' : health.state, active: (slot?.activePid ?? null) !== null,
    walStatus: slot?.walStatus ?? null, retainedBytes: number(slot?.retainedBytes), safeBytes: number(slot?.safeWalBytes),
    confirmedLsn: slot?.confirmedLsn == null ? null : formatLsn(slot.confirmedLsn),
  }
}
