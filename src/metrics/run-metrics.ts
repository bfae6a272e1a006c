import type { Transaction } from '../core/change.ts'
import { RekeyError } from '../core/errors.ts'
import type { Lsn } from '../core/lsn.ts'
import type { DestinationSample, SourceSample } from '../core/samples.ts'
import { type ByStage, stageLag, type StreamStage } from '../core/stage-lag.ts'
import { passedAt } from '../core/heartbeat.ts'
import type { Meter } from '../meter.ts'
import { type ChangeCounts, changeCounts, countOutcomes } from './changes.ts'
import type { Metrics } from './registry.ts'
import { RUN_STATES, type RunState } from './set.ts'
import { countSettled, showObjects, showSlot, showSource } from './show.ts'

/** Why a run is not ready. */
export interface Reason {
  readonly code: string
  readonly message: string
}

export interface Readiness {
  readonly ready: boolean
  readonly state: RunState
  readonly reasons: readonly Reason[]
}

/** A run as its metrics and its health show it. */
export interface RunMetrics extends Meter {
  /** Rows that the source thinks its tables have, by table. */
  estimated(rows: ReadonlyMap<string, number>): void
  sampledSource(sample: SourceSample): void
  sampledDestination(sample: DestinationSample): void
  /** Entries of the ledger by table. */
  countedLedger(entries: ReadonlyMap<string, number>): void
  /** It was told to stop and finishes what is under way. */
  draining(): void
  readiness(): Readiness
}

/** A source that has not answered for so long counts as away. */
const SILENT_S = 15

export interface RunFacts {
  readonly version: string
  /** What this process does of the whole. */
  readonly role: 'all' | 'capture' | 'deliver' | 'mirror'
  /** What feeds the apply stage: the slot itself, or a log in Kafka. */
  readonly log: 'direct' | 'kafka'
  /** Seconds since 1970. */
  readonly now?: () => number
}

