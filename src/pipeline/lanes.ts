import { randomUUID } from 'node:crypto'
import { beginLanes, claimLane, followLanes, leaveMembers, meetMembers, readLanes, releaseLane } from '../../connectors/postgres-destination/lanes.ts'
import { parkedRows } from '../../connectors/postgres-destination/parked.ts'
import { destinationState } from '../../connectors/postgres-destination/state.ts'
import { openSource } from '../../connectors/postgres-source/source.ts'
import { sleep } from '../clock.ts'
import { RekeyError } from '../core/errors.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Checkpoint } from '../core/plan.ts'
import { shareOut } from '../core/share.ts'
import { moreCare, NO_CARE, RestartStream } from '../deliver/delivery.ts'
import { Gather } from '../deliver/lane.ts'
import type { Meter } from '../meter.ts'
import type { Bridge } from './bridge.ts'
import { openLedgerCopy } from './id-map.ts'
import { kafkaOf } from './kafka-log.ts'
import { ownTotals } from './lane-totals.ts'
import { isFenced, type LaneRun, retryAll, runLane } from './lane-run.ts'
import { namesOf } from './open.ts'
import { judge } from './prepare.ts'
import { again, passes } from './retry.ts'
import { runUnited, standing } from './united-run.ts'

/** A process that is not heard of for so long is taken for dead, and others take its partitions. */
const ALIVE_MS = 5_000
const TICK_MS = 500
/** How often parked rows are looked at for some to be tried again. */
const LOOK_MS = 2_000

/** The single delivery, until the signal aborts. */
type Single = (bridge: Bridge, signal: AbortSignal) => Promise<Checkpoint>

/** Delivery by several processes. */
export interface SharedDelivery {
  /** To be told of what the single delivery does. */
  readonly meter: Partial<Meter>
  run(bridge: Bridge, single: Single, signal: AbortSignal): Promise<Checkpoint>
}

/**
 * The initial copy, and the stream until it has passed that copy, are one process's, in the order of the source, while the others wait. Then
 * the partitions begin where it is, and are shared out among all.
 */
export function sharedDelivery(): SharedDelivery {
  let applied: (checkpoint: Checkpoint) => void = () => {}
  return {
    meter: { applied: ({ checkpoint }) => applied(checkpoint) },
    async run(bridge, single, signal) {
      const { opened: { config, destination }, events } = bridge
      const { pipeline } = config
      const state = destinationState(destination.query, pipeline)
      const hear = (to: typeof applied): void => void (applied = to)
      for (let told = false; !signal.aborted && (await state.lanes()).length === 0;) {
        try {
          await untilConverged(bridge, { single, hear }, signal)
        } catch (error) {
          if (!(error instanceof RekeyError) || error.code !== 'RUNNING') throw error
          if (!told) events.note({ level: 'info', event: 'waiting', text: 'another process makes the copy; this one takes partitions when it is complete' })
          told = true
          await sleep(TICK_MS, signal)
        }
      }
      if (!signal.aborted) await workLanes(bridge, signal)
      const checkpoint = await state.checkpoint()
      if (!checkpoint) throw new RekeyError('FENCED', `the pipeline ${pipeline} was removed while it ran`)
      return { ...checkpoint, totals: await state.totals(checkpoint) }
    },
  }
}

interface Converging {
  readonly single: Single
  readonly hear: (applied: (checkpoint: Checkpoint) => void) => void
}

async function untilConverged(bridge: Bridge, { single, hear }: Converging, signal: AbortSignal): Promise<void> {
  const { opened: { config, destination: { query } }, main } = bridge
  const stop = new AbortController()
  const isOver = async ({ phase, convergeLsn, commitLsn }: Checkpoint): Promise<boolean> =>
    phase === 'stream' && convergeLsn > 0n && commitLsn >= convergeLsn && (await parkedRows(query, config.pipeline).left()).length === 0
  hear((checkpoint) => void isOver(checkpoint).then((over) => over && stop.abort(), () => {}))
  try {
    const checkpoint = await single(bridge, AbortSignal.any([signal, stop.signal]))
    if (!(await isOver(checkpoint))) return
    await beginLanes(main.query, { pipeline: config.pipeline, partitions: kafkaOf(config).partitions, writer: main.writer() }, checkpoint)
  } finally {
    hear(() => {})
    // Whoever holds the whole pipeline keeps its partitions from everybody.
    await main.close()
  }
}

interface Held {
  readonly stop: AbortController
  readonly done: Promise<void>
}

