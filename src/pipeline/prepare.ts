import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { beginRun, followTimeline } from '../../connectors/postgres-destination/chunks.ts'
import { rememberedMeaning, rememberMeaning } from '../../connectors/postgres-destination/meaning.ts'
import { rememberSource } from '../../connectors/postgres-destination/lookup.ts'
import { destinationState } from '../../connectors/postgres-destination/state.ts'
import { ensurePublication, readPublication } from '../../connectors/postgres-source/publication.ts'
import { createSlot, dropSlot, freeSlot, readSlot } from '../../connectors/postgres-source/slot.ts'
import { sleep } from '../clock.ts'
import { readDecisions, storeDecisions } from '../prepare/conflicts.ts'
import { unlikeDefaults } from '../core/added-defaults.ts'
import { changedMeaning, meaningOf } from '../core/meaning.ts'
import { catalogText } from '../core/catalog.ts'
import { RekeyError } from '../core/errors.ts'
import type { Checkpoint } from '../core/plan.ts'
import { judgeSlot } from '../core/slot-health.ts'
import type { Bridge } from './bridge.ts'
import { beginTopics, judgeTopic } from './kafka-log.ts'
import { capturedTables, namesOf, type Opened } from './open.ts'
import { beginPartitions, sourceLook } from './source-tables.ts'

/** Opens the destination and brings slot, publication and checkpoint to agree: made anew for a run that has nothing yet, else judged. */
export async function prepare(bridge: Bridge, resumed: boolean): Promise<Checkpoint> {
  const { opened, main, options } = bridge
  const { config, catalogs } = opened
  const checkpoint = await main.destination.open()
  await rememberSource(main.query, config.pipeline, catalogText(catalogs.source))
  if (checkpoint.phase === 'new' && resumed) throw forgotten(config.pipeline)
  if (!resumed && options.conflicts !== undefined) await takeDecisions(bridge, options.conflicts)
  if (checkpoint.phase === 'new') return begin(bridge, checkpoint)
  await judge(bridge, checkpoint)
  return checkpoint
}

/** What a run had begun is not there any more. */
export function forgotten(pipeline: string): RekeyError {
  return new RekeyError('FENCED', `the destination knows nothing of the pipeline ${pipeline} any more: it was removed, or lost in a failover`, {
    hint: 'If it is still wanted, `rekey run` begins anew.',
  })
}

/** May a run go on from here: is the mapping its own, and is there what it reads? */
export async function judge(bridge: Bridge, checkpoint: Checkpoint): Promise<void> {
  const { opened: { config, catalogs }, main, events, options } = bridge
  const { slot } = namesOf(config)
  await judgeMapping(bridge, checkpoint)
  if (config.log === 'kafka') await judgeLogged(bridge, checkpoint)
  else {
    if (options.takeover) await freeSlot(config.source.url, slot)
    const state = await freed(config.source.url, slot)
    const health = judgeSlot(state, { ...checkpoint, database: catalogs.source.database })
    if (health.state !== 'ok') throw new RekeyError(health.code, health.message)
    if (state.timeline !== checkpoint.sourceTimeline) {
      await followTimeline(main.query, { pipeline: config.pipeline, writer: main.writer() }, state.timeline)
      const text = `the source was promoted to timeline ${state.timeline}, and its slot came along: nothing is missing`
      events.note({ level: 'warn', event: 'timeline', text })
    }
  }
  await (await sourceLook(bridge.opened, () => {}))()
}

/** Files and catalogs may change while a run is under way; what they mean for rows that were carried may not. What is new is remembered. */
async function judgeMapping({ opened, events }: Bridge, { mappingDigest }: Checkpoint): Promise<void> {
  const { mapping, catalogs, config: { pipeline }, destination: { query } } = opened
  const meaning = meaningOf(mapping)
  let unlike: readonly string[] = []
  for (let kept = false; !kept;) {
    const was = await rememberedMeaning(query, pipeline)
    const changed = was === null ? ['what it was is not known'] : changedMeaning(was, mapping, catalogs)
    if (was === null || changed.length > 0) {
      throw new RekeyError('CONFIG', `the mapping is not what it was, and rows were carried by that:\n${changed.join('\n')}`, {
        hint: 'Take that back, in the mapping files or the tables, or `rekey remove` and begin anew.',
      })
    }
    if (mappingDigest === mapping.digest && JSON.stringify(meaning) === JSON.stringify(was)) return
    unlike = unlikeDefaults(was, mapping, catalogs)
    kept = await rememberMeaning(query, pipeline, { was, meaning, digest: mapping.digest })
  }
  events.note({ level: 'info', event: 'mapping', text: 'the mapping or a table was changed; nothing that was carried means something else' })
  if (unlike.length > 0) {
    const text = `rows that were there may have other values here than at the source, until it updates them: ${unlike.join(', ')} came with defaults that are not one value`
    events.note({ level: 'warn', event: 'mapping', text })
  }
}

