import type { Client } from 'pg'
import { RekeyError } from '../../src/core/errors.ts'
import { nameOf, type TableName } from '../../src/core/relation.ts'
import type { Row } from '../../src/core/row.ts'
import { markFields, newArena, newPool, type Pool, reserve } from './arena.ts'
import { remoteError } from './connect.ts'
import { copyFrom, socketOf } from './frames.ts'
import { tap } from './pace.ts'

const BLOCK_BYTES = 512 << 10
const QUEUE_BYTES = 4 << 20
const NEWLINE = 10

/**
 * Runs COPY … TO STDOUT and yields its rows in blocks of about half a megabyte. At most a few blocks wait for the consumer. With
 * `recycle` the rows of a block are valid only until the next one is asked for. When the consumer stops early the connection is destroyed,
 * since a COPY cannot be left. Throws RekeyError.
 */
export async function* copyRows(
  client: Client, sql: string, { of, width, recycle = false }: { readonly of: TableName; readonly width: number; readonly recycle?: boolean },
): AsyncGenerator<readonly Row[]> {
  const flow = tap(socketOf(client))
  const lines = lineReader(width, recycle ? newPool() : undefined)
  let ended: { error?: unknown } | undefined
  let wake: () => void = () => {}
  const over = copyFrom(client, sql, {
    data: lines.line,
    chunk() {
      if (lines.waiting() > QUEUE_BYTES) flow.full(true)
      if (lines.waiting() >= BLOCK_BYTES) wake()
    },
  }).then(() => { ended = {} }, (error: unknown) => { ended = { error } }).finally(() => wake())
  try {
    for (;;) {
      if (!ended && lines.waiting() < BLOCK_BYTES) await new Promise<void>((resolve) => { wake = resolve })
      const rows = lines.take()
      flow.full(false)
      if (rows.length > 0) yield rows
      else if (ended) break
    }
    if (ended.error !== undefined) throw remoteError(ended.error, `copy rows of ${nameOf(of)} from the source`)
  } finally {
    if (!ended) {
      socketOf(client).destroy()
      await over
    }
  }
}

/** COPY text lines to rows. A line is copied as it is: its bytes are COPY text already. */
function lineReader(width: number, pool: Pool | undefined) {
  const arena = newArena(pool)
  /** Full blocks with rows that were taken last, or before. */
  let held: Pick<Pool, 'fullBytes' | 'fullEnds'> = { fullBytes: [], fullEnds: [] }
  let rows: Row[] = []
  let bytes = 0
  return {
    line(src: Buffer, start: number, end: number): void {
      const length = end - start - (src[end - 1] === NEWLINE ? 1 : 0)
      // A line has fewer tabs than bytes; the usual case asks for the fields that there must be.
      reserve(arena, length, width)
      const at = arena.at
      arena.buf.set(new Uint8Array(src.buffer, src.byteOffset + start, length), at)
      const fields = markFields(arena, at, at + length)
      if (fields !== width) throw new RekeyError('INTERNAL', `a copied row has ${fields} fields, ${width} were asked for`)
      rows.push({ buf: arena.buf, ends: arena.ends, at: arena.endsAt, width })
      arena.at = at + length
      arena.endsAt += width + 1
      bytes += length + 64
    },
    waiting: () => bytes,
    /** With a pool, nobody holds rows of earlier calls any more. */
    take(): Row[] {
      if (pool) {
        pool.freeBytes.push(...held.fullBytes)
        pool.freeEnds.push(...held.fullEnds)
        held = { fullBytes: pool.fullBytes, fullEnds: pool.fullEnds }
        pool.fullBytes = []
        pool.fullEnds = []
      }
      const taken = rows
      rows = []
      bytes = 0
      return taken
    },
  }
}
