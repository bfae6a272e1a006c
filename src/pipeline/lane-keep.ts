import type { Lsn } from '../core/lsn.ts'
import { moreCare, NO_CARE, RestartStream } from '../deliver/delivery.ts'
import { Gather } from '../deliver/lane.ts'
import { isFenced, type LaneRun, runLane } from './lane-run.ts'
import { again, passes } from './retry.ts'
import { runUnited, standing } from './united-run.ts'

/** The partitions of one process. */
export interface HeldLanes {
  /** It is to have these and no others. Those that stay are not touched. */
  assign(partitions: readonly number[]): void
  assigned(): ReadonlySet<number>
  /** What it was assigned last is still its own: whoever lost a partition to another process may take it back. */
  confirm(): void
  /** Resolves when nothing more is applied here. */
  end(): Promise<void>
}

interface Held {
  readonly stop: AbortController
  readonly done: Promise<void>
}

export function heldLanes(run: LaneRun, { ended, fail }: { readonly ended: AbortSignal; readonly fail: (error: unknown) => void }): HeldLanes {
  const held = new Map<number, Held>()
  let wanted: ReadonlySet<number> = new Set()
  const waiting: (() => void)[] = []
  const confirm = (): void => waiting.splice(0).forEach((go) => go())
  const confirmed = (signal: AbortSignal): Promise<void> => new Promise((resolve) => {
    if (signal.aborted) return resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
    waiting.push(resolve)
  })

  const begin = (partition: number): void => {
    run.bridge.events.note({ level: 'info', event: 'partition', text: `takes partition ${partition}` })
    const stop = new AbortController()
    const done = keepLane(run, { partition, confirmed }, AbortSignal.any([ended, stop.signal])).catch(fail).finally(() => {
      held.delete(partition)
      run.taken.delete(partition)
      run.onLeft(partition)
      // It was given back while it was let go of.
      agree()
    })
    held.set(partition, { stop, done })
  }
  const agree = (): void => {
    for (const [partition, { stop }] of held) if (!wanted.has(partition)) stop.abort()
    if (!ended.aborted) for (const partition of wanted) if (!held.has(partition)) begin(partition)
  }
  return {
    confirm, assigned: () => wanted,
    assign(partitions) {
      wanted = new Set(partitions)
      agree()
      confirm()
    },
    async end() {
      wanted = new Set()
      agree()
      await Promise.all([...held.values()].map(({ done }) => done))
    },
  }
}

interface Keeping {
  readonly partition: number
  /** Resolves when the group has confirmed, from now on, what this process has, and when the signal aborts. */
  readonly confirmed: (signal: AbortSignal) => Promise<void>
}

/**
 * One partition, again and again, until the signal aborts: by itself, or for all of them while they are united in its name. One that others have
 * moved is taken again at once; one that another process has taken, when the group has said since that it is ours: a process that stood still
 * hears first that it is not. Rejects with what cannot pass.
 */
async function keepLane(run: LaneRun, { partition, confirmed }: Keeping, signal: AbortSignal): Promise<void> {
  const { opened: { config }, events, meter } = run.bridge
  let care = NO_CARE
  let before = false
  /** All are to be brought to one point for what comes at this commit. */
  let next: Lsn | null = null
  const once = async (): Promise<void> => {
    let taken = false
    try {
      const stands = await standing(run, partition, signal)
      const turn = { partition, care, again: before, taken: () => void (taken = before = true) }
      if (stands === 'another') next = null
      else if (stands === 'for all' || next !== null) {
        await runUnited(run, { ...turn, next: next ?? 0n }, signal)
        next = null
        if (!signal.aborted) events.note({ level: 'info', event: 'part', text: 'each partition goes by itself again' })
      } else await runLane(run, turn, signal)
    } catch (error) {
      if (error instanceof Gather) {
        events.note({ level: 'info', event: 'gather', text: `partition ${partition} brings all partitions to one point: ${error.message}` })
        next = error.next
      } else if (error instanceof RestartStream) care = moreCare(care, error)
      else if (!isFenced(error)) throw error
      else {
        next = null
        if (taken) return
        await confirmed(signal)
        before = false
      }
    }
  }
  await again({
    retry: config.retry, signal, mayPass: (error) => signal.aborted || passes(error),
    waits(error) {
      meter.waiting(error)
      events.note({ level: 'warn', event: 'restart', text: `partition ${partition} begins again at its checkpoint: ${error.message}` })
    },
  }, async () => {
    while (!signal.aborted) await once()
  }).catch((error: unknown) => {
    if (!signal.aborted) meter.failed('apply', error)
    throw error
  })
}
