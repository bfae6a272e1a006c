import { mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type Dashboard, type Panel, render, type Row } from './render.ts'

const P = '{pipeline=~"$pipeline"}'
const inPipeline = (more: string): string => `{pipeline=~"$pipeline", ${more}}`
const END_TO_END = inPipeline('stage="end_to_end"')

/** One line a thing that stands in the way. */
const blockers: readonly (readonly [string, string])[] = [
  ['rows are parked', `rekey_parked_rows${P} > 0`],
  ['the copy is not complete', `rekey_snapshot_chunks_remaining${P} > 0`],
  ['it is more than a minute behind', `rekey_lag_seconds${END_TO_END} > 60`],
  ['objects are not carried', `sum by (pipeline) (rekey_objects${inPipeline('state=~"wanted|copying|copied|parked"')}) > 0`],
  ['records were put aside', `rekey_dlq_records_total${P} > 0`],
  ['it waits for a server', `rekey_up${P} == 0`],
  ['the slot is not read', `rekey_slot_active${P} == 0`],
]

const cutOver: Panel[] = [
  { title: 'State', type: 'stat', unit: 'none', names: true, description: 'What the run is doing.',
    queries: [{ expr: `rekey_pipeline_state${P} == 1`, legend: '{{pipeline}}: {{state}}' }] },
  { title: 'End-to-end lag', type: 'stat', unit: 's', alerts: [{ name: 'RekeyLagGrowing', at: 30 }, { name: 'RekeyLagHigh', at: 60 }],
    description: "Age of the newest heartbeat or commit that the destination has, by the source's clock. Without other work it goes up and down with the heartbeats.",
    queries: [{ expr: `max by (pipeline) (rekey_lag_seconds${END_TO_END})`, legend: '{{pipeline}}' }] },
  { title: 'WAL to apply', type: 'stat', unit: 'bytes', description: "Between the end of the source's WAL and the checkpoint.",
    queries: [{ expr: `max by (pipeline) (rekey_lag_bytes${END_TO_END})`, legend: '{{pipeline}}' }] },
  { title: 'Chunks to copy', type: 'stat', unit: 'short', description: 'Chunks of the initial copy that are not done.',
    queries: [{ expr: `max by (pipeline) (rekey_snapshot_chunks_remaining${P})`, legend: '{{pipeline}}' }] },
  { title: 'Parked rows', type: 'stat', unit: 'short', alerts: [{ name: 'RekeyParked', at: 0 }],
    description: 'Rows that wait for a decision: rekey parked list.',
    queries: [{ expr: `max by (pipeline) (rekey_parked_rows${P})`, legend: '{{pipeline}}' }] },
  { title: 'Records put aside', type: 'stat', unit: 'short', alerts: [{ name: 'RekeyDlq', at: 0 }], description: 'That could not be decoded: rekey.dead_letter at the destination has them.',
    queries: [{ expr: `sum by (pipeline) (rekey_dlq_records_total${P})`, legend: '{{pipeline}}' }] },
  { title: 'Errors in an hour', type: 'stat', unit: 'short', description: 'Errors that stopped a stage, after which it began again at the checkpoint.',
    empty: '0', queries: [{ expr: `sum by (pipeline) (increase(rekey_errors_total${P}[1h]))`, legend: '{{pipeline}}' }] },
  { title: 'What stands in the way', type: 'table', unit: 'none', width: 24, empty: 'nothing', description: 'While there is a line here, a switch would wait for it, or lose something.',
    queries: [{ expr: blockers.map(([text, expr]) => `label_replace(sum by (pipeline) (${expr}) * 0 + 1, "blocker", "${text}", "", "")`).join(' or ') }] },
]

