import { createReadStream } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startPostgres, type Major, type Server } from '../test/support/postgres.ts'
import type { Place } from './contender.ts'
import { rowsOf, within } from './sql.ts'

/** Real durability, and the sizes of a small production server. */
export const SETTINGS: Readonly<Record<string, string>> = {
  shared_buffers: '512MB',
  max_wal_size: '4GB',
  checkpoint_timeout: '15min',
  logical_decoding_work_mem: '64MB',
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
}

/** Two servers and a folder; all go with close(). */
export async function openPlace(major: Major): Promise<Place & { close(): Promise<void> }> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'rekey-bench-'))
  const source = await startPostgres({ major, settings: SETTINGS })
  const destination = await startPostgres({ major, settings: SETTINGS })
  return {
    source, destination, folder,
    async close() {
      await Promise.all([source.stop(), destination.stop()])
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export async function machineOf(server: Server): Promise<Record<string, string | number>> {
  const [{ version }] = await within(server.url(), (s) => rowsOf(s, 'select version()'))
  return {
    cores: os.cpus().length,
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    postgres: /^PostgreSQL \S+/.exec(version ?? '')?.[0] ?? 'unknown',
  }
}

/** Both servers begin a run with clean buffers, a fresh checkpoint and a moment of peace. */
export async function settle(place: Place): Promise<void> {
  for (const server of [place.source, place.destination]) await within(server.url(), (s) => s.query('checkpoint'))
  await sleep(300)
}

/** Reads the WAL that a slot needs, so that no run pays for a cold page cache. */
export async function warmWal(server: Server, slot: string): Promise<void> {
  const sql = 'select pg_walfile_name(restart_lsn) as first, pg_walfile_name(pg_current_wal_lsn()) as last ' +
    'from pg_replication_slots where slot_name = $1'
  const [range] = await within(server.url(), (s) => rowsOf(s, sql, [slot]))
  const folder = path.join(server.dataDir, 'pg_wal')
  const names = (await readdir(folder)).filter((n) => /^[0-9A-F]{24}$/.test(n) && n >= range['first']! && n <= range['last']!)
  for (const name of names.sort()) {
    const stream = createReadStream(path.join(folder, name), { highWaterMark: 1 << 20 })
    await new Promise<void>((resolve, reject) => stream.on('data', () => {}).on('end', resolve).on('error', reject))
  }
}
