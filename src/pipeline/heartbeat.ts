import { sleep } from '../clock.ts'
import { HEARTBEAT_TEXT } from '../core/heartbeat.ts'
import type { Opened } from './open.ts'

const EMIT = 'select pg_logical_emit_message(false, $1,'

/** A message that goes through the slot behind everything committed so far. */
export async function sendMessage(source: Opened['source'], text: string): Promise<void> {
  await source.query(`${EMIT} $2)`, ['rekey', text])
}

export interface HeartbeatOptions {
  /** Sent once, before all: behind everything that the initial copy can have seen. */
  readonly marker: string | null
  /** Null: somebody else moves the slot on. */
  readonly everyMs: number | null
  /** Done with each. */
  readonly look?: () => Promise<void>
  readonly signal: AbortSignal
}

/** Logical messages that move a quiet slot on. */
export function startHeartbeat(source: Opened['source'], { marker, everyMs, look, signal }: HeartbeatOptions): { done: Promise<void>; stop(): void } {
  const stopped = new AbortController()
  const either = AbortSignal.any([signal, stopped.signal])
  const done = (async () => {
    if (marker) await sendMessage(source, marker)
    await look?.()
    while (everyMs !== null && !either.aborted) {
      await sleep(everyMs, either)
      if (either.aborted) break
      await source.query(`${EMIT} ${HEARTBEAT_TEXT})`, ['rekey'])
      await look?.()
    }
  })()
  return { done, stop: () => stopped.abort() }
}
