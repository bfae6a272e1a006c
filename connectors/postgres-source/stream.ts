import type { Lsn } from '../../src/core/lsn.ts'
import type { Transaction } from '../../src/core/change.ts'
import { receive, type ReceiveOptions } from './receive.ts'
import type { Confirmed } from './status.ts'

/** See Source.stream. One replication connection; the slot is free again when the iterator has returned. */
export async function* stream(options: Omit<ReceiveOptions, 'after'>, confirmed: Confirmed, from: { after: Lsn; signal: AbortSignal }):
AsyncGenerator<readonly Transaction[]> {
  const { after, signal } = from
  if (signal.aborted) return
  const receiver = receive({ ...options, after }, confirmed)
  const onAbort = (): void => void receiver.close()
  signal.addEventListener('abort', onAbort)
  try {
    for (;;) {
      const taken = receiver.take()
      if (signal.aborted) return
      if (taken.length > 0) {
        yield taken
        continue
      }
      const error = receiver.ended()
      if (error) throw error
      await receiver.ready()
    }
  } finally {
    signal.removeEventListener('abort', onAbort)
    await receiver.close()
  }
}