/** Takes its share of the partitions and applies them, until the signal aborts or one of them fails for good. */
async function workLanes(bridge: Bridge, signal: AbortSignal): Promise<void> {
  const { opened: { config, destination: { query } }, meter } = bridge
  const { pipeline, retry } = config
  const checkpoint = (await destinationState(query, pipeline).checkpoint())!
  await judge(bridge, checkpoint)
  await refuseOtherCount(bridge)
  bridge.copy ??= await openLedgerCopy(bridge)
  meter.prepared(checkpoint)
  meter.streaming(checkpoint)
  const open = openSource({ url: config.source.url, ...namesOf(config), epoch: checkpoint.epoch })
  const run: LaneRun = { bridge, member: randomUUID(), source: open.source, ...ownTotals(checkpoint, meter) }
  const failed = new AbortController()
  const ended = AbortSignal.any([signal, failed.signal])
  const held = heldLanes(run, { ended, fail: (error) => failed.abort(error) })
  const looks = parkedLooks(run)
  try {
    await again({ retry, signal: ended, mayPass: passes, waits: meter.waiting }, async () => {
      for (; !ended.aborted; await sleep(TICK_MS, ended)) {
        if ((await share(run, held)) !== 'first') continue
        await followLanes(query, pipeline)
        await looks()
      }
    })
    if (failed.signal.aborted) throw failed.signal.reason
  } finally {
    failed.abort()
    await Promise.all([...held.keys()].map(held.letGo))
    await leaveMembers(query, pipeline, run.member).catch(() => {})
    await followLanes(query, pipeline).catch(() => {})
    await open.close()
  }
}

interface HeldLanes {
  begin(partition: number): void
  /** Resolves when nothing more of it is applied here. */
  letGo(partition: number): Promise<void>
  has(partition: number): boolean
  keys(): Iterable<number>
}

function heldLanes(run: LaneRun, { ended, fail }: { readonly ended: AbortSignal; readonly fail: (error: unknown) => void }): HeldLanes {
  const held = new Map<number, Held>()
  return {
    begin(partition) {
      run.bridge.events.note({ level: 'info', event: 'partition', text: `takes partition ${partition}` })
      const stop = new AbortController()
      const done = keepLane(run, partition, AbortSignal.any([ended, stop.signal])).catch(fail).finally(() => {
        held.delete(partition)
        run.onLeft(partition)
      })
      held.set(partition, { stop, done })
    },
    async letGo(partition) {
      const lane = held.get(partition)
      lane?.stop.abort()
      await lane?.done
    },
    has: (partition) => held.has(partition),
    keys: () => held.keys(),
  }
}

/** Says that this process is alive, gives up what it has too much, and takes what is free. `first`: it has the first partition. */
async function share({ bridge, member }: LaneRun, held: HeldLanes): Promise<'first' | 'other'> {
  const { config: { pipeline }, destination: { query } } = bridge.opened
  const { members, holders } = await meetMembers(query, { pipeline, member, aliveMs: ALIVE_MS })
  // Another process has it: its own transactions fail by now, and it must not be waited for.
  for (const partition of held.keys()) if (holders[partition] !== member) void held.letGo(partition)
  const { release, claim } = shareOut({ me: member, members, holders })
  for (const partition of release) {
    await held.letGo(partition)
    await releaseLane(query, { pipeline, partition, member })
  }
  const claimed: number[] = []
  for (const partition of claim) if (await claimLane(query, { pipeline, partition, member })) claimed.push(partition)
  for (const [partition, holder] of holders.entries()) {
    const isMine = claimed.includes(partition) || (holder === member && !release.includes(partition))
    if (isMine && !held.has(partition)) held.begin(partition)
  }
  return holders[0] === member && !release.includes(0) ? 'first' : 'other'
}

/** Looks now and then for parked rows that are to be tried again. */
function parkedLooks(run: LaneRun): () => Promise<void> {
  const { opened: { config, destination }, events } = run.bridge
  let looked = 0
  return async () => {
    if (performance.now() - looked < LOOK_MS) return
    looked = performance.now()
    if ((await parkedRows(destination.query, config.pipeline).due(1)).rows.length === 0) return
    await retryAll(run).catch((error: unknown) => {
      if (!isFenced(error) && !passes(error)) throw error
      events.note({ level: 'warn', event: 'restart', text: `parked rows are tried again later: ${(error as Error).message}` })
    })
  }
}

/**
 * One partition, again and again, until the signal aborts or it is another process's: by itself, or for all of them while they are united in
 * its name. Rejects with what cannot pass.
 */
async function keepLane(run: LaneRun, partition: number, signal: AbortSignal): Promise<void> {
  const { opened: { config }, events, meter } = run.bridge
  let care = NO_CARE
  /** All are to be brought to one point for what comes at this commit. */
  let next: Lsn | null = null
  const once = async (): Promise<boolean> => {
    let taken = false
    try {
      const stands = await standing(run, partition, signal)
      const turn = { partition, care, taken: () => void (taken = true) }
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
      else if (!taken) return true
      else next = null
    }
    return signal.aborted
  }
  await again({
    retry: config.retry, signal, mayPass: (error) => signal.aborted || passes(error),
    waits(error) {
      meter.waiting(error)
      events.note({ level: 'warn', event: 'restart', text: `partition ${partition} begins again at its checkpoint: ${error.message}` })
    },
  }, async () => {
    while (!(await once()));
  }).catch((error: unknown) => {
    if (!signal.aborted) meter.failed('apply', error)
    throw error
  })
}

/** Their number is where rows have their places by: it stays what it was at the beginning. */
async function refuseOtherCount({ opened: { config, destination } }: Bridge): Promise<void> {
  const lanes = await readLanes(destination.query, config.pipeline)
  const { partitions } = kafkaOf(config)
  if (lanes.length === partitions) return
  throw new RekeyError('CONFIG', `kafka.partitions is ${partitions}, and this run began with ${lanes.length}`, { hint: 'Set it back, or `rekey remove` and begin anew.' })
}
