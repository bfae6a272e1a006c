import type { Transaction } from '../../src/core/change.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import { takePart } from '../../src/core/pending.ts'
import type { ChangeLog } from '../../src/ports.ts'

/**
 * The change log of a single process: a queue bounded by bytes. The replication slot itself is the durable log, so what may be confirmed is
 * what the destination has committed.
 */
export function directLog(options: { readonly maxBytes: number }): ChangeLog {
  const queue: Transaction[] = []
  let bytes = 0
  let applied: Lsn = 0n
  let closed = false
  let wakeReader: () => void = () => {}
  let wakeWriter: () => void = () => {}
  const full = (): boolean => bytes >= options.maxBytes

  return {
    async append(transactions) {
      for (const transaction of transactions) {
        queue.push(transaction)
        bytes += transaction.bytes
      }
      wakeReader()
      while (full() && !closed) await new Promise<void>((resolve) => (wakeWriter = resolve))
    },
    async *read(signal) {
      // Whoever waits for room would wait for ever once nobody reads any more.
      const stop = (): void => {
        closed = true
        wakeReader()
        wakeWriter()
      }
      if (signal.aborted) stop()
      signal.addEventListener('abort', stop)
      try {
        while (!signal.aborted) {
          if (queue.length === 0) {
            await new Promise<void>((resolve) => (wakeReader = resolve))
            continue
          }
          const { taken, size } = takePart(queue, options.maxBytes / 4)
          bytes -= size
          if (!full()) wakeWriter()
          yield taken
        }
      } finally {
        signal.removeEventListener('abort', stop)
        stop()
      }
    },
    ack(lsn) {
      if (lsn > applied) applied = lsn
    },
    durable: () => applied,
  }
}
