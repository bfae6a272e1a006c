import type { Change, Transaction } from '../../src/core/change.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import type { Sink } from './pgoutput.ts'

/** The prefix of the logical messages that are ours. */
export const MESSAGE_PREFIX = 'rekey'
/** What a change costs in memory beside its row's bytes, so that many tiny rows are bounded too. */
const CHANGE_BYTES = 128

export interface AssembleOptions {
  readonly epoch: number
  /** Transactions at or below this commit LSN are replays and are dropped. */
  readonly after: Lsn
  /** An open transaction of this size is given out as a fragment. Default 4 MB, 20,000 changes. */
  readonly fragmentBytes?: number
  readonly fragmentChanges?: number
}

export interface Assembler extends Sink {
  /**
   * The server says that every commit up to this address was sent. Outside a transaction it becomes an empty one, whose commit LSN is
   * one below: the next commit record may begin at this very address.
   */
  reached(lsn: Lsn, micros: number): void
  /** Hands over what is complete. */
  take(): Transaction[]
  /** Bytes that take() would hand over. */
  bytes(): number
}

/** Turns decoded messages into transactions, in commit order. */
export function assemble(options: AssembleOptions): Assembler {
  const { epoch, after, fragmentBytes = 4 << 20, fragmentChanges = 20_000 } = options
  let out: Transaction[] = []
  let queued = 0
  let open: { commitLsn: Lsn; commitMicros: number; xid: number } | null = null
  let skipping = false
  let last = after
  let first = 0
  let bytes = 0
  let changes: Change[] = []
  let messages: string[] = []

  function put(tx: Transaction): void {
    const before = out.at(-1)
    if (before && isSilent(before) && isSilent(tx)) {
      out[out.length - 1] = tx
      return
    }
    out.push(tx)
    queued += tx.bytes
  }

  function flush(endLsn: Lsn | null): void {
    if (!open) return
    const { xid, commitLsn, commitMicros } = open
    put({ epoch, xid, commitLsn, endLsn: endLsn ?? 0n, commitMicros, changes, first, last: endLsn !== null, bytes, messages })
    first += changes.length
    bytes = 0
    changes = []
    messages = []
  }

  function putEmpty(commitLsn: Lsn, endLsn: Lsn, more: { commitMicros: number; messages: readonly string[] }): void {
    put({ epoch, xid: 0, commitLsn, endLsn, changes: [], first: 0, last: true, bytes: CHANGE_BYTES, ...more })
    last = commitLsn
  }

  return {
    begin(commitLsn, commitMicros, xid) {
      open = { commitLsn, commitMicros, xid }
      skipping = commitLsn <= after
      first = 0
      bytes = CHANGE_BYTES
      return !skipping
    },
    change(change, size) {
      changes.push(change)
      bytes += size + CHANGE_BYTES
      // The tables of one TRUNCATE stay together, for their rows may refer to each other.
      if (change.op !== 'truncate' && (bytes >= fragmentBytes || changes.length >= fragmentChanges)) flush(null)
    },
    message(lsn, transactional, prefix, content) {
      if (prefix !== MESSAGE_PREFIX || skipping) return
      if (open) {
        messages.push(content.toString('utf8'))
        bytes += content.length
        // Its address is where its record ends, which is where the next commit record may begin.
      } else if (!transactional && lsn - 1n > last) putEmpty(lsn - 1n, lsn, { commitMicros: 0, messages: [content.toString('utf8')] })
    },
    commit(commitLsn, endLsn) {
      if (!skipping) {
        flush(endLsn)
        last = commitLsn
      }
      open = null
      skipping = false
    },
    reached(lsn, commitMicros) {
      if (!open && lsn - 1n > last) putEmpty(lsn - 1n, lsn, { commitMicros, messages: [] })
    },
    take() {
      const taken = out
      out = []
      queued = 0
      return taken
    },
    bytes: () => queued,
  }
}

function isSilent(tx: Transaction): boolean {
  return tx.changes.length === 0 && tx.messages.length === 0 && tx.last && tx.first === 0
}
