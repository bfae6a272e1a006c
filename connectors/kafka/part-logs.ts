import type { Transaction } from '../../src/core/change.ts'
import { RekeyError } from '../../src/core/errors.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import type { ChangeLog } from '../../src/ports.ts'
import type { Place } from './chain.ts'
import { takeInOrder } from './in-order.ts'
import { openParts, type Part, type Parts, type PartsOptions } from './parts.ts'

type Reads = Pick<ChangeLog, 'read' | 'ack'>

export interface PartLogOptions extends Omit<PartsOptions, 'starts'> {
  readonly onRead: (transactions: readonly Transaction[]) => void
}

/** All partitions as one log, in the order of the source. */
export function allParts(options: PartLogOptions, start: Place): Reads {
  const { partitions = 1 } = options.topic
  let place = start
  const onRead = (transactions: readonly Transaction[]): void => {
    place = placeBehind(transactions, place)
    options.onRead(transactions)
  }
  return {
    read(signal) {
      const starts = Array.from({ length: partitions }, (_, partition) => ({ partition, start: place, offset: 0n }))
      return reading({ ...options, starts, onRead }, ({ parts }) => takeInOrder(parts), signal)
    },
    ack: () => {},
  }
}

/** What whoever took these has. */
function placeBehind(transactions: readonly Transaction[], before: Place): Place {
  const last = transactions.findLast((t) => t.last)
  return last ? { commitLsn: last.commitLsn, endLsn: last.endLsn } : before
}

export interface OnePart {
  readonly partition: number
  readonly start: Place
  readonly offset: bigint
}

/** One partition as a log, for one reader. `offset()`: where its next reader may begin, behind what was acknowledged. */
export function onePart(options: PartLogOptions, { partition, start, offset }: OnePart): Reads & { offset(): bigint } {
  let hint = offset
  let part: Part | null = null
  const take = ({ parts }: Parts): Transaction[] => {
    part = parts[0]
    const taken = part.queue
    part.queue = []
    return taken
  }
  return {
    read: (signal) => reading({ ...options, starts: [{ partition, start, offset }] }, take, signal),
    ack(lsn) {
      const behind = part?.offsetBehind(lsn) ?? 0n
      if (behind > hint) hint = behind
    },
    offset: () => hint,
  }
}

async function* reading(options: PartsOptions & Pick<PartLogOptions, 'onRead'>, take: (parts: Parts) => Transaction[], signal: AbortSignal): AsyncGenerator<Transaction[]> {
  if (signal.aborted) return
  const open = await openParts(options)
  signal.addEventListener('abort', open.stop)
  try {
    if (signal.aborted) open.stop()
    while (await open.changed()) {
      const taken = take(open)
      if (taken.length === 0) continue
      options.onRead(taken)
      yield taken
    }
  } finally {
    signal.removeEventListener('abort', open.stop)
    open.stop()
    await open.close()
  }
}

/** How long the other partitions may take to come as far as the farthest. */
const GATHER_MS = 20_000

/** Everything that partitions have behind their places, up to and including a commit. Rejects with REMOTE when it does not come in time. */
export async function readUpTo(options: Omit<PartsOptions, 'starts'>, starts: readonly OnePart[], to: Lsn): Promise<Transaction[][]> {
  const behind = starts.filter(({ start }) => start.commitLsn < to)
  const gathered: Transaction[][] = starts.map(() => [])
  if (behind.length === 0) return gathered
  const open = await openParts({ ...options, starts: behind })
  const timer = setTimeout(open.stop, GATHER_MS)
  const isThere = (part: Part): boolean => part.reached() >= to || (part.queue.at(-1)?.commitLsn ?? 0n) > to
  try {
    for (;;) {
      for (const part of open.parts) {
        gathered[starts.findIndex(({ partition }) => partition === part.partition)].push(...part.queue.filter((t) => t.commitLsn <= to))
        part.queue = part.queue.filter((t) => t.commitLsn > to).slice(-1)
      }
      if (open.parts.every(isThere)) return gathered
      if (!(await open.changed())) throw new RekeyError('REMOTE', 'the change log does not have yet what other partitions have passed')
    }
  } finally {
    clearTimeout(timer)
    await open.close()
  }
}
