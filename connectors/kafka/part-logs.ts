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

export interface AllParts extends Reads {
  /**
   * Everything that each partition has behind these places, up to and including a commit; what follows is read() afterwards. Rejects with
   * REMOTE when it does not come in time.
   */
  upTo(from: readonly Place[], to: Lsn): Promise<Transaction[][]>
  /** For each partition where its next reader may begin, behind what was acknowledged. */
  offsets(): readonly bigint[]
  /** Of a reader that only upTo() opened. */
  close(): Promise<void>
}

/** All partitions as one log, in the order of the source. */
export function allParts(options: PartLogOptions, starts: readonly OnePart[]): AllParts {
  let places = starts
  let opened: Promise<Parts> | null = null
  let open: Parts | null = null
  const openNow = async (): Promise<Parts> =>
    (open = await (opened ??= openParts({ ...options, starts: places, maxBytes: Math.ceil(options.maxBytes / starts.length) })))
  const move = (to: (start: Place) => Place): void => void (places = places.map((one) => ({ ...one, start: to(one.start) })))
  const onRead = (transactions: readonly Transaction[]): void => {
    move((start) => placeBehind(transactions, start))
    options.onRead(transactions)
  }
  const close = async (): Promise<void> => {
    const closing = opened
    opened = open = null
    await closing?.then((parts) => parts.close(), () => {})
  }
  return {
    async upTo(from, to) {
      const taken = await takeUpTo(await openNow(), { from, to })
      const endLsn = [...from, ...taken.flat()].reduce((end, one) => (one.endLsn > end ? one.endLsn : end), 0n)
      move(() => ({ commitLsn: to, endLsn }))
      return taken
    },
    async *read(signal) {
      if (signal.aborted) return
      try {
        yield* reading(await openNow(), { take: ({ parts }) => takeInOrder(parts), onRead, signal })
      } finally {
        await close()
      }
    },
    ack(lsn) {
      for (const part of open?.parts ?? []) {
        const behind = part.offsetBehind(lsn)
        places = places.map((one) => (one.partition === part.partition && behind > one.offset ? { ...one, offset: behind } : one))
      }
    },
    offsets: () => places.map(({ offset }) => offset),
    close,
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
    async *read(signal) {
      if (signal.aborted) return
      yield* reading(await openParts({ ...options, starts: [{ partition, start, offset }] }), { take, onRead: options.onRead, signal })
    },
    ack(lsn) {
      const behind = part?.offsetBehind(lsn) ?? 0n
      if (behind > hint) hint = behind
    },
    offset: () => hint,
  }
}

interface Reading {
  readonly take: (parts: Parts) => Transaction[]
  readonly onRead: PartLogOptions['onRead']
  readonly signal: AbortSignal
}

/** Closes what it reads from. */
async function* reading(open: Parts, { take, onRead, signal }: Reading): AsyncGenerator<Transaction[]> {
  signal.addEventListener('abort', open.stop)
  try {
    if (signal.aborted) open.stop()
    do {
      const taken = take(open)
      if (taken.length === 0) continue
      onRead(taken)
      yield taken
    } while (await open.changed())
  } finally {
    signal.removeEventListener('abort', open.stop)
    open.stop()
    await open.close()
  }
}

/** How long the other partitions may take to come as far as the farthest. */
const GATHER_MS = 20_000

async function takeUpTo(open: Parts, { from, to }: { readonly from: readonly Place[]; readonly to: Lsn }): Promise<Transaction[][]> {
  const gathered: Transaction[][] = from.map(() => [])
  const timer = setTimeout(open.stop, GATHER_MS)
  const isThere = (part: Part): boolean => part.reached() >= to || (part.queue.at(-1)?.commitLsn ?? 0n) > to
  try {
    for (;;) {
      for (const part of open.parts) {
        gathered[part.partition].push(...part.queue.filter(({ commitLsn }) => commitLsn > from[part.partition].commitLsn && commitLsn <= to))
        part.queue = part.queue.filter(({ commitLsn }) => commitLsn > to)
      }
      if (open.parts.every(isThere)) return gathered
      if (!(await open.changed())) throw new RekeyError('REMOTE', 'the change log does not have yet what other partitions have passed')
    }
  } finally {
    clearTimeout(timer)
  }
}
