import { randomUUID } from 'node:crypto'
import { readerGroup } from '../../connectors/kafka/groups.ts'
import { joinGroup } from '../../connectors/kafka/member.ts'
import { TABLES_SQL } from '../../connectors/postgres-destination/holder.ts'
import { beginLanes, followLanes, readLanes } from '../../connectors/postgres-destination/lanes.ts'
import { parkedRows } from '../../connectors/postgres-destination/parked.ts'
import { destinationState } from '../../connectors/postgres-destination/state.ts'
import { openSource } from '../../connectors/postgres-source/source.ts'
import { sleep } from '../clock.ts'
import { RekeyError } from '../core/errors.ts'
import type { Checkpoint } from '../core/plan.ts'
import type { Meter } from '../meter.ts'
import type { Bridge } from './bridge.ts'
import { dropSnapshot } from './copy.ts'
import { openLedgerCopy } from './id-map.ts'
import { clientOf, kafkaOf, prefixOf, topicOf } from './kafka-log.ts'
import { heldLanes, type HeldLanes } from './lane-keep.ts'
import { ownTotals } from './lane-totals.ts'
import { isFenced, type LaneRun, retryAll } from './lane-run.ts'
import { namesOf } from './open.ts'
import { forgotten, judge } from './prepare.ts'
import { again, isRunning, passes } from './retry.ts'

const TICK_MS = 500
/** How often the group is told how far partitions are. */
const TELL_MS = 2_000
/** How often parked rows are looked at for some to be tried again. */
const LOOK_MS = 2_000

/** The single delivery, until the signal aborts. Rejects with RUNNING when another process has the pipeline. */
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
      let waiting = false
      const converged = async (): Promise<void> => {
        while (!signal.aborted && (await state.lanes()).length === 0) {
          await untilConverged(bridge, { single, hear }, signal).catch(async (error: unknown) => {
            if (!isRunning(error)) throw error
            await dropSnapshot(bridge)
            if (!waiting) events.note({ level: 'info', event: 'waiting', text: 'another process makes the copy; this one takes partitions when it is complete' })
            waiting = true
            await sleep(TICK_MS, signal)
          })
        }
      }
      await again({ retry: config.retry, signal, mayPass: (error) => waiting && passes(error), waits: bridge.meter.waiting }, converged)
      if (!signal.aborted) await workLanes(bridge, signal)
      const checkpoint = await state.checkpoint()
      if (!checkpoint) throw forgotten(pipeline)
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
    await main.passedCopy()
    await beginLanes(main.query, { pipeline: config.pipeline, partitions: kafkaOf(config).partitions, writer: main.writer() }, checkpoint)
  } finally {
    hear(() => {})
    // Whoever holds the whole pipeline keeps its partitions from everybody.
    await main.close()
  }
}

/** Takes the partitions that the group gives it and applies them, until the signal aborts or one of them fails for good. */
async function workLanes(bridge: Bridge, signal: AbortSignal): Promise<void> {
  const { opened: { config, destination: { query } }, meter } = bridge
  const { pipeline, retry } = config
  // A run that another version began may lack some of them.
  await query(TABLES_SQL, [])
  const checkpoint = (await destinationState(query, pipeline).checkpoint())!
  await judge(bridge, checkpoint)
  await refuseOtherCount(bridge)
  bridge.copy ??= await openLedgerCopy(bridge)
  meter.prepared(checkpoint)
  meter.streaming(checkpoint)
  const open = openSource({ url: config.source.url, ...namesOf(config), epoch: checkpoint.epoch })
  const run: LaneRun = { bridge, member: randomUUID(), source: open.source, taken: new Map(), ...ownTotals(checkpoint, meter) }
  const failed = new AbortController()
  const ended = AbortSignal.any([signal, failed.signal])
  const held = heldLanes(run, { ended, fail: (error) => failed.abort(error) })
  const looks = parkedLooks(run)
  const repeat = (work: () => Promise<void>): Promise<void> =>
    again({ retry, signal: ended, mayPass: passes, waits: meter.waiting }, work).catch((error: unknown) => failed.abort(error))
  try {
    await Promise.all([
      repeat(() => asMember(run, held, ended)),
      repeat(async () => {
        for (; !ended.aborted; await sleep(TICK_MS, ended)) {
          if (!held.assigned().has(0)) continue
          await followLanes(query, pipeline)
          await looks()
        }
      }),
    ])
    if (failed.signal.aborted) throw failed.signal.reason
  } finally {
    failed.abort()
    await held.end()
    await followLanes(query, pipeline).catch(() => {})
    await open.close()
  }
}

/** As a member of the group, until the signal aborts. Rejects when the group cannot be reached; what this process has it goes on with meanwhile. */
async function asMember(run: LaneRun, held: HeldLanes, signal: AbortSignal): Promise<void> {
  const { config } = run.bridge.opened
  const { topic, partitions = 1 } = topicOf(config)
  const member = await joinGroup({
    kafka: clientOf(kafkaOf(config)), topic, partitions, group: readerGroup(prefixOf(config)),
    held: () => new Map([...held.assigned()].map((partition) => [partition, run.taken.get(partition)?.writer ?? 0n])),
    assigned: held.assign, confirmed: held.confirm,
  })
  const tell = (): Promise<void> => member.tell(new Map([...run.taken.values()].flatMap(({ offsets }) => [...offsets()])))
  try {
    while (!signal.aborted) {
      await Promise.race([member.failed, sleep(TELL_MS, signal)])
      await Promise.race([member.failed, tell()])
    }
    await held.end()
  } finally {
    await member.leave()
  }
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

/** Their number is where rows have their places by: it stays what it was at the beginning. */
async function refuseOtherCount({ opened: { config, destination } }: Bridge): Promise<void> {
  const lanes = await readLanes(destination.query, config.pipeline)
  const { partitions } = kafkaOf(config)
  if (lanes.length === partitions) return
  throw new RekeyError('CONFIG', `kafka.partitions is ${partitions}, and this run began with ${lanes.length}`, { hint: 'Set it back, or `rekey remove` and begin anew.' })
}
