import { JOB_STATES, type JobResult } from '../core/objects/job.ts'
import type { SourceSample } from '../core/samples.ts'
import type { ObjectsSeen } from '../meter.ts'
import type { Metrics } from './registry.ts'
import { WAL_STATUSES } from './set.ts'

export function showSource(metrics: Metrics, { walEnd, spilledBytes, oldestTransactionSeconds }: SourceSample): void {
  metrics.set('rekey_source_current_wal_lsn', {}, Number(walEnd))
  metrics.set('rekey_oldest_open_transaction_seconds', {}, oldestTransactionSeconds)
  if (spilledBytes !== null) metrics.raise('rekey_decode_spill_bytes_total', {}, spilledBytes)
}

export function showSlot(metrics: Metrics, slot: SourceSample['slot']): void {
  metrics.set('rekey_slot_active', {}, slot?.active ? 1 : 0)
  metrics.set('rekey_slot_retained_bytes', {}, slot?.retainedBytes ?? null)
  metrics.set('rekey_slot_safe_wal_bytes', {}, slot?.safeWalBytes ?? null)
  metrics.set('rekey_source_confirmed_flush_lsn', {}, slot?.confirmedLsn == null ? null : Number(slot.confirmedLsn))
  const status = slot === null ? 'missing' : slot.walStatus
  for (const one of WAL_STATUSES) metrics.set('rekey_slot_wal_status', { status: one }, one === status ? 1 : 0)
}

export function showObjects(metrics: Metrics, { counts, oldestPendingSeconds, inFlightLimit }: ObjectsSeen): void {
  for (const state of JOB_STATES) {
    metrics.set('rekey_objects', { state }, counts[state].objects)
    metrics.set('rekey_objects_bytes', { state }, counts[state].bytes)
  }
  metrics.set('rekey_object_oldest_pending_seconds', {}, oldestPendingSeconds)
  metrics.set('rekey_object_inflight_limit', {}, inFlightLimit)
}

export function countSettled(metrics: Metrics, results: readonly JobResult[]): void {
  for (const result of results) {
    if (result.state === 'verified') metrics.add('rekey_object_bytes_total', {}, result.copied?.source.size ?? 0)
    else if (result.error !== null) metrics.add('rekey_object_errors_total', { code: result.error }, 1)
  }
}