const slot: Panel[] = [
  { title: 'WAL kept for the slot', type: 'timeseries', unit: 'bytes', description: 'What the source keeps because of the slot, and what it could still keep. Without a limit only the first is there.',
    queries: [
      { expr: `max by (pipeline) (rekey_slot_retained_bytes${P})`, legend: '{{pipeline}} kept' },
      { expr: `max by (pipeline) (rekey_slot_safe_wal_bytes${P})`, legend: '{{pipeline}} left' },
    ] },
  { title: 'Share of the limit that is left', type: 'timeseries', unit: 'percentunit', low: true, alerts: [{ name: 'RekeySlotWalDanger', at: 0.2 }],
    description: 'Of what the source may keep for the slot. At nothing the slot is lost.', empty: 'no limit',
    queries: [{ legend: '{{pipeline}}',
      expr: `max by (pipeline) (rekey_slot_safe_wal_bytes${P}) / (max by (pipeline) (rekey_slot_safe_wal_bytes${P}) + max by (pipeline) (rekey_slot_retained_bytes${P}))` }] },
  { title: 'State of the WAL', type: 'state-timeline', unit: 'none', description: 'reserved and extended are well; unreserved is about to be lost; lost and missing cannot be mended.',
    queries: [{ expr: `max by (pipeline, status) (rekey_slot_wal_status${P})`, legend: '{{pipeline}} {{status}}' }] },
  { title: 'Oldest open transaction', type: 'timeseries', unit: 's', alerts: [{ name: 'RekeyLongSourceTx', at: 900 }],
    description: 'At the source, of those that have written something. The source keeps WAL from its beginning on.',
    queries: [{ expr: `max by (pipeline) (rekey_oldest_open_transaction_seconds${P})`, legend: '{{pipeline}}' }] },
  { title: 'Age of the newest heartbeat', type: 'timeseries', unit: 's', alerts: [{ name: 'RekeyHeartbeatMissing', at: 60 }],
    description: 'That came back out of the slot: grows when the slot does not move on.',
    queries: [{ expr: `max by (pipeline) (rekey_heartbeat_age_seconds${P})`, legend: '{{pipeline}}' }] },
  { title: 'WAL written and confirmed', type: 'timeseries', unit: 'binBps', description: 'Bytes a second that the source writes, that are confirmed to the slot, and that it had to write to disk to decode large transactions.',
    queries: [
      { expr: `max by (pipeline) (deriv(rekey_source_current_wal_lsn${P}[$__rate_interval]))`, legend: '{{pipeline}} written' },
      { expr: `max by (pipeline) (deriv(rekey_source_confirmed_flush_lsn${P}[$__rate_interval]))`, legend: '{{pipeline}} confirmed' },
      { expr: `max by (pipeline) (rate(rekey_decode_spill_bytes_total${P}[$__rate_interval]))`, legend: '{{pipeline}} spilled' },
    ] },
  { title: 'Connected', type: 'state-timeline', unit: 'none', description: 'Whether the source answers questions, somebody reads the slot, and this process holds the pipeline.',
    queries: [
      { expr: `max by (pipeline) (rekey_source_connected${P})`, legend: '{{pipeline}} source answers' },
      { expr: `max by (pipeline) (rekey_slot_active${P})`, legend: '{{pipeline}} slot is read' },
      { expr: `max by (pipeline) (rekey_leader${P})`, legend: '{{pipeline}} held' },
    ] },
  { title: 'Age of commits when they are decoded', type: 'timeseries', unit: 's', description: 'How long the source, and the way from it, take by themselves.',
    queries: [{ expr: `max by (pipeline) (rekey_decode_lag_seconds${P})`, legend: '{{pipeline}}' }] },
  { title: 'Epoch', type: 'stat', unit: 'none', width: 8, description: 'Number of the slot in the life of the pipeline: grows when everything is copied anew.',
    queries: [{ expr: `max by (pipeline) (rekey_epoch${P})`, legend: '{{pipeline}}' }] },
]

/** With the metrics of kafka-lag-exporter and kafka_exporter, and titles as users of those know them. */
const kafka: Panel[] = [
  { title: 'Consumer Group Lag In Time Per Group Over Offset Lag', type: 'timeseries', unit: 's', width: 12, empty: 'no kafka-lag-exporter',
    description: 'Max lag in seconds over max lag in offsets, per consumer group. From kafka-lag-exporter.',
    queries: [
      { expr: 'max by (group) (kafka_consumergroup_group_max_lag_seconds)', legend: '{{group}} seconds' },
      { expr: 'max by (group) (kafka_consumergroup_group_max_lag)', legend: '{{group}} offsets', right: 'short' },
    ] },
  { title: 'Consumer Group Lag Partition Offsets', type: 'timeseries', unit: 'short', width: 12, empty: 'no exporter of Kafka',
    description: 'Records that wait in each partition. From kafka-lag-exporter or kafka_exporter.',
    queries: [
      { expr: 'topk(25, kafka_consumergroup_group_lag)', legend: '{{group}} {{topic}} {{partition}}' },
      { expr: 'topk(25, kafka_consumergroup_lag)', legend: '{{consumergroup}} {{topic}} {{partition}}' },
    ] },
]

const changes = (stage: string): string => inPipeline(`table=~"$table", stage="${stage}"`)

