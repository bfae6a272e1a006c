import { onePart, readUpTo } from '../../connectors/kafka/part-logs.ts'
import { areVerified } from '../../connectors/postgres-destination/object-jobs.ts'
import { postgresDestination, type PostgresDestination } from '../../connectors/postgres-destination/destination.ts'
import type { Holder } from '../../connectors/postgres-destination/holder.ts'
import { allLanesHolder, laneHolder, readLanes, readPositions } from '../../connectors/postgres-destination/lanes.ts'
import { parkedRows } from '../../connectors/postgres-destination/parked.ts'
import { sleep } from '../clock.ts'
import { RekeyError } from '../core/errors.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Checkpoint } from '../core/plan.ts'
import { relationsOf } from '../core/relations.ts'
import { deliver } from '../deliver/deliver.ts'
import { type Applied, type Care, type DeliverOptions, NO_CARE } from '../deliver/delivery.ts'
import { Stopped, type Lane } from '../deliver/lane.ts'
import { createPlanner } from '../planning/planner.ts'
import type { Source } from '../ports.ts'
import { retryTogether, unite, type UniteOptions } from '../deliver/unite.ts'
import { type Bridge, decisionsIn } from './bridge.ts'
import { throughCopy } from './id-map.ts'
import { kafkaOf, readOptions } from './kafka-log.ts'

/** What the partitions of one process have in common. */
export interface LaneRun {
  readonly bridge: Bridge
  readonly member: string
  readonly source: Pick<Source, 'read'>
  /** A partition was taken with these totals, which other processes may have made; what it applies from here on is its own. */
  readonly onTaken: (partition: number, checkpoint: Checkpoint) => void
  readonly onApplied: (partition: number, applied: Applied) => void
  /** It is another's from here on. */
  readonly onLeft: (partition: number) => void
}

const REST_MS = 20

/**
 * Applies one partition from where it is, until the signal aborts. Rejects with Gather when only all of them together can go on, with FENCED
 * when another process has it or has moved it, with what deliver() rejects with. `taken` is called when it is this process's.
 */
export async function runLane(run: LaneRun, at: { readonly partition: number; readonly care: Care; readonly taken: () => void }, signal: AbortSignal): Promise<void> {
  const { bridge } = run
  const { config } = bridge.opened
  const { partition } = at
  const stop = new AbortController()
  const ended = AbortSignal.any([signal, stop.signal])
  let offset = (): bigint => 0n
  const main = connect(run, laneHolder(optionsOf(run, partition), () => offset()))
  try {
    const checkpoint = await main.destination.open()
    at.taken()
    run.onTaken(partition, checkpoint)
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

/** Brings all partitions to one point, at least to this commit, in the name of one of them: see unite.ts. Rejects with RekeyError. */
export async function gather(run: LaneRun, { partition, next }: { readonly partition: number; readonly next: Lsn }): Promise<void> {
  let ends: readonly Lsn[] = []
  await together(run, { partition, ends: () => ends }, async (options, checkpointOf) => {
    await unite({
      ...options,
      async read(from, to) {
        const starts = from.map((start, k) => ({ partition: k, start, offset: start.offset }))
        const pieces = await readUpTo(readOptions(run.bridge, checkpointOf()), starts, to)
        ends = pieces.map((some) => some.at(-1)?.endLsn ?? 0n)
        return pieces
      },
    }, next)
  })
}

/** Tries parked rows again that a person, or a verified object, has woken. */
export function retryAll(run: LaneRun): Promise<void> {
  return together(run, { partition: 0, ends: () => [] }, (options) => retryTogether(options))
}

async function together(
  run: LaneRun, { partition, ends }: { readonly partition: number; readonly ends: () => readonly Lsn[] },
  work: (options: Omit<UniteOptions, 'read'>, checkpoint: () => Checkpoint) => Promise<void>,
): Promise<void> {
  const { pipeline } = run.bridge.opened.config
  const main = connect(run, allLanesHolder(optionsOf(run, partition), ends))
  let checkpoint: Checkpoint | null = null
  const options = deliverOptions(run, main, partition)
  const open = async (): Promise<Checkpoint> => {
    const at = await options.destination.open()
    // Opened anew after a lost connection, it tells what was committed after all.
    if (checkpoint === null) run.onTaken(partition, at)
    return (checkpoint = at)
  }
  const destination = { ...options.destination, open }
  try {
    await work({
      deliver: { ...options, destination, parked: parkedRows(main.query, pipeline), care: NO_CARE },
      positions: () => readLanes(main.query, pipeline),
    }, () => checkpoint!)
  } finally {
    await main.close()
  }
}

function optionsOf({ bridge: { opened: { config } }, member }: LaneRun, partition: number): Parameters<typeof laneHolder>[0] {
  return { pipeline: config.pipeline, partition, member, checks: config.checks }
}

function connect({ bridge: { opened, point } }: LaneRun, holder: Holder): PostgresDestination {
  const { config, mapping, catalogs } = opened
  return postgresDestination({
    url: config.destination.url, pipeline: config.pipeline, mapping, catalog: catalogs.destination, checks: config.checks, takeover: false, holder,
    searchPath: config.destination.searchPath, lockTimeoutMs: 2_000, point,
  })
}

type Common = Omit<DeliverOptions, 'log' | 'checkpoint' | 'parked' | 'care' | 'lane'>

/** Nothing converges here: partitions begin when the stream has passed the copy. */
function deliverOptions({ bridge, source, onApplied }: LaneRun, main: PostgresDestination, partition: number): Common {
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