/** With a log of its own, the slot is capture's, and may be ahead of the destination; the log must then have what is between them. */
async function judgeLogged(bridge: Bridge, checkpoint: Checkpoint): Promise<void> {
  const { config, catalogs } = bridge.opened
  const state = await readSlot(config.source.url, namesOf(config).slot)
  const health = judgeSlot(state, { ...checkpoint, endLsn: null, database: catalogs.source.database })
  if (health.state !== 'ok' && health.state !== 'in use') throw new RekeyError(health.code, health.message)
  await judgeTopic(bridge, checkpoint, state.slot!.confirmedLsn!)
}

/**
 * A mapping that fitted when the run began and does not now: a table was changed meanwhile. Rejects with SCHEMA_CHANGED then; what does not
 * fit is told in either case.
 */
export async function refuseChanges({ destination, config, mapping }: Opened, problems: readonly string[]): Promise<void> {
  const checkpoint = await destinationState(destination.query, config.pipeline).checkpoint()
  if (checkpoint === null || checkpoint.phase === 'new' || checkpoint.mappingDigest !== mapping.digest) return
  throw new RekeyError('SCHEMA_CHANGED', `a table is not what it was when this run began:\n${problems.join('\n')}`)
}

/** A person's decisions go into the ledger before anything else is made. UNDECIDED while one is missing. */
async function takeDecisions({ opened, main }: Bridge, file: string): Promise<void> {
  const read = (path: string): Promise<string> => readFile(path, 'utf8').catch((cause: unknown) => {
    throw new RekeyError('CONFIG', `${path} cannot be read`, { cause, hint: 'Name the conflicts.csv that `rekey plan` wrote; its plan.json must be beside it.' })
  })
  const { mapping, minters, config } = opened
  const decisions = readDecisions({ csv: await read(file), plan: await read(join(dirname(file), 'plan.json')), mapping, minters })
  await storeDecisions(main.query, config.pipeline, decisions)
}

/** The walsender of a reader that was killed needs a moment to notice; only then is the slot really in use. */
async function freed(url: string, slot: string): Promise<Awaited<ReturnType<typeof readSlot>>> {
  for (let tries = 0; ; tries++) {
    const state = await readSlot(url, slot)
    if (!state.slot?.activePid || tries === 20) return state
    await sleep(250)
  }
}

async function begin(bridge: Bridge, checkpoint: Checkpoint): Promise<Checkpoint> {
  const { opened, main } = bridge
  const { config, mapping } = opened
  const { slot, publication } = namesOf(config)
  const tables = capturedTables(mapping)
  await ensurePublication(config.source.url, publication, tables)
  if (config.log === 'kafka') {
    await beginTopics(bridge)
    await freeSlot(config.source.url, slot)
  }
  // A slot of ours without a checkpoint is left from a start that did not get this far; nothing was copied with it.
  await dropSlot(config.source.url, slot)
  const made = await createSlot(config.source.url, slot)
  bridge.slot = made
  const published = await readPublication(config.source.url, publication)
  await beginPartitions(opened)
  const epoch = checkpoint.epoch + 1
  const next: Checkpoint = {
    ...checkpoint, epoch, commitLsn: made.after, endLsn: made.consistentLsn, convergeLsn: made.consistentLsn, phase: 'snapshot',
    mappingDigest: mapping.digest, sourceSystem: made.systemId, sourceTimeline: made.timeline,
  }
  await beginRun(main.query, { pipeline: config.pipeline, writer: main.writer(), meaning: meaningOf(mapping), publication: published?.entries ?? null }, next)
  return next
}
