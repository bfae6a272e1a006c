import { sleep } from './clock.ts'
import type { Config } from './config/config.ts'
import { RekeyError } from './core/errors.ts'
import type { Lsn } from './core/lsn.ts'
import type { Checkpoint } from './core/plan.ts'
import { nameOf } from './core/relation.ts'
import { RestartStream } from './delivery.ts'
import { failpoints, type Point } from './failpoint.ts'
import { allOf } from './meter.ts'
import { type Bridge, destinationOf } from './pipeline/bridge.ts'
import { copy } from './pipeline/copy.ts'
import { openLedgerCopy } from './pipeline/id-map.ts'
import { type Opened, withDatabases } from './pipeline/open.ts'
import { observe } from './pipeline/observe.ts'
import { prepare, refuseChanges } from './pipeline/prepare.ts'
import { stream } from './pipeline/stream.ts'
import { workAlone, workersOf } from './pipeline/workers.ts'
import { startMeter, type RunEvents } from './progress.ts'

export interface RunOptions {
  readonly takeover: boolean
  /** A conflicts.csv with a person's decisions; plan.json, of which it is a part, stands beside it. */
  readonly conflicts?: string
  /** all (default): rows and objects; mirror: only the objects, beside another process that carries the rows. */
  readonly role?: 'all' | 'mirror'
  /** For tests: a named place was reached. */
  readonly point?: Point
}

/**
 * The whole way: takes the pipeline, copies what is not copied, then streams until the signal aborts; what is under way is then finished.
 * A server that goes away is waited for. Resolves with the last checkpoint. Rejects with RekeyError.
 */
export async function run(config: Config, options: RunOptions, events: RunEvents, signal: AbortSignal): Promise<Checkpoint> {
  const observed = await observe(config, events, signal)
  try {
    return await withDatabases(config, async (opened) => {
      await refuseProblems(opened)
      const point = options.point ?? failpoints(process.env['REKEY_FAILPOINTS'])
      if (options.role === 'mirror') return await mirrorOnly(opened, { events, point }, signal)
      await refuseWalLevel(opened)
      const main = destinationOf(opened, { takeover: options.takeover, point })
      const workers = workersOf(opened, { events, point, onCounts: (counts) => meter.objects(counts) }, signal)
      const meter = allOf([startMeter(opened, events), { prepared: workers.begin }, ...(events.meter ? [events.meter] : []),
        ...(observed ? [observed.metrics, observed.watch(opened)] : [])])
      const bridge: Bridge = { opened, main, meter, events, point, options, copy: null, slot: null }
      try {
        const checkpoint = await goOn(bridge, AbortSignal.any([signal, workers.failed]))
        await workers.end()
        return checkpoint
      } finally {
        await workers.end().catch(() => {})
        meter.stop()
        await bridge.copy?.close()
        await bridge.slot?.close().catch(() => {})
        await main.close()
      }
    })
  } finally {
    await observed?.close()
  }
}

async function mirrorOnly(opened: Opened, { events, point }: { events: RunEvents; point: Point }, signal: AbortSignal): Promise<Checkpoint> {
  const meter = allOf([startMeter(opened, events, 'mirror')])
  try {
    return await workAlone(opened, { events, point, onCounts: meter.objects }, signal)
  } finally {
    meter.stop()
  }
}

async function refuseProblems(opened: Opened): Promise<void> {
  const { problems, config, mapping } = opened
  const errors = problems.filter((p) => p.severity === 'error').map((p) => `${p.place} ${p.where}: ${p.message}`)
  if (errors.length > 0) await refuseChanges(opened, errors)
  const silent = [...mapping.tables.values()].filter((rule) => rule.triggers === 'off').map((rule) => nameOf(rule.source))
  if (silent.length > 0 && config.checks !== 'set') errors.push(`triggers: off (${silent.join(', ')}) needs checks: set in rekey.yaml`)
  if (errors.length > 0) throw new RekeyError('MAPPING', errors.join('\n'))
}

async function refuseWalLevel({ source }: Opened): Promise<void> {
  const [[level]] = await source.query('show wal_level')
  if (level !== 'logical') throw new RekeyError('WAL_LEVEL', `the source has wal_level = ${level}`)
}

/** What may pass by itself: a server that does not answer, a slot that its last reader has not let go of yet, what a copy of the ledger got wrong. */
function passes(error: unknown): boolean {
  return error instanceof RekeyError && ['REMOTE', 'SLOT_IN_USE', 'RUNNING', 'STALE'].includes(error.code)
}

/** From the checkpoint on, again and again: when a server went away, and when a large transaction has to be done with care. */
async function goOn(bridge: Bridge, signal: AbortSignal): Promise<Checkpoint> {
  const { retry } = bridge.opened.config
  let checkpoint: Checkpoint | null = null
  let careful: Lsn = 0n
  let wait = retry.first
  let troubled = 0
  for (;;) {
    const began = performance.now()
    try {
      checkpoint = await prepare(bridge, checkpoint !== null)
      bridge.meter.prepared(checkpoint)
      bridge.copy ??= await openLedgerCopy(bridge)
      if (checkpoint.phase === 'snapshot') checkpoint = await copied(bridge, checkpoint, signal)
      return signal.aborted ? checkpoint : await stream(bridge, checkpoint, { carefulUntil: careful, signal })
    } catch (error) {
      if (checkpoint === null) throw error
      if (signal.aborted) return checkpoint
      const lasted = performance.now() - began
      if (lasted > 2 * retry.most) [wait, troubled] = [retry.first, 0]
      troubled += lasted + wait
      if (error instanceof RestartStream) careful = error.careful > careful ? error.careful : careful
      else if (!passes(error) || troubled > retry.giveUp) throw error
      bridge.meter.waiting(error as Error)
      bridge.events.note({ level: 'warn', event: 'restart', text: `begins again at the checkpoint: ${(error as Error).message}` })
      await sleep(wait, signal)
      wait = Math.min(retry.most, wait * 2)
    }
  }
}

async function copied(bridge: Bridge, checkpoint: Checkpoint, signal: AbortSignal): Promise<Checkpoint> {
  try {
    return await copy(bridge, checkpoint, signal)
  } catch (error) {
    if (!signal.aborted) bridge.meter.failed('snapshot', error)
    throw error
  }
}
