import { sleep } from '../clock.ts'
import { RekeyError, type ErrorCode } from '../core/errors.ts'
import { backoffMs } from '../core/rate.ts'

const PASSING: ReadonlySet<ErrorCode> = new Set(['REMOTE', 'STORE_BUSY', 'OBJECT_CORRUPT'])

export const codeOf = (error: unknown): ErrorCode | null => error instanceof RekeyError ? error.code : null

/** How often something is tried before the job as a whole is put back. */
export const TRIES = 6

/** Does work again that failed for a reason which passes, with pauses that grow. It must be work that may have been done already. */
export async function again<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      const code = codeOf(error)
      if (tries === TRIES || code === null || !PASSING.has(code)) throw error
    }
    await sleep(backoffMs(tries, Math.random()), signal)
  }
}
