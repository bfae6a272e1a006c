import { parseLsn } from '../../src/core/lsn.ts'
import type { SourceSample } from '../../src/core/samples.ts'

type Query = (sql: string, params: readonly unknown[]) => Promise<(string | null)[][]>

/**
 * One question that takes no lock and reads no table (manual, 54.20 "pg_replication_slots", 27.2 "pg_stat_replication_slots"). A role that
 * is no member of pg_read_all_stats does not see the transactions of others. What a standby of a source calls its end is what it has
 * replayed.
 */
const QUESTION = `
select extract(epoch from clock_timestamp())::text, w.wal::text, (s.active_pid is not null)::text, s.wal_status, s.confirmed_flush_lsn::text,
  pg_wal_lsn_diff(w.wal, s.restart_lsn)::text, s.safe_wal_size::text, d.spill_bytes::text,
  coalesce(extract(epoch from clock_timestamp() - least(
    (select min(xact_start) from pg_stat_activity where backend_xid is not null), (select min(prepared) from pg_prepared_xacts))), 0)::text,
  s.slot_name
from (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as wal) w
left join pg_replication_slots s on s.slot_name = $1
left join pg_stat_replication_slots d on d.slot_name = $1`

/** Rejects as the query does. */
export async function measureSource(query: Query, slot: string): Promise<SourceSample> {
  const [[clock, walEnd, active, walStatus, confirmed, retained, safe, spilled, oldest, found]] = await query(QUESTION, [slot])
  const number = (text: string | null): number | null => (text === null ? null : Number(text))
  return {
    clock: Number(clock), walEnd: parseLsn(walEnd!), spilledBytes: number(spilled), oldestTransactionSeconds: Math.max(0, Number(oldest)),
    slot: found === null ? null : {
      active: active === 'true', walStatus, confirmedLsn: confirmed === null ? null : parseLsn(confirmed), retainedBytes: number(retained),
      safeWalBytes: number(safe),
    },
  }
}