const apply: Panel[] = [
  { title: 'Rows applied, by table', type: 'timeseries', unit: 'rowsps', description: 'Changes that reached the destination, whatever became of them.',
    queries: [{ expr: `sum by (table) (rate(rekey_changes_total${changes('apply')}[$__rate_interval]))`, legend: '{{table}}' }] },
  { title: 'Rows applied, by what became of them', type: 'timeseries', unit: 'rowsps', description: 'insert, update, merge, delete; skip is left out on purpose; park waits for a decision.',
    queries: [{ expr: `sum by (op) (rate(rekey_changes_total${changes('apply')}[$__rate_interval]))`, legend: '{{op}}' }] },
  { title: 'Changes decoded and applied', type: 'timeseries', unit: 'rowsps',
    description: 'Side by side: where the second stays at nothing while the first does not, nothing is applied.',
    queries: [{ expr: `sum by (pipeline, stage) (rate(rekey_changes_total${P}[$__rate_interval]))`, legend: '{{pipeline}} {{stage}}' }] },
  { title: 'Time of a batch', type: 'heatmap', unit: 's', description: 'From the start of a batch to its commit at the destination.',
    queries: [{ expr: `sum by (le) (increase(rekey_apply_duration_seconds_bucket${P}[$__rate_interval]))`, legend: '{{le}}' }] },
  { title: 'Batches done again, by reason', type: 'timeseries', unit: 'cps', alerts: [{ name: 'RekeyApplyErrors', at: 1 }], empty: 'none',
    description: 'By SQLSTATE. 40001 and 40P01 are others who write the same rows, 55P03 somebody who holds a lock, 22 and 23 rows that do not fit.',
    queries: [{ expr: `sum by (reason) (rate(rekey_apply_retries_total${P}[$__rate_interval]))`, legend: '{{reason}}' }] },
  { title: 'Lag, by stage', type: 'timeseries', unit: 's', description: 'decode: the source and the way from it. kafka: through the log, where there is one. apply: from there to the commit.',
    queries: [{ expr: `max by (pipeline, stage) (rekey_lag_seconds${inPipeline('stage!="end_to_end"')})`, legend: '{{pipeline}} {{stage}}' }] },
  { title: 'Transactions, by stage', type: 'timeseries', unit: 'cps', description: 'Of the source, heartbeats included.',
    queries: [{ expr: `sum by (pipeline, stage) (rate(rekey_transactions_total${P}[$__rate_interval]))`, legend: '{{pipeline}} {{stage}}' }] },
  { title: 'Bytes, by stage', type: 'timeseries', unit: 'binBps', description: 'Of rows, as they wait in memory.',
    queries: [{ expr: `sum by (pipeline, stage) (rate(rekey_bytes_total${P}[$__rate_interval]))`, legend: '{{pipeline}} {{stage}}' }] },
  { title: 'Out of the ordinary', type: 'timeseries', unit: 'cps', description: 'Transactions that came twice (harmless), and updates without unchanged large values.',
    queries: [
      { expr: `sum by (pipeline) (rate(rekey_duplicates_skipped_total${P}[$__rate_interval]))`, legend: '{{pipeline}} came twice' },
      { expr: `sum by (pipeline) (rate(rekey_unchanged_toast_total${P}[$__rate_interval]))`, legend: '{{pipeline}} unchanged large values' },
    ] },
  { title: 'Errors, by stage and code', type: 'timeseries', unit: 'short', empty: 'none', description: 'What stopped a stage. The codes are those of the command line.',
    queries: [{ expr: `sum by (stage, code) (increase(rekey_errors_total${P}[$__rate_interval]))`, legend: '{{stage}} {{code}}' }] },
  { title: 'Initial copy: rows', type: 'timeseries', unit: 'rowsps', description: 'Rows a second, by table.',
    queries: [{ expr: `sum by (table) (rate(rekey_snapshot_rows_total${inPipeline('table=~"$table"')}[$__rate_interval]))`, legend: '{{table}}' }] },
  { title: 'Initial copy: share', type: 'timeseries', unit: 'percentunit', description: 'Rows that this process has copied, of what the source thinks its tables have.',
    queries: [{ expr: `sum by (pipeline) (rekey_snapshot_rows_total${P}) / (sum by (pipeline) (rekey_snapshot_rows_estimated${P}) > 0)`, legend: '{{pipeline}}' }] },
]

