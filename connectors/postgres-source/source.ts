import { ZERO_LSN, type Lsn } from '../../src/core/lsn.ts'
import type { Source } from '../../src/ports.ts'
import { copier } from './copy.ts'
import { stream } from './stream.ts'
import type { Confirmed } from './status.ts'

export interface SourceOptions {
  readonly url: string
  readonly slot: string
  readonly publication: string
  /** Number of this slot in the pipeline's life; a new slot is a new epoch. */
  readonly epoch: number
  /** Snapshot that was exported with the slot; without it, or when it has gone, chunks are read under a fresh one. */
  readonly snapshotName?: string
  /** COPY connections at once. Default 2. */
  readonly copyConnections?: number
  /** Bytes of transactions that wait for a slow consumer. Default 16 MB. */
  readonly queueBytes?: number
}

export interface OpenSource {
  readonly source: Source
  /** True when copies read the snapshot that was exported with the slot. Opens it. */
  exported(): Promise<boolean>
  /** As `read` of the source, but under the snapshot of the copies. */
  readonly readCopied: Source['read']
  /** Ends the copy connections; a stream ends by its signal. */
  close(): Promise<void>
}

/** Nothing is connected before the first use. One stream at a time. */
export function openSource(options: SourceOptions): OpenSource {
  const { url, slot, publication, epoch, queueBytes } = options
  const confirmed: Confirmed = { lsn: ZERO_LSN, changed: () => {} }
  const copies = copier({ url, snapshot: options.snapshotName, connections: options.copyConnections ?? 2 })
  const source: Source = {
    stream: (after: Lsn, signal: AbortSignal) =>
      stream({ url, slot, publication, epoch, ...(queueBytes === undefined ? {} : { queueBytes }) }, confirmed, { after, signal }),
    confirm(lsn) {
      if (lsn <= confirmed.lsn) return
      confirmed.lsn = lsn
      confirmed.changed()
    },
    chunks: copies.chunks,
    copy: copies.copy,
    read: copies.read,
  }
  return { source, exported: copies.exported, readCopied: copies.readCopied, close: copies.close }
}
