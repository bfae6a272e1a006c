import { beforeEach, describe, expect, it } from 'vitest'
import { RekeyError } from '../../src/core/errors.ts'
import type { Checkpoint } from '../../src/core/plan.ts'
import type { SourceSample } from '../../src/core/samples.ts'
import { noTotals } from '../../src/core/totals.ts'
import type { Applied } from '../../src/deliver/delivery.ts'
import { type Metrics, openMetrics } from '../../src/metrics/registry.ts'
import { runMetrics, type RunMetrics } from '../../src/metrics/run-metrics.ts'
import { METRICS } from '../../src/metrics/set.ts'
import { deleteOf, insertOf, relation, transaction, truncateOf, updateOf } from '../support/core-literals.ts'

const users = relation('users', ['id', 'name'])
const groups = relation('groups', ['id'])
const checkpoint = (more: Partial<Checkpoint> = {}): Checkpoint => ({
  epoch: 3, commitLsn: 99n, endLsn: 100n, phase: 'stream', convergeLsn: 1n, totals: {}, mappingDigest: '', sourceSystem: '', sourceTimeline: 1, ...more,
})
const applied = (more: Partial<Applied>): Applied =>
  ({ checkpoint: checkpoint(), transactions: 1, rows: 1, bytes: 10, seconds: 0.01, passed: null, parked: 0, commitMicros: 0, ...more })
const sample = (slot: Partial<NonNullable<SourceSample['slot']>> | null = {}, more: Partial<SourceSample> = {}): SourceSample => ({
  clock: now, walEnd: 1_000n, spilledBytes: null, oldestTransactionSeconds: 0, ...more,
  slot: slot && { active: true, walStatus: 'reserved', confirmedLsn: 50n, retainedBytes: 7, safeWalBytes: null, ...slot },
})

let now = 0
let metrics: Metrics
let run: RunMetrics

beforeEach(() => {
  now = 1_000
  metrics = openMetrics('shop')
  run = runMetrics(metrics, { version: '1.2.3', role: 'all', log: 'direct', now: () => now })
})

/** Samples of ours by name and labels, without the pipeline's. */
async function read(): Promise<Map<string, number>> {
  const { text } = await metrics.scrape()
  const lines = text.split('\n').filter((line) => line.startsWith('rekey_'))
  expect(lines.filter((line) => !line.includes('pipeline="shop"'))).toEqual([])
  return new Map(lines.map((line) => {
    const at = line.lastIndexOf(' ')
    return [line.slice(0, at).replace(/,?pipeline="shop",?/, '').replace('{}', ''), Number(line.slice(at + 1))]
  }))
}

describe('the metric set', () => {
  it('is in base units, counters end in _total, and nothing else does', () => {
    for (const [name, { type, help }] of Object.entries(METRICS)) {
      expect(name).toMatch(/^rekey_[a-z_]+$/)
      expect(name.endsWith('_total'), name).toBe(type === 'counter')
      expect(name, name).not.toMatch(/_(ms|millis|kb|mb|kib|mib|minutes|hours|percent)(_|$)/)
      expect(help, name).toMatch(/\.$/)
    }
  })

  it('tells nothing that is not known yet', async () => {
    const samples = await read()
    expect(samples.get('rekey_pipeline_state{state="starting"}')).toBe(1)
    expect(samples.get('rekey_duplicates_skipped_total')).toBe(0)
    for (const name of ['rekey_slot_safe_wal_bytes', 'rekey_parked_rows', 'rekey_lag_seconds{stage="end_to_end"}', 'rekey_epoch', 'rekey_heartbeat_age_seconds']) {
      expect(samples.has(name), name).toBe(false)
    }
  })
})

