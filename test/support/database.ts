import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Server } from './postgres.ts'

/** Values are text as the server wrote it, or null: `t`, `{1,2}`, `2024-01-01 00:00:00+00`. */
export type TextRow = Record<string, string | null>

export interface Database {
  readonly url: string
  readonly name: string
  /** The rows (of the last statement, when there are several). Each call may use another connection: for a session, see client(). */
  query(sql: string, params?: readonly unknown[]): Promise<TextRow[]>
  /** Ends all its connections, drops its slots and prepared transactions, then the database. */
  drop(): Promise<void>
}

const asText = { getTypeParser: () => (value: string | Buffer) => value.toString() }

/** A new, empty database with a name of its own. */
export async function createDatabase(
  server: Pick<Server, 'url'>, name = `t_${randomBytes(6).toString('hex')}`, encoding: string | null = null,
): Promise<Database> {
  const admin = server.url()
  // template0: a copy of template1 fails while anybody is connected to that.
  await withClient(admin, (c) => c.query(`create database ${pg.escapeIdentifier(name)} template template0${encoding === null ? '' : ` encoding ${pg.escapeLiteral(encoding)}`}`))
  const url = server.url(name)
  const pool = new pg.Pool({ connectionString: url, max: 3, types: asText, allowExitOnIdle: true })
  // A server that was killed ends idle connections; the next query opens a new one.
  pool.on('error', () => undefined)
  let dropped = false
  return {
    url, name,
    query: async (sql, params) => lastOf(await pool.query<TextRow>(sql, params ? [...params] : undefined)),
    async drop() {
      if (dropped) return
      dropped = true
      const prepared = await pool.query<{ gid: string }>('select gid from pg_prepared_xacts where database = current_database()')
      for (const { gid } of prepared.rows) await pool.query(`rollback prepared ${pg.escapeLiteral(gid)}`)
      await pool.end()
      await withClient(admin, (c) => dropDatabase(c, name))
    },
  }
}

/** One connected session; values are text. The caller ends it. A connection that the server ends is no unhandled error. */
export async function client(url: string): Promise<pg.Client> {
  const session = new pg.Client({ connectionString: url, types: asText })
  session.on('error', () => undefined)
  await session.connect()
  return session
}

/**
 * Nobody may connect any more, then all connections are ended: a reader that reconnects would take its slot again. A backend
 * needs a moment to go, and until then its slot and the database are in use (55006).
 */
async function dropDatabase(admin: pg.Client, name: string): Promise<void> {
  const quoted = pg.escapeIdentifier(name)
  await admin.query(`alter database ${quoted} allow_connections false`)
  for (const end = Date.now() + 10_000; ;) {
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name])
    try {
      await admin.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1', [name])
      await admin.query(`drop database ${quoted} with (force)`)
      return
    } catch (error) {
      if ((error as { code?: string }).code !== '55006' || Date.now() > end) throw error
      await sleep(25)
    }
  }
}

async function withClient(url: string, use: (c: pg.Client) => Promise<unknown>): Promise<void> {
  const session = await client(url)
  try {
    await use(session)
  } finally {
    await session.end()
  }
}

function lastOf(result: pg.QueryResult<TextRow> | pg.QueryResult<TextRow>[]): TextRow[] {
  return (Array.isArray(result) ? result[result.length - 1] : result).rows
}
