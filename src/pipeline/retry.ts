import { sleep } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { RekeyError } from '../core/errors.ts'

/** What may pass by itself: a server that does not answer, a slot that its last reader has not let go of yet, what a copy of the ledger got wrong. */
export function passes(error: unknown): boolean {
  return error instanceof RekeyError && ['REMOTE', 'SLOT_IN_USE', 'RUNNING', 'STALE'].includes(error.code)
}

/** Another process has the pipeline. */
export const isRunning = (error: unknown): boolean => error instanceof RekeyError && error.code === 'RUNNING'

export interface AgainOptions {
  readonly retry: Config['retry']
  readonly signal: AbortSignal
  /** May the work be done again after this error? */
  readonly mayPass: (error: unknown) => boolean
  /** Is called before each pause. */
  readonly waits: (error: Error) => void
}

/** Does the work again, with longer pauses each time, until it is done, the signal aborts, or it was in trouble for too long. */
export async function again({ retry, signal, mayPass, waits }: AgainOptions, work: () => Promise<void>): Promise<void> {
  let wait = retry.first
  let troubled = 0
  for (;;) {
    const began = performance.now()
    try {
      return await work()
    } catch (error) {
      const may = mayPass(error)
      if (may && signal.aborted) return
      const lasted = performance.now() - began
      if (lasted > 2 * retry.most) [wait, troubled] = [retry.first, 0]
      troubled += lasted + wait
      if (!may || troubled > retry.giveUp) throw error
      waits(error as Error)
      await sleep(wait, signal)
      wait = Math.min(retry.most, wait * 2)
    }
  }
}
