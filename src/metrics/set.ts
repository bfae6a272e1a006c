/** What feeds a metric: the run's own meter, a question to the source, one to the destination, or the process itself. */
type Origin = 'process' | 'meter' | 'source' | 'destination'

interface Row {
  readonly type: 'gauge' | 'counter' | 'histogram'
  readonly help: string
  /** Beside `pipeline`, which every metric has. Names of tables, states and codes only, so that there are few: never a key or a value. */
  readonly labels: readonly string[]
  readonly from: Origin
  /** Upper bounds of a histogram's buckets, in the unit of its name. */
  readonly buckets?: readonly number[]
}

const gauge = <const L extends readonly string[] = readonly []>(from: Origin, help: string, labels = [] as unknown as L) =>
  ({ type: 'gauge', help, labels, from }) as const
const counter = <const L extends readonly string[] = readonly []>(from: Origin, help: string, labels = [] as unknown as L) =>
  ({ type: 'counter', help, labels, from }) as const

/** Every metric of ours: base units, counters end in _total, a state is one gauge per state. What does not exist is not listed. */
export const METRICS = {
  rekey_up: gauge('process', '1 while the pipeline is worked on, 0 while the run waits to begin again after an error.'),
  rekey_build_info: gauge('process', 'Always 1; the version is in the label.', ['version']),
  rekey_pipeline_state: gauge('meter', '1 for the state that the run is in, 0 for the others.', ['state']),
  rekey_epoch: gauge('meter', 'Number of the slot in the life of the pipeline.'),
  rekey_leader: gauge('meter', '1 while this process holds the pipeline at the destination.'),

  rekey_source_connected: gauge('source', '1 while the source answers questions.'),
  rekey_slot_active: gauge('source', '1 while somebody reads the slot.'),
  rekey_slot_retained_bytes: gauge('source', 'WAL that the source keeps because of the slot.'),
  rekey_slot_safe_wal_bytes: gauge('source', 'WAL that can still be written before the slot may be lost; absent where there is no limit.'),
  rekey_slot_wal_status: gauge('source', '1 for the state of the WAL that the slot needs; missing: there is no slot.', ['status']),
  rekey_source_confirmed_flush_lsn: gauge('source', 'Address up to which the slot was confirmed, as a number of bytes.'),
  rekey_source_current_wal_lsn: gauge('source', "Address at which the source's WAL ends, as a number of bytes."),
  rekey_decode_lag_seconds: gauge('meter', 'How old the newest commit was when it came of the slot; it stands still when nothing comes.'),
  rekey_decode_spill_bytes_total: counter('source', 'Bytes of large transactions that the source wrote to disk while it decoded them.'),
  rekey_oldest_open_transaction_seconds: gauge('source', 'Age of the oldest open transaction at the source that has written something.'),
  rekey_heartbeat_age_seconds: gauge('meter', 'Age of the newest heartbeat that came back out of the slot.'),

  rekey_changes_total: counter('meter',
    'Changes that passed a stage; op is at decode what was done, at apply what became of it (also merge, skip, park).', ['table', 'op', 'stage']),
  rekey_transactions_total: counter('meter', 'Source transactions that passed a stage, those without changes included.', ['stage']),
  rekey_bytes_total: counter('meter', 'Bytes of rows that passed a stage, as they wait in memory.', ['stage']),
  rekey_lag_seconds: gauge('meter',
    "Age of the newest heartbeat or commit that passed a stage, counted from the stage before it, by the source's clock.", ['stage']),
  rekey_lag_bytes: gauge('meter', 'WAL between a stage and the one before it; end_to_end: between the source and the checkpoint.', ['stage']),
  rekey_apply_duration_seconds: {
    type: 'histogram', help: 'From the start of a batch to its commit at the destination.', labels: [], from: 'meter',
    buckets: [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300],
  },
  rekey_apply_retries_total: counter('meter', 'Batches that were done again, by SQLSTATE, or by code where there is none.', ['reason']),
  rekey_duplicates_skipped_total: counter('meter', 'Transactions that came again and had been applied before.'),
  rekey_parked_rows: gauge('destination', 'Rows that wait for a decision.'),
  rekey_dlq_records_total: counter('meter', 'Records of the log that could not be decoded and were put aside.'),
  rekey_unchanged_toast_total: counter('meter', 'Updates that came without large values because those did not change.'),
  rekey_errors_total: counter('meter', 'Errors that stopped a stage, by code.', ['stage', 'code']),

  rekey_snapshot_rows_total: counter('meter', 'Rows that this process has copied.', ['table']),
  rekey_snapshot_rows_estimated: gauge('source', 'Rows that the source thinks a table has, when the run began.', ['table']),
  rekey_snapshot_chunks_remaining: gauge('meter', 'Chunks of the initial copy that are not done.'),

  rekey_idmap_entries: gauge('destination', 'Decisions that the ledger holds; counted now and then.', ['table']),
  rekey_idmap_lookups_total: counter('meter', 'Keys that were looked up, by tier (memory, redis, ledger) and by whether it knew them.', ['tier', 'result']),
  rekey_idmap_conflicts_total: counter('meter', 'Entries of the copy in Redis that said otherwise than the ledger, and were corrected.'),
  rekey_idmap_cache_rebuilds_total: counter('meter', 'How often the copy in Redis was filled anew from the ledger.'),
  rekey_idmap_cache_up: gauge('meter', '1 while the copy in Redis answers, 0 while the ledger alone is asked; absent where there is no copy.'),

  rekey_objects: gauge('destination', 'Objects by the state of their jobs: those of all processes.', ['state']),
  rekey_objects_bytes: gauge('destination', 'Bytes of the objects in a state, as far as they are known.', ['state']),
  rekey_object_bytes_total: counter('meter', 'Bytes of objects that this process has found or made the same at the destination, and proven.'),
  rekey_object_errors_total: counter('meter', 'Jobs of objects that failed and are tried again, or parked, by code.', ['code']),
  rekey_object_oldest_pending_seconds: gauge('destination', 'How long the job that has waited longest waits; failed tries do not end the wait.'),
  rekey_object_inflight_limit: gauge('meter', 'Requests that may be under way at a store at a time; falls while a store says that it is too much.'),
} as const satisfies Record<string, Row>

export type MetricName = keyof typeof METRICS
export type NamesOf<T extends Row['type']> = { [N in MetricName]: (typeof METRICS)[N]['type'] extends T ? N : never }[MetricName]
export type Labels<N extends MetricName> = Readonly<Record<(typeof METRICS)[N]['labels'][number], string>>

/** The states of a run; `mirror`: objects alone; `waiting`: for a server to answer again. */
export const RUN_STATES = ['starting', 'snapshot', 'stream', 'mirror', 'waiting', 'draining'] as const
export type RunState = (typeof RUN_STATES)[number]

/** pg_replication_slots.wal_status (manual, 54.20), and what stands for no slot at all. */
export const WAL_STATUSES = ['reserved', 'extended', 'unreserved', 'lost', 'missing'] as const
