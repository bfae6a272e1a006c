import { randomUUID } from 'node:crypto'
import { directLog } from '../../connectors/direct/log.ts'
import { copiedSince } from '../../connectors/postgres-destination/chunks.ts'
import { areVerified } from '../../connectors/postgres-destination/object-jobs.ts'
import { parkedRows } from '../../connectors/postgres-destination/parked.ts'
import { openSource } from '../../connectors/postgres-source/source.ts'
import { capture } from '../capture.ts'
import { every, sleep } from '../clock.ts'
import { RekeyError } from '../core/errors.ts'
import type { Checkpoint } from '../core/plan.ts'
import { relationsOf } from '../core/relations.ts'
import { deliver } from '../deliver/deliver.ts'
import { type Care, RestartStream } from '../deliver/delivery.ts'
import type { Stage } from '../meter.ts'
import { createPlanner } from '../planning/planner.ts'
import { type Bridge, decisionsIn } from './bridge.ts'
import { sendMessage, startHeartbeat } from './heartbeat.ts'
import { recordPairs, throughCopy } from './id-map.ts'
import { readsFromKafka } from './kafka-log.ts'
import { namesOf, type Opened } from './open.ts'

/**
 * Delivery, and where the slot itself is the log capture beside it, until the signal aborts or one of them fails.
 */
export async function stream(
  bridge: Bridge, checkpoint: Checkpoint, { care, signal }: { readonly care: Care; readonly signal: AbortSignal },
): Promise<Checkpoint> {
  const { opened, main, meter, point } = bridge
  const { config, mapping, catalogs } = opened
  const direct = config.log === 'direct' ? directLog({ maxBytes: config.memory.queue }) : null
  const log = direct ?? readsFromKafka(bridge, checkpoint)
  const open = openSource({ url: config.source.url, ...namesOf(config), epoch: checkpoint.epoch, queueBytes: config.memory.transaction })
  // Never the same twice: one that an earlier run sent may be on its way, too.
  let marker = `converged ${randomUUID()}`
  let latest = checkpoint
  const stop = new AbortController()
  const ended = AbortSignal.any([signal, stop.signal])
  const beat = startHeartbeat(opened.source, {
    marker: checkpoint.convergeLsn === 0n ? marker : null, everyMs: direct ? config.heartbeat : null, signal: ended,
  })
  // Its failure is awaited with the others'; until then it must not count as unhandled.
  beat.done.catch(() => {})
  try {
    const relations = relationsOf(catalogs.source, mapping)
    const { idMap, destination } = throughCopy(bridge, main, true)
    const planner = createPlanner({
      mapping, minters: opened.minters, catalog: catalogs.destination, idMap, destination, source: open.source,
      looked: (asked, known) => meter.looked('memory', asked, known),
      relations, catalogLsn: opened.catalogLsn, checks: config.checks, cachedDecisions: decisionsIn(config.memory.ledger),
      since: await copiedSince(main.query, config.pipeline), verified: (objects) => areVerified(main.query, config.pipeline, objects),
    })
    const pairs = recordPairs(bridge, ended)
    meter.streaming(checkpoint)
    const parked = parkedRows(main.query, config.pipeline)
    const tasks: [Stage, Promise<void>][] = [
      ...(direct ? [['decode', capture({ source: open.source, log: direct, after: checkpoint.commitLsn, retainMs: config.retain, onRead: meter.read,
        point, now: () => performance.now(), every }, ended)] satisfies [Stage, Promise<void>]] : []),
      ['apply', deliver({
        log, destination, planner, mapping, checkpoint, batch: config.batch, parked, relations, care, point,
        now: () => performance.now(),
        convergeAt: (messages, lsn) => (messages.includes(marker) ? lsn : null),
        onApplied: (applied) => {
          latest = applied.checkpoint
          meter.applied(applied)
        },
        ...(pairs ? { onCommitted: (transactions) => pairs.committed(transactions, planner.programOf) } : {}),
        onRepeated: meter.repeated,
        onRetry: meter.retried,
        readSource: open.source.read,
        visible: (xids) => untilVisible(opened.source, xids, ended),
        passedCopy: main.passedCopy,
        async mark() {
          marker = `converged ${randomUUID()}`
          await sendMessage(opened.source, marker)
        },
        pause: sleep,
      }, ended)],
      ['decode', beat.done],
    ]
    const settled = await Promise.allSettled(tasks.map(([stage, task]) => task.catch((error: unknown) => {
      stop.abort()
      if (!(error instanceof RestartStream)) meter.failed(stage, error)
      throw error
    })))
    const errors = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason as Error] : []))
    const grave = errors.find((error) => error instanceof RekeyError && error.exit !== 6)
    const first = grave ?? errors.find((error) => error instanceof RestartStream) ?? errors[0]
    if (first) throw first
    return latest
  } finally {
    beat.stop()
    await open.close()
  }
}

/**
 * A commit is in the log, and so in the stream, before new snapshots hold it (synchronous replication can stretch that to seconds). Ids of
 * transactions are compared as 32 bits that wrap around.
 */
export async function untilVisible(source: Opened['source'], xids: readonly number[], signal: AbortSignal): Promise<void> {
  for (;;) {
    const [[most, ...running]] = await source.query(
      "select pg_snapshot_xmax(s)::text, x.* from pg_current_snapshot() s, lateral (select string_agg(i::text, ',') from pg_snapshot_xip(s) i) x")
    const low = (xid: string): number => Number(BigInt(xid) & 0xffffffffn)
    const open = new Set((running[0] ?? '').split(',').filter((xid) => xid !== '').map(low))
    const next = low(most!)
    const seen = (xid: number): boolean => !open.has(xid) && ((next - xid) >>> 0) - 1 < 2 ** 31
    if (signal.aborted || xids.every((xid) => seen(xid >>> 0))) return
    await sleep(20, signal)
  }
}
