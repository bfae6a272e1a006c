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
  /** From here on nothing reaches the standby. */
  sever(): void
  /** The primary dies, and the standby is promoted with what it has. The address leads to it when `before` is done, which may ask it. */
  failOver(before?: (url: (database: string) => string) => Promise<void>): Promise<void>
  close(): Promise<void>
}

export async function startPair(major: Server['major']): Promise<Pair> {
  const primary = await startPostgres({ major })
  await primary.stop({ keep: true })
  const dataDir = await copiedFolder(primary.dataDir)
  await primary.restart()
  await writeFile(join(dataDir, 'standby.signal'), '')
  const link = await startProxy(primary)
  const standby = await startPostgres({
    major, dataDir, settings: { primary_conninfo: `host=127.0.0.1 port=${link.port} user=postgres`, wal_retrieve_retry_interval: '100ms' },
  })
  let leads: Server = primary
  const address = await startProxy({ host: '127.0.0.1', get port() { return leads.port } })
  const ask = async (server: Server, sql: string): Promise<string> => {
    const session = await client(server.url())
    try {
      return (await session.query<{ answer: string }>(`select (${sql})::text as answer`)).rows[0].answer
    } finally {
      await session.end()
    }
  }
  return {
    address: { url: (database) => address.through(primary.url(database)) },
    async level() {
      const at = await ask(primary, 'pg_current_wal_lsn()')
      for (const end = Date.now() + 20_000; await ask(standby, `pg_last_wal_replay_lsn() >= '${at}'`) !== 'true'; await sleep(20)) {
        if (Date.now() > end) throw new Error('the standby does not follow')
      }
    },
    sever: link.freeze,
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
