import { randomUUID } from 'node:crypto'
import { allParts } from '../../connectors/kafka/part-logs.ts'
import { allLanesHolder, partLanes, readLanes, readUnited } from '../../connectors/postgres-destination/lanes.ts'
import { parkedRows } from '../../connectors/postgres-destination/parked.ts'
import { sleep } from '../clock.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Checkpoint } from '../core/plan.ts'
import { stayFor } from '../core/stay.ts'
import { deliver } from '../deliver/deliver.ts'
import type { Applied } from '../deliver/delivery.ts'
import { unite, type UniteOptions } from '../deliver/unite.ts'
import { sendMessage } from './heartbeat.ts'
import { readOptions } from './kafka-log.ts'
import { connect, deliverOptions, type LaneRun, type LaneTurn, optionsOf } from './lane-run.ts'
import { untilVisible } from './stream.ts'

/** `partition`: the one in whose name all of them are written. */
export interface UnitedTurn extends LaneTurn {
  /** They stay together at least until this commit is applied. */
  readonly next: Lsn
}

const TICK_MS = 100

/**
 * Brings all partitions to one point and goes on from there with one delivery for all, in the order of the source, as with one partition; for
 * a while that grows when it comes soon again, and until nothing is left to be read again. Then they part. When the signal aborts before,
 * they stay united, and who has the partition next goes on. Rejects with FENCED when another process has it, with what deliver() rejects with.
 */
export async function runUnited(run: LaneRun, turn: UnitedTurn, signal: AbortSignal): Promise<void> {
  const { bridge } = run
  const { config, destination, source } = bridge.opened
  const { pipeline } = config
  const { partition } = turn
  const stop = new AbortController()
  const ended = AbortSignal.any([signal, stop.signal])
  const before = await readUnited(destination.query, pipeline)
  const stayMs = before?.by === partition ? before.stayMs : stayFor(before && { ...before, partedMs: before.partedMs ?? 0 })
  let offsets = (): readonly bigint[] => []
  let close = async (): Promise<void> => {}
  const main = connect(run, allLanesHolder({ ...optionsOf(run, partition), again: turn.again, moves: true, stayMs, offsets: () => offsets() }))
  try {
    let latest = await main.destination.open()
    turn.taken()
    run.taken.set(partition, { writer: BigInt(main.writer()), offsets: () => new Map(offsets().entries()) })
    run.onTaken(partition, latest)
    const starts = (await readLanes(main.query, pipeline)).map((lane) => ({ partition: lane.partition, start: lane, offset: lane.offset }))
    const log = allParts(readOptions(bridge, latest), starts)
    offsets = log.offsets
    close = log.close
    const parked = parkedRows(main.query, pipeline)
    let marker = ''
    let gathered: readonly number[] = []
    const deliverAll: Omit<UniteOptions['deliver'], 'checkpoint'> = {
      ...deliverOptions(run, main, partition), parked, care: turn.care,
      convergeAt: (messages, lsn) => (messages.includes(marker) ? lsn : null),
      visible: (xids) => untilVisible(source, [...gathered, ...xids], ended),
      async mark() {
        marker = `converged ${randomUUID()}`
        await sendMessage(source, marker)
      },
      onApplied(applied: Applied) {
        latest = applied.checkpoint
        run.onApplied(partition, applied, 'all')
      },
    }
    if (latest.convergeLsn === 0n) await deliverAll.mark()
    latest = await unite({
      deliver: { ...deliverAll, checkpoint: latest },
      positions: () => readLanes(main.query, pipeline),
      async read(from, to) {
        const pieces = await log.upTo(from, to)
        gathered = pieces.flat().map(({ xid }) => xid)
        return pieces
      },
    })
    const began = performance.now()
    const isOver = async ({ convergeLsn, commitLsn }: Checkpoint): Promise<boolean> =>
      performance.now() - began >= stayMs && commitLsn >= turn.next && convergeLsn > 0n && commitLsn >= convergeLsn && (await parked.left()).length === 0
    const watching = stopWhen(() => isOver(latest), { stop, ended })
    await deliver({ ...deliverAll, log, checkpoint: latest }, ended)
    stop.abort()
    await watching
    if (!(await isOver(latest))) return
    // A transaction that came in part only.
    await main.destination.undo()
    await partLanes(main.query, { pipeline, partition }, main.writer())
  } finally {
    stop.abort()
    await close()
    await main.close()
  }
}

/** Looks now and then. What cannot be looked at now is looked at later. */
async function stopWhen(isOver: () => Promise<boolean>, { stop, ended }: { readonly stop: AbortController; readonly ended: AbortSignal }): Promise<void> {
  for (; !ended.aborted; await sleep(TICK_MS, ended)) if (await isOver().catch(() => false)) stop.abort()
}

/** How long a partition waits to look whether it goes by itself again. */
const APART_MS = 100

/** Who writes all partitions: this one, another one, or none. While it is another one, a moment has passed when it resolves. */
export async function standing(run: LaneRun, partition: number, signal: AbortSignal): Promise<'by itself' | 'for all' | 'another'> {
  const { config, destination } = run.bridge.opened
  const united = await readUnited(destination.query, config.pipeline)
  if (united === null || united.by === null) return 'by itself'
  if (united.by === partition) return 'for all'
  await sleep(APART_MS, signal)
  return 'another'
}
