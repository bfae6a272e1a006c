import { isAlone } from '../core/alone.ts'
import type { Transaction } from '../core/change.ts'
import { RekeyError, verdictOf } from '../core/errors.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Parked } from '../core/plan.ts'
import { isCrowd, isFirst, isTooFar, turnOf } from '../core/turns.ts'
import { type DeliverOptions, type Lane, planOf, type State } from './delivery.ts'
import { carefully } from './redo.ts'

/** The delivery was told to end while it waited for the others. */
export class Stopped extends Error {}

/** The partitions have to be brought to one point together, for what comes at this commit. */
export class Gather extends Error {
  readonly next: Lsn

  constructor(next: Lsn, message: string) {
    super(message)
    this.next = next
  }
}

export async function othersOf({ partition, positions }: Lane): Promise<readonly Lsn[]> {
  return (await positions()).filter((_, k) => k !== partition)
}

/**
 * Before a batch: waits for the others where it is too far ahead of them, or where a transaction is to be applied alone. Who waits says by
 * its position that everything before is done, so of those that wait the first one never waits for another.
 */
export async function awaitOthers(first: Transaction, { options, state, settle }: { options: DeliverOptions; state: State; settle: () => Promise<void> }): Promise<void> {
  const { lane } = options
  if (!lane || first.first > 0) return
  const next = first.commitLsn
  const mayGo = async (): Promise<boolean> => {
    const all = await lane.positions()
    const others = all.filter((_, k) => k !== lane.partition)
    if (!isAlone(first)) return !isTooFar(next, others)
    return lane.partition === 0 ? isFirst(next, others) : all[0] >= next
  }
  if (!isAlone(first) && !isTooFar(next, state.others ?? (state.others = await othersOf(lane)))) return
  if (!isAlone(first) && !isTooFar(next, (state.others = await othersOf(lane)))) return
  await settle()
  await saySo(next, options, state)
  while (!(await mayGo())) await lane.rest()
  state.others = await othersOf(lane)
  if (!isAlone(first)) return
  state.alone = [...state.alone, options.now()].slice(-MOST_ALONE)
  if (lane.partition === 0 && isCrowd(state.alone)) throw new Gather(next, 'transactions that stop all others come one after the other')
  await lookAgain(options, state)
}

/** Times of transactions that went alone that are kept. */
const MOST_ALONE = 10

/** What the ledger and the parked rows say now: others may have changed them. */
async function lookAgain({ planner, parked }: DeliverOptions, state: State): Promise<void> {
  planner.decisions.reset()
  state.blocked = await parked.waiting()
}

/** Everything below this commit is applied here. */
async function saySo(next: Lsn, { destination }: DeliverOptions, state: State): Promise<void> {
  const { committed } = state
  if (next - 1n <= committed.commitLsn) return
  const to = { ...committed, commitLsn: next - 1n }
  await destination.apply(planOf({ planned: { parts: [], checks: 'engine', rows: 0, objects: [] }, decisions: [], before: committed, next: to, last: true }))
  state.committed = state.chain = to
}

/** How often a deadlock, or a lock that does not come, is met by trying again at once. */
const TRIES = 10

/** Partitions meet at the same rows (parents that they lock), so one of them now and then has to give way and comes again. */
export async function despiteLocks(
  transactions: readonly Transaction[], { options, state }: { options: DeliverOptions; state: State }, work: (open: readonly Transaction[]) => Promise<void>,
): Promise<void> {
  for (let tries = 1; ; tries++) {
    const open = transactions.filter((t) => t.commitLsn > state.committed.commitLsn)
    if (open.length === 0) return
    try {
      return await work(open)
    } catch (error) {
      const gaveWay = error instanceof RekeyError && verdictOf(error.sqlstate) === 'retry' && transactions.every((t) => t.last && t.first === 0)
      if (!gaveWay || tries === TRIES) throw error
      options.onRetry(error.sqlstate ?? error.code)
      await options.destination.undo()
      state.partial = null
      state.chain = state.committed
      await options.lane!.rest()
      await lookAgain(options, state)
    }
  }
}

/** A parent that is not there yet, a unique value that is still taken, a row that is missing, a match that may be passing. */
const MAY_PASS = new Set(['23503', '23505', '23P01', 'RK002', 'RK003'])

type Failure = Pick<Parked, 'behind' | 'sqlstate'>

/** What other partitions may help; null where they cannot: they stand still, or wait for it. */
export function helpedByOthers(transactions: readonly Transaction[]): ((failure: Failure) => boolean) | null {
  if (transactions.some((t) => isAlone(t) || !t.last || t.first > 0)) return null
  return ({ behind, sqlstate }) => !behind && MAY_PASS.has(sqlstate)
}

/** Commit of the first change that failed and that other partitions may help; null when there is none. */
export function lateIn(transactions: readonly Transaction[], parked: readonly Parked[]): Lsn | null {
  const late = parked.filter(helpedByOthers(transactions) ?? (() => false)).map(({ commitLsn }) => commitLsn)
  return late.length === 0 ? null : late.reduce((a, b) => (a < b ? a : b))
}

export interface Late {
  readonly transactions: readonly Transaction[]
  /** The first commit that failed. */
  readonly late: Lsn
  /** Where the others were when it was tried. */
  readonly seen: readonly Lsn[]
}

/**
 * Applies what comes before it, waits until others have moved on, and tries it again by itself; then all that follows. Throws Gather when
 * everything before it was there and it failed nevertheless.
 */
export async function inTurn({ transactions, late, seen }: Late, options: DeliverOptions, state: State): Promise<void> {
  const lane = options.lane!
  const before = transactions.filter((t) => t.commitLsn < late)
  const rest = transactions.slice(before.length)
  if (before.length > 0) {
    await carefully(before, options, state)
    return carefully(rest, options, state)
  }
  await saySo(late, options, state)
  for (let turn = turnOf(late, seen, await othersOf(lane)); turn !== 'again'; turn = turnOf(late, seen, await othersOf(lane))) {
    if (turn === 'gather') throw new Gather(late, 'a change meets what other partitions have done since')
    await lane.rest()
  }
  await lookAgain(options, state)
  await carefully(rest.slice(0, 1), options, state)
  if (rest.length > 1) await carefully(rest.slice(1), options, state)
}
