import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Client } from 'pg'
import { stringify } from 'yaml'
import type { Kafka } from '../../test/support/services/kafka.ts'
import type { Place, Running } from '../contender.ts'
import { CLI, configOf, launch, MAPPING, PROFILES } from '../rekey.ts'
import { execute, rowsOf, until, within } from '../sql.ts'
import { baseRows, INTEGER_TABLES, ownRows, TEXT_TABLES } from '../tables.ts'
import { baseNodes, workload } from '../workloads.ts'

export const PARTITIONS = 4
export const PIPELINE = 'bench_scale'
export const SOURCE = 'scale_source'
export const TEMPLATE = 'scale_template'
/** The group of the deliver processes: see member.ts of the connector. */
export const GROUP = `${PIPELINE}.rekey`

export interface ScaleField {
  readonly place: Place
  readonly kafka: Kafka
  readonly profile: boolean
}

export interface Prepared {
  readonly rows: number
  readonly transactions: number
  readonly title: string
  /** Commit up to which all partitions come. */
  readonly upTo: string
  /** Number of nodes and the sum of a column that updates change, as they must be in the end. */
  readonly nodes: number
  readonly progress: number
}

/** One role as its users run it, from its own folder. */
export async function startRole({ place, kafka, profile }: ScaleField, of: {
  readonly name: string; readonly role: 'capture' | 'deliver'; readonly destination: string
}): Promise<Running & { readonly log: string }> {
  const folder = path.join(place.folder, of.name)
  await mkdir(path.join(folder, 'mapping'), { recursive: true })
  const config = {
    ...configOf({ phase: 'scale', source: place.source.url(SOURCE), destination: of.destination }, { checks: 'set', indexes: 'keep' }),
    log: 'kafka', kafka: { brokers: [kafka.bootstrap], partitions: PARTITIONS }, metrics: { listen: '127.0.0.1:0' },
  }
  await writeFile(path.join(folder, 'rekey.yaml'), stringify(config))
  await writeFile(path.join(folder, 'mapping/mapping.yaml'), stringify(MAPPING))
  const log = path.join(folder, 'rekey.log')
  const flags = profile ? ['--cpu-prof', `--cpu-prof-dir=${PROFILES}`, `--cpu-prof-name=scale-${of.name}.cpuprofile`] : []
  return { ...launch([...flags, CLI, 'run', '--role', of.role, '--config', path.join(folder, 'rekey.yaml'), '--json'], { log, pipeline: PIPELINE }), log }
}

export async function alive(halves: readonly Running[], check: () => Promise<boolean>): Promise<boolean> {
  for (const half of halves) {
    const failure = half.failure()
    if (failure !== null) throw new Error(failure)
  }
  return check()
}

/** The copy is made and the partitions have begun; then the workload is written and brought into the topic, where it stays. */
export async function prepareScale(field: ScaleField, name: 'a' | 'b', scale: number): Promise<Prepared> {
  const { place } = field
  const from = place.source.url(SOURCE)
  const make = async (url: string, database: string, statements: readonly string[], to: string): Promise<void> => {
    await execute(url, [`create database "${database}" template template0`])
    await execute(to, statements)
  }
  await make(place.source.url(), SOURCE, [INTEGER_TABLES, baseRows(baseNodes(scale)), 'vacuum analyze'], from)
  await make(place.destination.url(), TEMPLATE, [TEXT_TABLES, ownRows(), 'vacuum analyze'], place.destination.url(TEMPLATE))
  const deliver = await startRole(field, { name: 'prepare_deliver', role: 'deliver', destination: place.destination.url(TEMPLATE) })
  const capture = await startRole(field, { name: 'prepare_capture', role: 'capture', destination: place.destination.url(TEMPLATE) })
  const both = [deliver, capture]
  try {
    await within(place.destination.url(TEMPLATE), (probe) => until('partitions that begin', () => alive(both, () => haveBegun(probe)), { ms: 120_000, every: 50 }))
    await deliver.stop()
    const { title, statements } = workload(name, scale)
    const [written] = await execute(from, ['set synchronous_commit = off', ...statements])
    const [{ lsn }] = await execute(from, ['select pg_current_wal_insert_lsn()::text as lsn'])
    await execute(from, ['insert into marker values (1, 1)'])
    const confirmed = "select 1 from pg_replication_slots where database = $1 and confirmed_flush_lsn > $2::pg_lsn + 100"
    await within(from, (probe) => until('everything in the topic', () => alive([capture], async () => {
      await rowsOf(probe, "select pg_logical_emit_message(false, 'rekey', 'heartbeat')")
      return (await rowsOf(probe, confirmed, [SOURCE, lsn])).length > 0
    }), { ms: 300_000, every: 200 }))
    await capture.stop()
    await execute(place.destination.url(TEMPLATE), ['vacuum analyze'])
    const [sums] = await execute(from, ['select count(*) as nodes, sum(progress) as progress from nodes'])
    return { title, rows: Number(written['rows']), transactions: Number(written['transactions']), upTo: lsn!, nodes: Number(sums['nodes']), progress: Number(sums['progress']) }
  } finally {
    for (const one of both) await one.stop()
  }
}

async function haveBegun(probe: Client): Promise<boolean> {
  try {
    return (await rowsOf(probe, 'select 1 from rekey.lane')).length === PARTITIONS
  } catch (error) {
    if (['42P01', '3F000'].includes((error as { code?: string }).code ?? '')) return false
    throw error
  }
}
