import type { Client } from 'pg'
import { quoteIdent, quoteLiteral } from '../../src/core/quote.ts'
import { nameOf, type TableName } from '../../src/core/relation.ts'
import { Rewritten } from '../../src/core/rewritten.ts'
import type { Row } from '../../src/core/row.ts'
import type { Chunk, Source } from '../../src/ports.ts'
import { chunksOf, keyRange, layoutOf } from './chunks.ts'
import { connect, remoteError } from './connect.ts'
import { socketOf } from './frames.ts'
import { copyRows } from './lines.ts'
import { isRewritten } from './rewritten.ts'
import { openSnapshotPool, READ_SETTINGS, type SnapshotPool } from './snapshot.ts'

export interface CopyOptions {
  readonly url: string
  /** Name of an exported snapshot. */
  readonly snapshot?: string | undefined
  /** COPY connections at once. Default 2. */
  readonly connections?: number
}

export interface Copier extends Pick<Source, 'chunks' | 'copy' | 'read'> {
  /** Opens the snapshot; true when it is the one that was exported with the slot. */
  exported(): Promise<boolean>
  /** Rows by key, under the snapshot. */
  readonly readCopied: Source['read']
  close(): Promise<void>
}

const KEYS_AT_ONCE = 1_000

/** Reads rows: chunks and copy under one snapshot, opened at the first use; read as committed now. */
export function copier(options: CopyOptions): Copier {
  let opening: Promise<SnapshotPool> | undefined
  const pool = (): Promise<SnapshotPool> => {
    opening ??= openSnapshotPool({ url: options.url, snapshot: options.snapshot, connections: options.connections ?? 2 })
    return opening
  }

  async function* copy(chunk: Chunk, columns: readonly string[]): AsyncGenerator<readonly Row[]> {
    const from = await pool()
    const layout = await from.lead((client) => layoutOf(client, chunk.table))
    const sql = copySql(columns, layout.from, keyRange(layout.key, chunk))
    const client = await from.acquire()
    let whole = false
    try {
      yield* copyRows(client, sql, { of: chunk.table, width: columns.length, recycle: true })
      if (await isRewritten(client, chunk.table)) throw new Rewritten(nameOf(chunk.table))
      whole = true
    } finally {
      // After an error its transaction is of no use any more.
      if (!whole) socketOf(client).destroy()
      await from.release(client)
    }
  }

  return {
    exported: async () => (await pool()).exported,
    chunks: async (table, rows) => (await pool()).lead(async (client) => chunksOf(client, await layoutOf(client, table), rows)),
    copy,
    read: (table, columns, by, keys) => readNow(options.url, { table, columns, by, keys }),
    async readCopied(table, columns, by, keys) {
      const from = await pool()
      const client = await from.acquire()
      try {
        return await readFrom(client, { table, columns, by, keys })
      } catch (error) {
        socketOf(client).destroy()
        throw remoteError(error, 'read rows of the source')
      } finally {
        await from.release(client)
      }
    },
    async close() {
      const opened = await opening?.catch(() => undefined)
      opening = undefined
      await opened?.close()
    },
  }
}

function copySql(columns: readonly string[], from: string, where: string): string {
  return `copy (select ${columns.map(quoteIdent).join(', ')} from ${from}${where}) to stdout`
}

interface ReadOptions {
  readonly table: TableName
  readonly columns: readonly string[]
  readonly by: readonly string[]
  readonly keys: readonly (readonly string[])[]
}

async function readNow(url: string, options: ReadOptions): Promise<Row[]> {
  if (options.keys.length === 0) return []
  const client = await connect(url, { settings: READ_SETTINGS })
  try {
    return await readFrom(client, options)
  } catch (error) {
    throw remoteError(error, 'read rows of the source')
  } finally {
    client.end().catch(() => {})
  }
}

async function readFrom(client: Client, { table, columns, by, keys }: ReadOptions): Promise<Row[]> {
  const { from } = await layoutOf(client, table)
  const found: Row[] = []
  for (let at = 0; at < keys.length; at += KEYS_AT_ONCE) {
    const list = keys.slice(at, at + KEYS_AT_ONCE).map((key) => `(${key.map(quoteLiteral).join(', ')})`).join(', ')
    const where = ` where (${by.map(quoteIdent).join(', ')}) in (${list})`
    for await (const rows of copyRows(client, copySql(columns, from, where), { of: table, width: columns.length })) found.push(...rows)
  }
  return found
}