export function runMetrics(metrics: Metrics, { version, role, log, now = () => Date.now() / 1e3 }: RunFacts): RunMetrics {
  const lag = stageLag()
  const counts: ChangeCounts = changeCounts()
  let state: RunState = 'starting'
  let leader = false
  /** Before that, there may be no slot yet. */
  let preparedAt = Infinity
  let trouble: Error | null = null
  let source: { readonly sample: SourceSample; readonly at: number } | null = null
  let checkpointAge = 0
  let totals: Parameters<typeof countOutcomes>[1] | null = null
  let open = 0
  metrics.set('rekey_build_info', { version }, 1)
  metrics.beforeScrape(() => {
    const at = now()
    metrics.set('rekey_up', {}, state === 'waiting' ? 0 : 1)
    for (const one of RUN_STATES) metrics.set('rekey_pipeline_state', { state: one }, one === state ? 1 : 0)
    metrics.set('rekey_leader', {}, leader ? 1 : 0)
    metrics.set('rekey_source_connected', {}, isSilent(at) ? 0 : 1)
    metrics.set('rekey_heartbeat_age_seconds', {}, lag.heartbeat(at))
    metrics.set('rekey_decode_lag_seconds', {}, lag.latency())
    setLag('rekey_lag_seconds', lag.seconds(at))
    setLag('rekey_lag_bytes', lag.bytes())
    counts.moveTo(metrics)
  })
  const isSilent = (at: number): boolean => source === null || at - source.at > SILENT_S
  const setLag = (name: 'rekey_lag_seconds' | 'rekey_lag_bytes', by: ByStage): void => {
    for (const [stage, value] of Object.entries(by)) metrics.set(name, { stage }, value)
  }
  const came = (stage: StreamStage, transactions: readonly Transaction[]): void => {
    metrics.add('rekey_transactions_total', { stage }, transactions.filter((t) => t.last).length)
    metrics.add('rekey_bytes_total', { stage }, transactions.reduce((sum, t) => sum + t.bytes, 0))
    const end = endOf(transactions)
    if (end !== null) lag.passed(stage, passedAt(transactions), end, now())
  }
  const enter = (next: RunState): void => {
    if (state !== 'draining') state = next
    trouble = null
  }
  return {
    estimated(rows) {
      for (const [table, n] of rows) metrics.set('rekey_snapshot_rows_estimated', { table }, n)
    },
    prepared({ epoch }) {
      leader = true
      preparedAt = now()
      metrics.set('rekey_epoch', {}, epoch)
    },
    copying(chunks) {
      enter('snapshot')
      open = chunks.filter((chunk) => !chunk.done).length
      metrics.set('rekey_snapshot_chunks_remaining', {}, open)
    },
    copied({ table, pass, rows, finished }) {
      if (pass === 1) metrics.add('rekey_snapshot_rows_total', { table }, rows)
      if (finished) metrics.set('rekey_snapshot_chunks_remaining', {}, --open)
    },
    streaming(checkpoint) {
      enter('stream')
      metrics.set('rekey_snapshot_chunks_remaining', {}, 0)
      totals = checkpoint.totals
      lag.begin([log === 'direct' ? 'decode' : 'kafka', 'apply'], checkpoint.endLsn, checkpointAge, now())
    },
    capturing(from) {
      lag.begin(['decode'], from, 0, now())
      if (role !== 'capture') return
      enter('stream')
      preparedAt = now()
    },
    consumed: (transactions) => came('kafka', transactions),
    deadLetter: () => metrics.add('rekey_dlq_records_total', {}, 1),
    read(transactions) {
      came('decode', transactions)
      counts.decoded(transactions)
    },
    applied({ checkpoint, transactions, bytes, seconds, passed }) {
      metrics.add('rekey_transactions_total', { stage: 'apply' }, transactions)
      metrics.add('rekey_bytes_total', { stage: 'apply' }, bytes)
      metrics.observe('rekey_apply_duration_seconds', seconds)
      if (totals) countOutcomes(totals, checkpoint.totals, counts)
      totals = checkpoint.totals
      lag.passed('apply', { seconds: passed, heartbeat: null }, checkpoint.endLsn, now())
    },
    repeated: (n) => metrics.add('rekey_duplicates_skipped_total', {}, n),
    retried: (reason) => metrics.add('rekey_apply_retries_total', { reason }, 1),
    failed(stage, error) {
      metrics.add('rekey_errors_total', { stage, code: error instanceof RekeyError ? error.code : 'INTERNAL' }, 1)
    },
    waiting(error) {
      enter('waiting')
      trouble = error
      leader = false
    },
    looked(tier, asked, known) {
      metrics.add('rekey_idmap_lookups_total', { tier, result: 'hit' }, known)
      metrics.add('rekey_idmap_lookups_total', { tier, result: 'miss' }, asked - known)
    },
    corrected: (_entity, keys) => metrics.add('rekey_idmap_conflicts_total', {}, keys),
    refilled: () => metrics.add('rekey_idmap_cache_rebuilds_total', {}, 1),
    copyAnswers: (yes) => metrics.set('rekey_idmap_cache_up', {}, yes ? 1 : 0),
    objects(seen) {
      if (role === 'mirror' && state === 'starting') enter('mirror')
      showObjects(metrics, seen)
    },
    settled: (results) => countSettled(metrics, results),
    draining: () => enter('draining'),
    stop: () => enter('draining'),
    sampledSource(sample) {
      const at = now()
      source = { sample, at }
      lag.sampled(sample.clock, sample.walEnd, at)
      showSource(metrics, sample)
      if (sample.slot !== null || at >= preparedAt) showSlot(metrics, sample.slot)
    },
    sampledDestination({ parkedRows, checkpointAgeSeconds }) {
      checkpointAge = checkpointAgeSeconds ?? 0
      metrics.set('rekey_parked_rows', {}, parkedRows)
    },
    countedLedger(entries) {
      for (const [table, n] of entries) metrics.set('rekey_idmap_entries', { table }, n)
    },
    readiness() {
      const reasons: Reason[] = []
      if (state === 'starting') reasons.push({ code: 'STARTING', message: 'the run has not begun to copy or to stream' })
      if (state === 'draining') reasons.push({ code: 'STOPPING', message: 'the run was told to stop' })
      if (trouble) reasons.push(reasonOf(trouble))
      if (isSilent(now())) reasons.push({ code: 'REMOTE', message: 'the source does not answer' })
      else if (source && source.at >= preparedAt) reasons.push(...slotTrouble(source.sample))
      return { ready: reasons.length === 0, state, reasons }
    },
  }
}

/** The text of errors that are not ours may hold a value. */
function reasonOf(error: Error): Reason {
  return error instanceof RekeyError ? { code: error.code, message: error.message } : { code: 'RESTART', message: 'begins again at the checkpoint' }
}

function slotTrouble({ slot }: SourceSample): Reason[] {
  if (slot === null) return [{ code: 'SLOT_MISSING', message: 'the slot is gone' }]
  return slot.walStatus === 'lost' ? [{ code: 'SLOT_LOST', message: 'the source gave the slot up' }] : []
}

function endOf(transactions: readonly Transaction[]): Lsn | null {
  const last = transactions.at(-1)
  if (last === undefined) return null
  return last.last ? last.endLsn : last.commitLsn
}