const idMap: Panel[] = [
  { title: 'Entries of the ledger', type: 'timeseries', unit: 'short', empty: 'every id is computed',
    description: 'Decisions that cannot be computed again: merged, pinned, renamed, random ids. By table.',
    queries: [{ expr: `max by (table) (rekey_idmap_entries${inPipeline('table=~"$table"')})`, legend: '{{table}}' }] },
  { title: 'Look-ups, by tier', type: 'timeseries', unit: 'cps', empty: 'every id is computed',
    description: 'Keys that were looked up because their ids cannot be computed. What a tier does not know is asked of the next one: memory, redis, ledger.',
    queries: [{ expr: `sum by (tier, result) (rate(rekey_idmap_lookups_total${P}[$__rate_interval]))`, legend: '{{tier}} {{result}}' }] },
  { title: 'Copy of the ledger in Redis', type: 'state-timeline', unit: 'none', empty: 'no copy', description: 'Whether it answers. While it does not, the ledger is asked.',
    queries: [{ expr: `max by (pipeline) (rekey_idmap_cache_up${P})`, legend: '{{pipeline}}' }] },
  { title: 'Mended in the copy', type: 'timeseries', unit: 'short', empty: 'nothing', alerts: [{ name: 'RekeyIdMapConflict', at: 0 }],
    description: 'Entries that said otherwise than the ledger: a hand, a server that lost what it had acknowledged, or two pipelines under one name. And how often it was filled anew.',
    queries: [
      { expr: `sum by (pipeline) (increase(rekey_idmap_conflicts_total${P}[$__rate_interval]))`, legend: '{{pipeline}} entries corrected' },
      { expr: `sum by (pipeline) (increase(rekey_idmap_cache_rebuilds_total${P}[$__rate_interval]))`, legend: '{{pipeline}} filled anew' },
    ] },
]

const objects: Panel[] = [
  { title: 'Objects, by state', type: 'timeseries', unit: 'short', empty: 'no objects', description: 'wanted, copying and copied wait for a worker; parked waits for a person; tombstone is to be removed.',
    queries: [{ expr: `max by (pipeline, state) (rekey_objects${P})`, legend: '{{pipeline}} {{state}}' }] },
  { title: 'Bytes of objects, by state', type: 'timeseries', unit: 'bytes', empty: 'no objects', description: 'As far as their sizes are known.',
    queries: [{ expr: `max by (pipeline, state) (rekey_objects_bytes${P})`, legend: '{{pipeline}} {{state}}' }] },
  { title: 'Objects carried', type: 'timeseries', unit: 'binBps', empty: 'no objects', description: 'Bytes of objects a second that were proven to be at the destination, by process.',
    queries: [{ expr: `rate(rekey_object_bytes_total${P}[$__rate_interval])`, legend: '{{pipeline}} {{instance}}' }] },
  { title: 'Longest wait of an object', type: 'timeseries', unit: 's', empty: 'no objects', alerts: [{ name: 'RekeyObjectsStuck', at: 3600 }],
    description: 'Failed tries do not end the wait.',
    queries: [{ expr: `max by (pipeline) (rekey_object_oldest_pending_seconds${P})`, legend: '{{pipeline}}' }] },
  { title: 'Failures of objects, by code', type: 'timeseries', unit: 'short', empty: 'none', description: 'Tried again, or parked: rekey objects list says which.',
    queries: [{ expr: `sum by (code) (increase(rekey_object_errors_total${P}[$__rate_interval]))`, legend: '{{code}}' }] },
  { title: 'Requests at a time', type: 'timeseries', unit: 'short', empty: 'no objects', description: 'That a store is asked at most. It falls while a store says that it is too much.',
    queries: [{ expr: `min by (pipeline) (rekey_object_inflight_limit${P})`, legend: '{{pipeline}}' }] },
]

const ownProcess: Panel[] = [
  { title: 'CPU', type: 'timeseries', unit: 'percentunit', description: 'Of one core, by process.',
    queries: [{ expr: `rate(process_cpu_seconds_total${P}[$__rate_interval])`, legend: '{{pipeline}} {{instance}}' }] },
  { title: 'Memory', type: 'timeseries', unit: 'bytes', description: 'Resident; bounded by the limits under memory in rekey.yaml.',
    queries: [{ expr: `process_resident_memory_bytes${P}`, legend: '{{pipeline}} {{instance}}' }] },
  { title: 'Delay of the event loop', type: 'timeseries', unit: 's', description: 'The 99th percentile: grows when one thread does not suffice.',
    queries: [{ expr: `nodejs_eventloop_lag_p99_seconds${P}`, legend: '{{pipeline}} {{instance}}' }] },
  { title: 'Version', type: 'table', unit: 'none', width: 24, description: 'What runs where.',
    queries: [{ expr: `max by (pipeline, instance, version) (rekey_build_info${P})` }] },
]

const rows: Row[] = [
  { title: 'Can I cut over?', panels: cutOver },
  { title: 'Source and slot', panels: slot },
  { title: 'Kafka', panels: kafka },
  { title: 'Apply', panels: apply },
  { title: 'Id map', panels: idMap },
  { title: 'Objects', panels: objects },
  { title: 'Process', panels: ownProcess },
]

export const dashboard: Dashboard = {
  uid: 'rekey', title: 'rekey', rows, description: 'A live deployment on its way into another one. Docs: docs/operations.md.',
}

/** Run as a script it writes the dashboard that Grafana is provisioned with. */
if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const file = fileURLToPath(new URL('dashboards/rekey.json', import.meta.url))
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, render(dashboard))
}
