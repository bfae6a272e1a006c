import type { Client } from 'pg'
import { RekeyError, type ErrorCode } from '../../src/core/errors.ts'
import { parseLsn, type Lsn } from '../../src/core/lsn.ts'
import { quoteIdent, quoteLiteral } from '../../src/core/quote.ts'
import { APPLICATION_NAME } from '../../src/core/session.ts'
import type { Slot, SlotState } from '../../src/core/slot-health.ts'
import { connect, remoteError, sqlstateOf } from './connect.ts'

export interface CreatedSlot {
  readonly systemId: string
  readonly timeline: number
  /** Where the slot begins: the snapshot holds every commit before, the stream brings every commit from here on. */
  readonly consistentLsn: Lsn
  /**
   * What to hand to Source.stream: one below, since a commit record may begin at the consistent point itself and `after` is exclusive.
   */
  readonly after: Lsn
  /** Name of the exported snapshot; it lives until close(). */
  readonly snapshot: string
  close(): Promise<void>
}

const CREATE_CODES: Readonly<Record<string, ErrorCode>> = { 42710: 'SLOT_CREATE', 53400: 'PREFLIGHT', 55000: 'WAL_LEVEL' }
const LOCK_TIMEOUT = '55P03'

/**
 * Makes the logical slot and exports its snapshot, on a connection that is kept open for it. Waits for transactions that are under way,
 * each for at most `lockTimeout` (statement_timeout does not apply there); after that SLOT_CREATE names what holds it up, and nothing
 * is left behind. Where the server can (PostgreSQL 17 and later), standbys may keep a copy of it (manual, 47.2.3 "Logical Replication
 * Slot Synchronization").
 */
export async function createSlot(url: string, name: string,
  options: { lockTimeout?: string; temporary?: boolean } = {}): Promise<CreatedSlot> {
  const client = await connect(url, { replication: true, settings: { lock_timeout: options.lockTimeout ?? '29s' } })
  try {
    const system = await identify(client)
    const [{ major }] = (await client.query<{ major: number }>("select current_setting('server_version_num')::integer / 10000 as major")).rows
    const failover = major >= 17 && !options.temporary
    const answer = await client.query<{ consistent_point: string; snapshot_name: string }>(
      `CREATE_REPLICATION_SLOT ${quoteIdent(name)} ${options.temporary ? 'TEMPORARY ' : ''}LOGICAL pgoutput ` +
      (failover ? "(SNAPSHOT 'export', FAILOVER)" : 'EXPORT_SNAPSHOT'))
    const { consistent_point: point, snapshot_name: snapshot } = answer.rows[0]
    const consistentLsn = parseLsn(point)
    return { ...system, consistentLsn, after: consistentLsn - 1n, snapshot, close: () => client.end() }
  } catch (error) {
    const blockers = sqlstateOf(error) === LOCK_TIMEOUT ? await longTransactions(client).catch(() => 'not known') : ''
    client.end().catch(() => {})
    if (blockers) {
      throw new RekeyError('SLOT_CREATE', `slot ${name} could not be made; it waits for ${blockers}`, { sqlstate: LOCK_TIMEOUT })
    }
    throw remoteError(error, `make slot ${name}`, CREATE_CODES)
  }
}

async function longTransactions(client: Client): Promise<string> {
  const answer = await client.query<{ what: string }>(`
    select * from (select 'process ' || pid as what from pg_stat_activity
      where backend_xid is not null and pid <> pg_backend_pid() order by xact_start limit 10) a
    union all
    select * from (select 'prepared transaction ' || gid from pg_prepared_xacts order by prepared limit 10) p`)
  return answer.rows.map((row) => row.what).join(', ')
}

async function identify(client: Client): Promise<{ systemId: string; timeline: number }> {
  const answer = await client.query<{ systemid: string; timeline: number }>('IDENTIFY_SYSTEM')
  return { systemId: answer.rows[0].systemid, timeline: Number(answer.rows[0].timeline) }
}

