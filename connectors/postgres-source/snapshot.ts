import type { Client } from 'pg'
import { quoteLiteral } from '../../src/core/quote.ts'
import { connect, remoteError, sqlstateOf } from './connect.ts'
import { socketOf } from './frames.ts'

export interface SnapshotPool {
  /** True when the asked-for snapshot was still alive; else all connections share a fresh one. */
  readonly exported: boolean
  /** Runs one query at a time on the connection that holds the snapshot. */
  lead<T>(work: (client: Client) => Promise<T>): Promise<T>
  /** A connection of the pool, for one COPY at a time; to be given back with release(). */
  acquire(): Promise<Client>
  release(client: Client): Promise<void>
  close(): Promise<void>
}

export interface SnapshotOptions {
  readonly url: string
  readonly snapshot?: string | undefined
  readonly connections: number
}

/**
 * Row security must not hide rows from a copy: where it would, the server refuses instead. A lock is not waited for without end: whoever
 * holds it may wait for a lock of ours, which the server cannot know when two of our sessions wait for each other.
 */
export const READ_SETTINGS = { row_security: 'off', lock_timeout: '10s' }

const BEGIN = 'begin isolation level repeatable read read only'
/**
 * What was locked since is free again (manual, 13.3.2), and the snapshot stays: else TRUNCATE and ALTER TABLE at the source, and all that
 * comes behind them, would wait until the last table is copied.
 */
const [KEEP, UNLOCK] = ['savepoint unlocked', 'rollback to unlocked']
/** Snapshot not known: invalid parameter value, or undefined object in newer servers. */
const NO_SNAPSHOT = new Set(['22023', '42704', '58P01'])

/**
 * Connections that all see one snapshot. The first one takes the exported snapshot (or a fresh one) and exports it again, so that the
 * others can join whatever becomes of the original exporter; it copies nothing itself, so an abandoned COPY never costs the snapshot.
 */
export async function openSnapshotPool(options: SnapshotOptions): Promise<SnapshotPool> {
  const { client: leader, exported } = await openLeader(options.url, options.snapshot)
  const name = (await ask(leader, 'select pg_export_snapshot() as name')).name
  await ask(leader, KEEP)
  const idle: Client[] = []
  const waiting: (() => void)[] = []
  let open = 0
  let queue: Promise<unknown> = Promise.resolve()

  async function acquire(): Promise<Client> {
    while (idle.length === 0 && open >= options.connections) await new Promise<void>((resolve) => waiting.push(resolve))
    for (let free = idle.pop(); free; free = idle.pop()) {
      if (!socketOf(free).destroyed) return free
      open--
    }
    open++
    try {
      const client = await connect(options.url, { settings: READ_SETTINGS })
      await ask(client, BEGIN)
      await ask(client, `set transaction snapshot ${quoteLiteral(name)}`)
      await ask(client, KEEP)
      return client
    } catch (error) {
      open--
      waiting.shift()?.()
      throw error
    }
  }

  return {
    exported,
    lead(work) {
      const result = queue.then(() => work(leader).finally(() => ask(leader, UNLOCK))).catch((error: unknown) => { throw remoteError(error, 'read the source') })
      queue = result.catch(() => {})
      return result
    },
    acquire,
    async release(client) {
      const isUnlocked = !socketOf(client).destroyed && (await client.query(UNLOCK).then(() => true, () => false))
      if (isUnlocked) idle.push(client)
      else {
        socketOf(client).destroy()
        open--
      }
      waiting.shift()?.()
    },
    async close() {
      for (const client of [leader, ...idle]) await client.end().catch(() => {})
    },
  }
}

async function openLeader(url: string, snapshot: string | undefined): Promise<{ client: Client; exported: boolean }> {
  const client = await connect(url, { settings: READ_SETTINGS })
  await ask(client, BEGIN)
  if (snapshot === undefined) return { client, exported: false }
  try {
    await client.query(`set transaction snapshot ${quoteLiteral(snapshot)}`)
    return { client, exported: true }
  } catch (error) {
    if (!NO_SNAPSHOT.has(sqlstateOf(error) ?? '')) {
      client.end().catch(() => {})
      throw remoteError(error, 'take the exported snapshot')
    }
    await ask(client, 'rollback')
    await ask(client, BEGIN)
    return { client, exported: false }
  }
}

async function ask(client: Client, sql: string): Promise<Record<string, string>> {
  try {
    return (await client.query<Record<string, string>>(sql)).rows[0]
  } catch (error) {
    client.end().catch(() => {})
    throw remoteError(error, 'open a snapshot at the source')
  }
}
