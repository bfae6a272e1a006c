import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'pg'
import { client, type TextRow } from '../test/support/database.ts'
import type { Server } from '../test/support/postgres.ts'

/** A session for the time of `use`; values are text. */
export async function within<T>(url: string, use: (session: Client) => Promise<T>): Promise<T> {
  const session = await client(url)
  try {
    return await use(session)
  } finally {
    await session.end()
  }
}

export async function rowsOf(session: Client, sql: string, params: readonly unknown[] = []): Promise<TextRow[]> {
  return (await session.query<TextRow>(sql, [...params])).rows
}

/** Sends the statements one by one in one session; resolves with the rows of the last. */
export async function execute(url: string, statements: readonly string[]): Promise<TextRow[]> {
  return within(url, async (session) => {
    let rows: TextRow[] = []
    for (const statement of statements) rows = (await session.query<TextRow>(statement)).rows ?? []
    return rows
  })
}

/** Asks until the answer is true. Rejects after `ms` milliseconds, saying what did not come. */
export async function until(what: string, check: () => Promise<boolean>, { ms, every }: { ms: number; every: number }): Promise<void> {
  const end = performance.now() + ms
  while (!(await check())) {
    if (performance.now() > end) throw new Error(`${what}: not within ${Math.round(ms / 1000)} s`)
    await sleep(every)
  }
}

export async function hasMarker(session: Client, id: number): Promise<boolean> {
  const { rows } = await session.query({ name: 'marker', text: 'select 1 from public.marker where n = $1', values: [id] })
  return rows.length > 0
}

/** A copy of a database to which nobody is connected. */
export async function copyDatabase(server: Server, from: string, to: string): Promise<void> {
  await execute(server.url(), [`create database "${to}" template "${from}"`])
}

/** With the slots of that database, which would keep it. */
export async function dropDatabase(server: Server, name: string): Promise<void> {
  for (const slot of await slotsOf(server, name)) await dropSlot(server, slot)
  await execute(server.url(), [`drop database if exists "${name}" with (force)`])
}

export async function slotsOf(server: Server, database: string): Promise<string[]> {
  const rows = await within(server.url(), (s) => rowsOf(s, 'select slot_name from pg_replication_slots where database = $1', [database]))
  return rows.map((row) => row['slot_name'] as string)
}

/** A copy of a logical slot at the same point of the WAL: whoever reads it gets the same changes again. */
export async function copySlot(url: string, from: string, to: string): Promise<void> {
  await within(url, (s) => rowsOf(s, 'select pg_copy_logical_replication_slot($1, $2)', [from, to]))
}

/** Ends a reader that is still there (a walsender needs a moment to go). A slot that is gone already is no error. */
export async function dropSlot(server: Server, name: string): Promise<void> {
  await within(server.url(), (session) => until(`drop slot ${name}`, async () => {
    const from = 'from pg_replication_slots where slot_name = $1'
    await rowsOf(session, `select pg_terminate_backend(active_pid) ${from} and active_pid is not null`, [name])
    try {
      await rowsOf(session, `select pg_drop_replication_slot(slot_name) ${from}`, [name])
      return true
    } catch (error) {
      const code = (error as { code?: string }).code
      if (code === '42704') return true
      if (code !== '55006') throw error
      return false
    }
  }, { ms: 15_000, every: 20 }))
}
