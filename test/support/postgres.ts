import { existsSync } from 'node:fs'
import path from 'node:path'
import { atExit } from './at-exit.ts'
import { installBinaries, type Major } from './binaries.ts'
import { namedFolder, removeFolder, removeFolderNow, temporaryFolder } from './data-folder.ts'
import { onFreePort } from './free-port.ts'
import { initialise, postmasterOf } from './postmaster.ts'

export type { Major } from './binaries.ts'

export interface PostgresOptions {
  readonly major: Major
  /** Server settings over the defaults, as in postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>
  readonly port?: number
  /** A folder that outlives the server. Without it, a temporary one that goes with the server. */
  readonly dataDir?: string
  /** For initdb; default C, encoding UTF8. */
  readonly locale?: string
}

export interface Server {
  readonly major: Major
  readonly host: '127.0.0.1'
  readonly port: number
  readonly dataDir: string
  /** Process id of the postmaster; another one after a restart. */
  readonly pid: number
  /** `postgres://postgres@127.0.0.1:<port>/<database>`; no password is asked on the loopback. Default database: postgres. */
  url(database?: string): string
  /** Fast shutdown, and the temporary data folder is removed. `keep: true` leaves it for a restart(). */
  stop(options?: { readonly keep?: boolean }): Promise<void>
  /** Kills the postmaster and all its children at once, as a crash would. */
  kill(): void
  /** Starts again on the same port and data, after a fast shutdown if it runs. Resolves after crash recovery. */
  restart(settings?: Readonly<Record<string, string>>): Promise<void>
}

/**
 * The server loses nothing when it is killed; only fsync is off, so the machine's own crash would hurt. Never synchronous_commit=off:
 * logical decoding reads flushed WAL alone, and a commit would reach the stream late.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  wal_level: 'logical',
  fsync: 'off',
  full_page_writes: 'off',
  max_wal_senders: '20',
  max_replication_slots: '20',
  max_prepared_transactions: '10',
  shared_buffers: '128MB',
  autovacuum: 'on',
  logging_collector: 'off',
}

/**
 * Starts a real Postgres on 127.0.0.1 and resolves when it takes connections. It ends with this process: on exit, on a signal, and
 * (on Linux) even when this process is killed. Call it from the main thread: the kernel watches the thread that started the server.
 * Each server has its own initdb, because a copied data folder would share its system identifier.
 */
export async function startPostgres(options: PostgresOptions): Promise<Server> {
  const binaries = await installBinaries(options.major)
  const temporary = options.dataDir === undefined
  const dataDir = options.dataDir === undefined ? await temporaryFolder() : await namedFolder(options.dataDir)
  const postmaster = postmasterOf({ binaries, dataDir })
  const release = atExit(() => {
    postmaster.kill()
    if (temporary) removeFolderNow(dataDir)
  })
  let removed = false
  const start = (port: number, settings = {}) => postmaster.start(port, { ...SETTINGS, ...options.settings, ...settings })
  const stop: Server['stop'] = async ({ keep = false } = {}) => {
    await postmaster.shutDown()
    if (keep) return
    release()
    removed = true
    if (temporary) await removeFolder(dataDir)
  }
  try {
    if (!existsSync(path.join(dataDir, 'PG_VERSION'))) await initialise(binaries, dataDir, options.locale ?? 'C')
    const startOn = (port: number) => start(port).then(() => port)
    const port = options.port === undefined ? await onFreePort(startOn) : await startOn(options.port)
    return {
      major: options.major, host: '127.0.0.1', port, dataDir, stop,
      get pid() { return postmaster.pid },
      kill: () => postmaster.kill(),
      url: (database = 'postgres') => `postgres://postgres@127.0.0.1:${port}/${encodeURI(database)}`,
      async restart(settings) {
        if (removed) throw new Error('restart of a server that was given up: stop it with keep: true')
        await postmaster.shutDown()
        await start(port, settings)
      },
    }
  } catch (error) {
    postmaster.kill()
    await stop()
    throw error
  }
}
