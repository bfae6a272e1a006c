import type { Contender, ContenderName, Place, Start, Subject } from './contender.ts'
import { PUBLICATION } from './native.ts'
import { copyDatabase, dropDatabase, execute } from './sql.ts'
import { baseRows, INTEGER_TABLES, OWN, ownRows, TEXT_TABLES } from './tables.ts'
import { baseNodes, workload, type PhaseName } from './workloads.ts'

/** Number of nodes and the sum of their progress: equal on both sides when all changes are there. */
export interface Sums {
  readonly nodes: number
  readonly progress: number
}

export interface Phase {
  readonly name: PhaseName
  readonly title: string
  readonly subject: Subject
  readonly rows: number
  readonly transactions: number
  readonly walBytes: number
  readonly sums: Sums
  readonly starts: ReadonlyMap<ContenderName, Start>
}

interface Field {
  readonly place: Place
  readonly contenders: readonly Contender[]
}

export const MARKER = 1
export const SUMS_SQL = 'select count(*) as nodes, coalesce(sum(progress), 0) as progress from public.nodes'

/** What a destination must show at the end of a run. The rows that rekey's has of its own have no progress. */
export function expectedSums(phase: Phase, contender: ContenderName): Sums {
  return contender === 'rekey' ? { ...phase.sums, nodes: phase.sums.nodes + OWN.nodes } : phase.sums
}

/** The databases that all phases are copied from. */
export async function makeTemplates(place: Place, scale: number): Promise<void> {
  const make = async (server: Place['source'], name: string, statements: readonly string[]) => {
    await execute(server.url(), [`create database "${name}" template template0`])
    await execute(server.url(name), statements)
  }
  const base = baseRows(baseNodes(scale))
  await make(place.source, 'source_base', [INTEGER_TABLES, base, `create publication ${PUBLICATION} for all tables`, 'vacuum analyze'])
  await make(place.destination, 'native_empty', [INTEGER_TABLES])
  await make(place.destination, 'native_base', [INTEGER_TABLES, base, 'vacuum analyze'])
  await make(place.destination, 'rekey_empty', [TEXT_TABLES, ownRows(), 'vacuum analyze'])
}

/** A source database of its own: the base, then what the contenders need, then the changes, then the marker. */
export async function preparePhase(name: PhaseName, scale: number, field: Field): Promise<Phase> {
  const { place, contenders } = field
  const { kind, title, statements } = workload(name, scale)
  const subject: Subject = { kind, phase: name, database: `source_${name}` }
  const url = place.source.url(subject.database)
  await copyDatabase(place.source, 'source_base', subject.database)
  const starts = new Map<ContenderName, Start>()
  for (const contender of contenders) starts.set(contender.name, await contender.prepare(subject))
  const [{ lsn }] = await execute(url, ['select pg_current_wal_insert_lsn() as lsn'])
  // Not measured: whether the writer waits for its commits changes nothing in the WAL.
  const [written] = await execute(url, ['set synchronous_commit = off', ...statements])
  await execute(url, [`insert into marker values (${MARKER}, ${MARKER})`])
  const [{ bytes }] = await execute(url, [`select pg_current_wal_insert_lsn() - '${lsn}' as bytes`])
  const [sums] = await execute(url, ['vacuum analyze', SUMS_SQL])
  return {
    name, title, subject, starts, rows: Number(written['rows']), transactions: Number(written['transactions']), walBytes: Number(bytes),
    sums: { nodes: Number(sums['nodes']), progress: Number(sums['progress']) },
  }
}

/** Gives back the disk, the WAL and the slots of a phase. */
export async function dropPhase(place: Place, phase: Phase): Promise<void> {
  await dropDatabase(place.source, phase.subject.database)
  for (const { template } of phase.starts.values()) {
    if (phase.subject.kind === 'stream' && template !== 'native_base') await dropDatabase(place.destination, template)
  }
}