/** What its history says of earlier timelines: number, where it ended, why. The server sends the file as it is. */
async function historyOf(client: Client, timeline: number): Promise<Map<number, Lsn>> {
  if (timeline === 1) return new Map()
  const answer = await client.query<{ content: string | Buffer }>(`TIMELINE_HISTORY ${timeline}`)
  const lines = answer.rows[0].content.toString('utf8').split('\n').map((line) => line.trim().split('\t'))
  return new Map(lines.filter(([number, lsn]) => /^\d+$/.test(number) && lsn !== undefined).map(([number, lsn]) => [Number(number), parseLsn(lsn)]))
}

/** Runs on a connection of its own and ends it. Rejects with RekeyError. */
async function once<T>(url: string, doing: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = await connect(url, { replication: true })
  try {
    return await work(client)
  } catch (error) {
    throw remoteError(error, doing)
  } finally {
    client.end().catch(() => {})
  }
}

type SlotRow = Record<
  'plugin' | 'database' | 'wal_status' | 'restart' | 'confirmed' | 'invalidation' | 'synced' | 'safe' | 'retained' | 'application', string | null
> & { temporary: boolean; active_pid: number | null }

/** Columns that older servers lack are read through JSON, which leaves them null. */
function slotQuery(name: string): string {
  return `select plugin, s.database::text, temporary, active_pid, restart_lsn::text as restart, confirmed_flush_lsn::text as confirmed,
    wal_status, safe_wal_size::text as safe, to_jsonb(s) ->> 'invalidation_reason' as invalidation, to_jsonb(s) ->> 'synced' as synced,
    pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint::text as retained, a.application_name as application
    from pg_replication_slots s left join pg_stat_activity a on a.pid = s.active_pid
    where s.slot_type = 'logical' and s.slot_name = ${quoteLiteral(name)}`
}

export function readSlot(url: string, name: string): Promise<SlotState> {
  return once(url, `read slot ${name}`, async (client) => {
    const system = await identify(client)
    const [{ standby }] = (await client.query<{ standby: boolean }>('select pg_is_in_recovery() as standby')).rows
    if (standby) {
      const hint = 'It is tried again until the server is promoted, or the address leads to the primary.'
      throw new RekeyError('REMOTE', 'the source is a standby, whose slots cannot be read', { hint })
    }
    const history = await historyOf(client, system.timeline)
    const answer = await client.query<SlotRow>(slotQuery(name))
    return { ...system, history, slot: answer.rows.length === 0 ? null : slotOf(name, answer.rows[0]) }
  })
}

function slotOf(name: string, row: SlotRow): Slot {
  return {
    name,
    plugin: row.plugin ?? '',
    database: row.database ?? '',
    temporary: row.temporary,
    activePid: row.active_pid,
    activeIsOurs: row.application === APPLICATION_NAME,
    walStatus: row.wal_status,
    restartLsn: row.restart === null ? null : parseLsn(row.restart),
    confirmedLsn: row.confirmed === null ? null : parseLsn(row.confirmed),
    invalidation: row.invalidation,
    synced: row.synced === 'true',
    safeWalBytes: row.safe === null ? null : BigInt(row.safe),
    retainedBytes: row.retained === null ? null : BigInt(row.retained),
  }
}

const FREE_MS = 5_000

/**
 * Ends the reader that holds the slot, if its application name is ours, and resolves when the slot is free; also when nobody holds it.
 * Rejects with SLOT_IN_USE when another program does, or when it does not go.
 */
export function freeSlot(url: string, name: string): Promise<void> {
  return once(url, `free slot ${name}`, async (client) => {
    for (const until = performance.now() + FREE_MS; ;) {
      const answer = await client.query<SlotRow>(slotQuery(name))
      const row = answer.rows.at(0)
      if (!row || row.active_pid === null) return
      if (row.application !== APPLICATION_NAME || performance.now() > until) {
        throw new RekeyError('SLOT_IN_USE', `slot ${name} is held by process ${row.active_pid}`)
      }
      await client.query(`select pg_terminate_backend(${row.active_pid})`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  })
}

/** Drops the slot; no error when it is not there. SLOT_IN_USE when somebody reads it. */
export function dropSlot(url: string, name: string): Promise<void> {
  return once(url, `drop slot ${name}`, async (client) => {
    const answer = await client.query<SlotRow>(slotQuery(name))
    if (answer.rows.length > 0) await client.query(`DROP_REPLICATION_SLOT ${quoteIdent(name)}`)
  })
}
