import { isAlone } from './alone.ts'
import type { Transaction } from './change.ts'

/** Transactions that wait to be applied, with their rows and bytes counted. */
export interface Pending {
  push(transactions: readonly Transaction[]): void
  take(limit: { rows: number; bytes: number }): Transaction[]
  rows(): number
  bytes(): number
  length(): number
}

export function pendingTransactions(): Pending {
  let queue: Transaction[] = []
  let rows = 0
  let bytes = 0
  return {
    push(transactions) {
      for (const t of transactions) {
        queue.push(t)
        rows += t.changes.length
        bytes += t.bytes
      }
    },
    /** A fragment that is not the last ends its batch: what follows it belongs to the same destination transaction. One that goes alone is one. */
    take(limit) {
      let n = 0
      for (let r = 0, b = 0; n < queue.length && r < limit.rows && b < limit.bytes;) {
        if (n > 0 && isAlone(queue[n])) break
        const t = queue[n++]
        r += t.changes.length
        b += t.bytes
        rows -= t.changes.length
        bytes -= t.bytes
        if (!t.last || isAlone(t)) break
      }
      const taken = queue.slice(0, n)
      queue = queue.slice(n)
      return taken
    },
    rows: () => rows,
    bytes: () => bytes,
    length: () => queue.length,
  }
}


/** Takes a part of a queue, about so many bytes, so that its reader does not hold a whole one while another fills up. */
export function takePart(queue: Transaction[], bytes: number): { readonly taken: Transaction[]; readonly size: number } {
  let n = 0
  let size = 0
  while (n < queue.length && (n === 0 || size < bytes)) size += queue[n++].bytes
  return { taken: queue.splice(0, n), size }
}
