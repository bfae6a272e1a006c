import type { Socket } from 'node:net'

const WINDOW_MS = 5
const BUSY_BYTES = 64 << 10
/** What Node reads at once: less means that the socket is empty. */
const FULL_READ = 64 << 10
const READ_BYTES = 128 << 10

/**
 * Says how long to rest after a read, in milliseconds. A reader that keeps the socket empty makes the sender do twice the work, for each
 * of its messages then is a packet and a wake-up of its own. So while much arrives, what the socket holds is let grow: two full reads and
 * a millisecond of rest, two milliseconds when it was found empty. An idle stream is never delayed.
 */
export function pacer(): (bytes: number, nowMs: number) => 0 | 1 | 2 {
  let start = 0
  let current = 0
  let before = 0
  let sinceRest = 0
  return (bytes, now) => {
    if (now - start >= WINDOW_MS) {
      before = now - start < 2 * WINDOW_MS ? current : 0
      current = 0
      start = now
    }
    current += bytes
    sinceRest += bytes
    if (current + before <= BUSY_BYTES || (bytes >= FULL_READ && sinceRest < READ_BYTES)) return 0
    sinceRest = 0
    return bytes < FULL_READ ? 2 : 1
  }
}

interface ReadHandle {
  readStop(): void
  readStart(): void
}

/**
 * Stops and starts reading for two reasons that may overlap: pacing and back-pressure. Stopping the handle itself keeps Node from
 * filling its own queue with small chunks, which pause() would then hand out one per resume.
 */
export function tap(socket: Socket): { full(on: boolean): void; rest(ms: number): void; isFull(): boolean } {
  const handle = (socket as unknown as { _handle?: Partial<ReadHandle> | null })._handle
  const direct = typeof handle?.readStop === 'function' && typeof handle.readStart === 'function'
  let full = false
  let resting = false
  const apply = (): void => {
    if (socket.destroyed) return
    const stop = full || resting
    if (direct) (handle as ReadHandle)[stop ? 'readStop' : 'readStart']()
    else socket[stop ? 'pause' : 'resume']()
  }
  return {
    full(on) {
      if (full === on) return
      full = on
      apply()
    },
    rest(ms) {
      if (ms === 0 || resting || full || !direct) return
      resting = true
      apply()
      setTimeout(() => {
        resting = false
        if (!full) apply()
      }, ms)
    },
    isFull: () => full,
  }
}
