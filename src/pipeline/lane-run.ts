import { onePart } from '../../connectors/kafka/part-logs.ts'
import { areVerified } from '../../connectors/postgres-destination/object-jobs.ts'
import { postgresDestination, type PostgresDestination } from '../../connectors/postgres-destination/destination.ts'
import type { Holder } from '../../connectors/postgres-destination/holder.ts'
import { allLanesHolder, laneHolder, readLanes, readPositions, readUnited } from '../../connectors/postgres-destination/lanes.ts'
import { parkedRows } from '../../connectors/postgres-destination/parked.ts'
import { sleep } from '../clock.ts'
import { RekeyError } from '../core/errors.ts'
import type { Checkpoint } from '../core/plan.ts'
import { relationsOf } from '../core/relations.ts'
import { SHORTEST_MS } from '../core/stay.ts'
import { deliver } from '../deliver/deliver.ts'
import { type Applied, type Care, type DeliverOptions, type Lane, NO_CARE } from '../deliver/delivery.ts'
import { Stopped } from '../deliver/lane.ts'
import { createPlanner } from '../planning/planner.ts'
import type { Source } from '../ports.ts'
import { retryTogether } from '../deliver/unite.ts'
import { type Bridge, decisionsIn } from './bridge.ts'
import { throughCopy } from './id-map.ts'
import { kafkaOf, readOptions } from './kafka-log.ts'

/** What the partitions of one process have in common. */
export interface LaneRun {
  readonly bridge: Bridge
  readonly member: string
  readonly source: Pick<Source, 'read'>
  /** Partitions that it has taken, by the writer's number, and where in the log those are behind what was applied that it moves by that. */
  readonly taken: Map<number, { readonly writer: bigint; readonly offsets: () => ReadonlyMap<number, bigint> }>
  /** A partition was taken with these totals, which other processes may have made; what it applies from here on is its own. */
  readonly onTaken: (partition: number, checkpoint: Checkpoint) => void
  /** `all`: every partition is there now, by the writer of this one. */
  readonly onApplied: (partition: number, applied: Applied, of?: 'all') => void
  /** It is another's from here on. */
  readonly onLeft: (partition: number) => void
}

const REST_MS = 20

export interface LaneTurn {
  readonly partition: number
  readonly care: Care
  /** It was this process's before: if another one has taken it since, it is left to that one. */
  readonly again: boolean
  /** It is this process's. */
  readonly taken: () => void
}

/**
 * Applies one partition from where it is, until the signal aborts. Rejects with Gather when only all of them together can go on, with FENCED
 * when another process has it or has moved it, with what deliver() rejects with. Resolves at once where all are written in its name.
 */
export async function runLane(run: LaneRun, at: LaneTurn, signal: AbortSignal): Promise<void> {
  const { bridge } = run
  const { config } = bridge.opened
  const { partition } = at
  const stop = new AbortController()
  const ended = AbortSignal.any([signal, stop.signal])
  let offset = (): bigint => 0n
  const main = connect(run, laneHolder({ ...optionsOf(run, partition), again: at.again }, () => offset()))
  try {
    const checkpoint = await main.destination.open()
    at.taken()
    run.taken.set(partition, { writer: BigInt(main.writer()), offsets: () => new Map([[partition, offset()]]) })
    run.onTaken(partition, checkpoint)
    // Whoever had it before may have united them in its name meanwhile; from here on nobody else can.
    if ((await readUnited(main.query, config.pipeline))?.by === partition) return
    const known = (await readLanes(main.query, config.pipeline))[partition]
    const reads = readOptions(bridge, checkpoint)
    const log = onePart({ ...reads, maxBytes: Math.ceil(reads.maxBytes / kafkaOf(config).partitions) }, { partition, start: checkpoint, offset: known.offset })
    offset = log.offset
    const lane: Lane = {
      partition, positions: () => readPositions(main.query, config.pipeline),
      async rest() {
        await sleep(REST_MS, ended)
        if (ended.aborted) throw new Stopped('stopped')
      },
    }
    const parked = { ...parkedRows(main.query, config.pipeline), due: async () => ({ rows: [], others: new Map() }), left: async () => [] }
    await deliver({ ...deliverOptions(run, main, partition), parked, log, checkpoint, care: at.care, lane }, ended)
  } catch (error) {
    if (!(error instanceof Stopped)) throw error
  } finally {
    stop.abort()
    await main.close()
  }
}

/**
 * Tries parked rows again that a person, or a verified object, has woken, in the name of the first partition. While the partitions are united,
 * who delivers them does.
 */
export async function retryAll(run: LaneRun): Promise<void> {
  const { opened: { config, destination } } = run.bridge
  const united = await readUnited(destination.query, config.pipeline)
  if (united !== null && united.by !== null) return
  const main = connect(run, allLanesHolder({ ...optionsOf(run, 0), moves: false, stayMs: united?.stayMs ?? SHORTEST_MS, offsets: () => [] }))
  try {
    const checkpoint = await main.destination.open()
    run.onTaken(0, checkpoint)
    await retryTogether({ ...deliverOptions(run, main, 0), checkpoint, parked: parkedRows(main.query, config.pipeline), care: NO_CARE })
  } finally {
    await main.close()
  }
}

export function optionsOf({ bridge: { opened: { config } }, member }: LaneRun, partition: number): Parameters<typeof laneHolder>[0] {
  return { pipeline: config.pipeline, partition, member, again: true, checks: config.checks }
}

export function connect({ bridge: { opened, point } }: LaneRun, holder: Holder): PostgresDestination {
  const { config, mapping, catalogs } = opened
  return postgresDestination({
    url: config.destination.url, pipeline: config.pipeline, mapping, catalog: catalogs.destination, checks: config.checks, takeover: false, holder,
    searchPath: config.destination.searchPath, lockTimeoutMs: 2_000, point,
  })
}

export type Common = Omit<DeliverOptions, 'log' | 'checkpoint' | 'parked' | 'care' | 'lane'>

/** Nothing converges while partitions go by themselves: they begin when the stream has passed what was read ahead of it. */
export function deliverOptions({ bridge, source, onApplied }: LaneRun, main: PostgresDestination, partition: number): Common {
  const { opened: { config, mapping, catalogs, minters }, meter, point } = bridge
  const relations = relationsOf(catalogs.source, mapping)
  const { idMap, destination } = throughCopy(bridge, main, true)
  const planner = createPlanner({
    mapping, minters, catalog: catalogs.destination, idMap, destination, source, relations, checks: config.checks,
    looked: (asked, known) => meter.looked('memory', asked, known),
    cachedDecisions: decisionsIn(config.memory.ledger / kafkaOf(config).partitions),
    verified: (objects) => areVerified(main.query, config.pipeline, objects),
  })
  return {
    destination, planner, mapping, batch: config.batch, relations, point, now: () => performance.now(), pause: sleep,
    convergeAt: () => null, readSource: source.read, visible: async () => {}, mark: async () => {},
    onApplied: (applied) => onApplied(partition, applied), onRepeated: meter.repeated, onRetry: meter.retried,
  }
}

/** Another process has the partition, or all were moved together meanwhile. */
export function isFenced(error: unknown): boolean {
  return error instanceof RekeyError && error.code === 'FENCED'
}