describe('a run', () => {
  it('is in one state at a time', async () => {
    const stateNow = async (): Promise<string[]> =>
      [...await read()].flatMap(([name, value]) => (value === 1 ? /^rekey_pipeline_state\{state="(\w+)"/.exec(name)?.[1] ?? [] : []))
    expect(await stateNow()).toEqual(['starting'])
    run.copying([])
    expect(await stateNow()).toEqual(['snapshot'])
    run.streaming(checkpoint())
    expect(await stateNow()).toEqual(['stream'])
    run.waiting(new RekeyError('REMOTE', 'gone'))
    expect(await stateNow()).toEqual(['waiting'])
    expect((await read()).get('rekey_up')).toBe(0)
    run.streaming(checkpoint())
    expect((await read()).get('rekey_up')).toBe(1)
    run.draining()
    run.streaming(checkpoint())
    expect(await stateNow()).toEqual(['draining'])
  })

  it('counts what comes out of the slot, by table and deed', async () => {
    run.streaming(checkpoint())
    run.read([
      transaction([insertOf(users, ['1', 'a']), insertOf(users, ['2', 'b']), insertOf(groups, ['1']), updateOf(users, ['1', undefined])], { bytes: 40 }),
      transaction([updateOf(users, ['1', 'c']), deleteOf(users, ['2', null]), truncateOf(groups)], { bytes: 2, last: false }),
    ])
    run.read([])
    const samples = await read()
    const decoded = (table: string, op: string): number | undefined => samples.get(`rekey_changes_total{table="public.${table}",op="${op}",stage="decode"}`)
    expect(['insert', 'update', 'delete', 'truncate'].map((op) => decoded('users', op))).toEqual([2, 2, 1, undefined])
    expect(['insert', 'update', 'delete', 'truncate'].map((op) => decoded('groups', op))).toEqual([1, undefined, undefined, 1])
    expect(samples.get('rekey_changes_total{table="public.groups",op="merge",stage="apply"}')).toBe(0)
    expect(samples.get('rekey_unchanged_toast_total')).toBe(1)
    expect(samples.get('rekey_transactions_total{stage="decode"}')).toBe(1)
    expect(samples.get('rekey_bytes_total{stage="decode"}')).toBe(42)
  })

  it('counts tables apart whose names differ in what is no letter', async () => {
    const names = ['a_b', 'a b', 'a.b', 'a"b', 'a\\b', 'a\nb', 'ä{x}', '$%;--']
    names.forEach((name, i) => run.read([transaction(Array.from({ length: i + 1 }, () => insertOf(relation(name, ['id']), ['1'])))]))
    const counted = [...(await read())].filter(([name]) => name.includes('op="insert",stage="decode"')).map(([name, n]) => [/table="public\.(.*?)",op=/.exec(name)![1], n])
    expect(counted).toEqual(names.map((name, i) => [name.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n'), i + 1]))
  })

  it('counts what became of changes: the difference of the totals, and never less than before', async () => {
    const t = (more: object): Checkpoint => checkpoint({ totals: { 'public.users': { ...noTotals(), ...more } } })
    run.streaming(t({ read: 100, inserted: 100 }))
    run.applied(applied({ checkpoint: t({ read: 110, inserted: 103, parked: 2, merged: 4, skipped: { pinned: 1 } }), seconds: 0.3 }))
    run.applied(applied({ checkpoint: t({ read: 110, inserted: 105, merged: 4, skipped: { pinned: 1 } }), transactions: 0 }))
    const samples = await read()
    const became = (op: string): number | undefined => samples.get(`rekey_changes_total{table="public.users",op="${op}",stage="apply"}`)
    expect(['insert', 'merge', 'skip', 'park', 'update', 'delete'].map(became)).toEqual([5, 4, 1, 2, undefined, undefined])
    expect(samples.get('rekey_transactions_total{stage="apply"}')).toBe(1)
    expect(samples.get('rekey_apply_duration_seconds_count')).toBe(2)
    expect(samples.get('rekey_apply_duration_seconds_bucket{le="0.2"}')).toBe(1)
    expect((await read()).get('rekey_changes_total{table="public.users",op="insert",stage="apply"}')).toBe(5)
  })

  it('shows lag that grows while nothing moves', async () => {
    run.sampledSource(sample())
    run.sampledDestination({ parkedRows: 0, checkpointAgeSeconds: 20 })
    run.streaming(checkpoint())
    now = 1_010
    expect((await read()).get('rekey_lag_seconds{stage="end_to_end"}')).toBe(30)
    run.read([transaction([], { xid: 5, commitMicros: 1_009e6, endLsn: 600n })])
    now = 1_015
    const samples = await read()
    expect(samples.get('rekey_lag_seconds{stage="decode"}')).toBe(6)
    expect(samples.get('rekey_lag_seconds{stage="apply"}')).toBe(29)
    expect(samples.get('rekey_lag_bytes{stage="apply"}')).toBe(500)
    expect(samples.get('rekey_lag_bytes{stage="end_to_end"}')).toBe(900)
    expect(samples.get('rekey_decode_lag_seconds')).toBe(1)
    run.applied(applied({ checkpoint: checkpoint({ endLsn: 600n }), passed: 1_009 }))
    expect((await read()).get('rekey_lag_seconds{stage="end_to_end"}')).toBe(6)
  })

  it('counts retries, repeats and errors by code', async () => {
    run.retried('40P01')
    run.retried('40P01')
    run.repeated(3)
    run.failed('apply', new RekeyError('REMOTE', 'gone'))
    run.failed('decode', new Error('the value was hunter2'))
    const samples = await read()
    expect(samples.get('rekey_apply_retries_total{reason="40P01"}')).toBe(2)
    expect(samples.get('rekey_duplicates_skipped_total')).toBe(3)
    expect(samples.get('rekey_errors_total{stage="apply",code="REMOTE"}')).toBe(1)
    expect(samples.get('rekey_errors_total{stage="decode",code="INTERNAL"}')).toBe(1)
  })
})

describe('the slot', () => {
  it('is shown as the source tells it; what has no value has no sample', async () => {
    run.prepared(checkpoint())
    run.sampledSource(sample({ safeWalBytes: 5, walStatus: 'unreserved' }, { spilledBytes: 100 }))
    let samples = await read()
    expect(samples.get('rekey_slot_safe_wal_bytes')).toBe(5)
    expect(samples.get('rekey_slot_wal_status{status="unreserved"}')).toBe(1)
    expect(samples.get('rekey_slot_wal_status{status="reserved"}')).toBe(0)
    expect(samples.get('rekey_source_confirmed_flush_lsn')).toBe(50)
    run.sampledSource(sample({ safeWalBytes: null }, { spilledBytes: 150 }))
    samples = await read()
    expect(samples.has('rekey_slot_safe_wal_bytes')).toBe(false)
    expect(samples.get('rekey_decode_spill_bytes_total')).toBe(50)
    run.sampledSource(sample(null, { spilledBytes: 20 }))
    samples = await read()
    expect(samples.get('rekey_slot_wal_status{status="missing"}')).toBe(1)
    expect(samples.get('rekey_slot_active')).toBe(0)
    expect(samples.has('rekey_slot_retained_bytes')).toBe(false)
    // The server began to count anew.
    expect(samples.get('rekey_decode_spill_bytes_total')).toBe(70)
  })

  it('that nobody answers for counts as away after a while', async () => {
    expect((await read()).get('rekey_source_connected')).toBe(0)
    run.sampledSource(sample())
    expect((await read()).get('rekey_source_connected')).toBe(1)
    now += 16
    expect((await read()).get('rekey_source_connected')).toBe(0)
  })
})

describe('readiness', () => {
  const codes = (): string[] => run.readiness().reasons.map((reason) => reason.code)

  it('has a reason for every no', () => {
    expect(run.readiness().ready).toBe(false)
    expect(codes()).toEqual(['STARTING', 'REMOTE'])
    run.sampledSource(sample(null))
    expect(codes()).toEqual(['STARTING'])
    run.prepared(checkpoint())
    run.sampledSource(sample())
    run.copying([])
    expect(run.readiness()).toEqual({ ready: true, state: 'snapshot', reasons: [] })
    run.streaming(checkpoint())
    run.sampledSource(sample({ walStatus: 'lost' }))
    expect(codes()).toEqual(['SLOT_LOST'])
    run.sampledSource(sample(null))
    expect(codes()).toEqual(['SLOT_MISSING'])
    run.sampledSource(sample())
    run.waiting(new RekeyError('REMOTE', 'the destination does not answer'))
    expect(run.readiness().reasons).toEqual([{ code: 'REMOTE', message: 'the destination does not answer' }])
    run.waiting(new Error('the value was hunter2'))
    expect(JSON.stringify(run.readiness())).not.toContain('hunter2')
    run.streaming(checkpoint())
    expect(run.readiness().ready).toBe(true)
    run.draining()
    expect(codes()).toEqual(['STOPPING'])
  })
})
