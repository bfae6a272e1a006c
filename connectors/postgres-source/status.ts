import { RekeyError } from '../../src/core/errors.ts'
import { formatLsn, type Lsn } from '../../src/core/lsn.ts'

export interface Timings {
  /** A status is sent this often even if nothing changed. */
  readonly statusMs: number
  /** Silence after which the server is asked to answer, and after which the connection counts as dead; 0 is never. */
  readonly askMs: number
  readonly deadMs: number
}

/** wal_sender_timeout in milliseconds (0 is off) to our own timings. */
export function timingsOf(walSenderTimeoutMs: number): Timings {
  if (walSenderTimeoutMs === 0) return { statusMs: 10_000, askMs: 0, deadMs: 0 }
  return { statusMs: Math.min(10_000, walSenderTimeoutMs * 0.75), askMs: walSenderTimeoutMs, deadMs: 2 * walSenderTimeoutMs }
}

/** What is durable elsewhere. It outlives one connection; `changed` is called when there is more to confirm. */
export interface Confirmed {
  lsn: Lsn
  changed: () => void
}

export interface Status {
  /** Sends what is durable now; `ask` wants an answer from the server. */
  send(ask: boolean): void
  /** Something has come from the server. */
  heard(now: number): void
  stop(): void
}

export interface StatusOptions {
  readonly confirmed: Confirmed
  readonly timings: Timings
  /** Where the slot is when the stream begins: nothing below is ever sent, and it is sent while nothing is confirmed. */
  readonly floor: Lsn
  /** False while we leave the socket alone ourselves: then silence means nothing. */
  readonly isReading: () => boolean
  readonly write: (lsn: string, ask: boolean) => void
  readonly dead: (error: RekeyError) => void
}

const CONFIRM_MS = 100

/**
 * Says to the server what is durable: at most ten times a second when that changes, at once when asked, and always on a timer, so that
 * the server keeps the connection while reading is stopped. Also ends a connection that has gone silent.
 */
export function startStatus(options: StatusOptions): Status {
  const { confirmed, timings } = options
  let soon: NodeJS.Timeout | undefined
  let sentAt = 0
  let heardAt = performance.now()
  let running = true

  function send(ask: boolean): void {
    clearTimeout(soon)
    soon = undefined
    if (!running) return
    sentAt = performance.now()
    // The library sends the address it is given plus one.
    options.write(formatLsn((confirmed.lsn > options.floor ? confirmed.lsn : options.floor) - 1n), ask)
  }

  const timer = setInterval(() => {
    const now = performance.now()
    if (!options.isReading()) heardAt = now
    const silent = now - heardAt
    if (timings.deadMs > 0 && silent >= timings.deadMs) options.dead(new RekeyError('REMOTE', 'the source has gone silent'))
    else send(timings.askMs > 0 && silent >= timings.askMs)
  }, timings.statusMs)
  confirmed.changed = () => {
    soon ??= setTimeout(send, Math.max(0, CONFIRM_MS - (performance.now() - sentAt)), false)
  }
  return {
    send,
    heard(now) {
      heardAt = now
    },
    stop() {
      running = false
      clearTimeout(soon)
      clearInterval(timer)
      confirmed.changed = () => {}
    },
  }
}
