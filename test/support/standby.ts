import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { client } from './database.ts'
import { copiedFolder, removeFolder } from './data-folder.ts'
import { startPostgres, type Server } from './postgres.ts'
import { startProxy } from './proxy.ts'

/** A primary with an asynchronous standby, behind one address as a load balancer would have it. */
export interface Pair {
  /** The address leads to whoever is the primary. */
  readonly address: Pick<Server, 'url'>
  /** The standby has everything that the primary has committed so far. */
  level(): Promise<void>
  /** The standby has a copy of this slot. */
  holds(slot: string): Promise<void>
  /** From here on nothing reaches the standby. */
  sever(): void
  /** The primary dies, and the address leads to the standby, which nobody has promoted. */
  strand(): void
  /** The primary dies, and the standby is promoted with what it has. The address leads to it when `before` is done, which may ask it. */
  failOver(before?: (url: (database: string) => string) => Promise<void>): Promise<void>
  close(): Promise<void>
}

const SLOT = 'standby'

async function withSession<T>(url: string, work: (session: Awaited<ReturnType<typeof client>>) => Promise<T>): Promise<T> {
  const session = await client(url)
  try {
    return await work(session)
  } finally {
    await session.end()
  }
}

/** `slots`: the standby may have copies of the primary's failover slots (PostgreSQL 17 and later), and these send nothing that it has not got. */
export async function startPair(major: Server['major'], { slots = false } = {}): Promise<Pair> {
  const primary = await startPostgres({ major, settings: slots ? { synchronized_standby_slots: SLOT } : {} })
  await primary.stop({ keep: true })
  const dataDir = await copiedFolder(primary.dataDir)
  await primary.restart()
  await writeFile(join(dataDir, 'standby.signal'), '')
  if (slots) await withSession(primary.url(), (session) => session.query(`select pg_create_physical_replication_slot('${SLOT}')`))
  const link = await startProxy(primary)
  const standby = await startPostgres({
    major, dataDir, settings: {
      primary_conninfo: `host=127.0.0.1 port=${link.port} user=postgres dbname=postgres`, wal_retrieve_retry_interval: '100ms',
      ...(slots ? { primary_slot_name: SLOT, hot_standby_feedback: 'on', wal_receiver_status_interval: '1s' } : {}),
    },
  })
  let leads: Server = primary
  const address = await startProxy({ host: '127.0.0.1', get port() { return leads.port } })
  const ask = (server: Server, sql: string): Promise<string> =>
    withSession(server.url(), async (session) => (await session.query<{ answer: string }>(`select (${sql})::text as answer`)).rows[0].answer)
  return {
    address: { url: (database) => address.through(primary.url(database)) },
    async level() {
      const at = await ask(primary, 'pg_current_wal_lsn()')
      for (const end = Date.now() + 20_000; await ask(standby, `pg_last_wal_replay_lsn() >= '${at}'`) !== 'true'; await sleep(20)) {
        if (Date.now() > end) throw new Error('the standby does not follow')
      }
    },
    async holds(slot) {
      const sql = `exists (select from pg_replication_slots where slot_name = '${slot}' and to_jsonb(pg_replication_slots) ->> 'synced' = 'true' and not temporary)`
      for (const end = Date.now() + 40_000; await ask(standby, sql) !== 'true'; await sleep(100)) {
        // What a primary does every 15 s, and sync_replication_slots after up to half a minute.
        await ask(primary, 'pg_log_standby_snapshot()')
        await ask(standby, 'pg_sync_replication_slots()')
        if (Date.now() > end) throw new Error('the standby has not got the slot')
      }
    },
    sever: link.freeze,
    strand() {
      primary.kill()
      leads = standby
    },
    async failOver(before) {
      primary.kill()
      await ask(standby, 'pg_promote()')
      await before?.((database) => standby.url(database))
      leads = standby
    },
    async close() {
      await Promise.all([primary.stop(), standby.stop(), link.close(), address.close()])
      await removeFolder(dataDir)
    },
  }
}
