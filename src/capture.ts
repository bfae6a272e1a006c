import type { Transaction } from './core/change.ts'
import type { Lsn } from './core/lsn.ts'
import { retain } from './core/retain.ts'
import type { ChangeLog, Source } from './ports.ts'

export interface CaptureOptions {
  readonly source: Source
  readonly log: Pick<ChangeLog, 'append' | 'durable'>
  readonly after: Lsn
  /** How far behind what is durable the slot is kept, milliseconds. */
  readonly retainMs: number
  /** Called before they are appended: while the log has no room they are what waits. */
  readonly onRead: (transactions: readonly Transaction[]) => void
  /** A named place was reached. */
  readonly point: (name: string) => Promise<void>
  readonly now: () => number
  readonly every: (ms: number, run: () => void) => () => void
}

/**
 * Reads committed transactions and appends them to the log; what the log calls durable is confirmed to the slot, from this one place. The
 * append is the back-pressure: while the log has no room, the source is not read. Ends when the signal aborts or the stream ends.
 */
export async function capture(options: CaptureOptions, signal: AbortSignal): Promise<void> {
  const { source, log } = options
  const retained = retain(options.retainMs)
  const confirm = (): void => source.confirm(retained.note(log.durable(), options.now()))
  // A place that fails here only means that nothing is confirmed this time.
  const stop = options.every(200, () => void options.point('slot.before_ack').then(confirm).then(() => options.point('slot.acked')).catch(() => {}))
  try {
    for await (const transactions of source.stream(options.after, signal)) {
      await options.point('decode.tx_end')
      options.onRead(transactions)
      await log.append(transactions)
      await options.point('produce.acked')
    }
  } finally {
    stop()
  }
}
