import { publicationAtBeginning } from '../../connectors/postgres-destination/chunks.ts'
import { knownLeaves, rememberLeaves } from '../../connectors/postgres-destination/partitions.ts'
import { hasRowsBefore, readLeaves, readTables } from '../../connectors/postgres-source/partitions.ts'
import { judgePublication } from '../../connectors/postgres-source/publication.ts'
import { sleep } from '../clock.ts'
import { RekeyError } from '../core/errors.ts'
import {
  firstLeaves, goneSentences, type KnownLeaves, type Leaf, partitionNews, type PartitionNews, provenLeaves, type Refused, writeAgain,
} from '../core/partitions.ts'
import { nameOf } from '../core/relation.ts'
import type { Note } from '../progress.ts'
import { capturedTables, namesOf, type Opened } from './open.ts'
import { passes } from './retry.ts'

/** Remembers the partitions that a run begins with. Before its first copy. */
export async function beginPartitions({ config, mapping, source, destination }: Opened): Promise<void> {
  const tables = capturedTables(mapping)
  const { leaves } = await readLeaves(source.objects, tables)
  await rememberLeaves(destination.query, config.pipeline, firstLeaves(tables, leaves))
}

/**
 * Looks, each time it is called, whether the stream brings all that the source writes to the tables that are carried: is the publication
 * what the run began with, is every partition one whose rows were copied or are in the stream? Rejects with PUBLICATION. Tables that are
 * new, and partitions that are gone, are told once.
 */
export async function sourceLook(opened: Opened, note: (note: Note) => void): Promise<() => Promise<void>> {
  const { config, mapping, source, destination, catalogs } = opened
  const entries = await publicationAtBeginning(destination.query, config.pipeline)
  const tables = capturedTables(mapping)
  const judged = new Set(catalogs.source.tables.filter((t) => t.parent === null).map(nameOf))
  const told = new Set<string>()
  const tell = (text: string): void => {
    if (!told.has(text)) note({ level: 'warn', event: 'table', text })
    told.add(text)
  }
  return async () => {
    await judgePublication(source.objects, namesOf(config).publication, { tables, entries })
    const { known, refused, unproven } = await partitionsNow(opened)
    goneSentences(known).forEach(tell)
    for (const name of (await readTables(source.objects)).map(nameOf).filter((one) => !judged.has(one))) {
      tell(`${name} is new at the source, and the mapping does not say what becomes of it: it is not carried; ` +
        'the next start needs verdict: skip for it')
    }
    refuse(refused, unproven)
  }
}

/** The same as sentences, for somebody who asks; none while nothing has begun. */
export async function changesAtSource(opened: Opened): Promise<string[]> {
  const { known, refused, unproven } = await partitionsNow(opened, 'only look')
  const problems = opened.problems.filter((p) => p.severity === 'error').map((p) => `the next start is refused: ${p.where}: ${p.message}`)
  const lacking = unproven.length > 0 ? [`${unprovenText(unproven)}; at the source: ${writeAgain(unproven)}`] : []
  return [...refused.map(({ text }) => text), ...lacking, ...goneSentences(known), ...problems]
}

type Now = Pick<PartitionNews, 'known' | 'refused'> & { readonly unproven: readonly Leaf[] }

async function partitionsNow({ config, mapping, source, destination: { query } }: Opened, remember?: 'only look'): Promise<Now> {
  const tables = capturedTables(mapping)
  const { leaves, next } = await readLeaves(source.objects, tables)
  // A run of a version that did not look remembers nothing.
  const was = await knownLeaves(query, config.pipeline) ?? firstLeaves(tables, leaves)
  const { known, prove, refused } = partitionNews(was, leaves, next)
  const keep = (now: KnownLeaves): Promise<unknown> =>
    remember === undefined && JSON.stringify(now) !== JSON.stringify(was) ? rememberLeaves(query, config.pipeline, now) : Promise.resolve()
  // From which transaction on its rows are in the stream is known now, and not later.
  await keep(known)
  const unproven: Leaf[] = []
  for (const { leaf, from } of prove) if (await hasRowsBefore(config.source.url, leaf, from)) unproven.push(leaf)
  const proven = provenLeaves(known, prove.map(({ leaf }) => leaf).filter((leaf) => !unproven.includes(leaf)))
  await keep(proven)
  return { known: proven, refused, unproven }
}

function refuse(refused: readonly Refused[], unproven: readonly Leaf[]): void {
  if (refused.length > 0) {
    const fixes = refused.flatMap(({ fix }) => fix ?? [])
    const mends = fixes.length === refused.length ? { hint: `At the source, then start again: ${fixes.join(' ')}` } : {}
    throw new RekeyError('PUBLICATION', refused.map(({ text }) => text).join('; '), mends)
  }
  if (unproven.length === 0) return
  throw new RekeyError('PUBLICATION', unprovenText(unproven), {
    hint: `Write them once more at the source, so that they come in the stream, then start again: ${writeAgain(unproven)}`,
  })
}

function unprovenText(leaves: readonly Leaf[]): string {
  return leaves.map((leaf) => `${nameOf(leaf)} was attached to ${leaf.root} with rows that are in no stream`).join('; ')
}

/** How often the source is looked at, at least. */
const LOOK_MS = 30_000

export interface SourceWatch {
  /** Aborts when the run cannot go on. */
  readonly failed: AbortSignal
  /** The run has begun; further calls change nothing. */
  begin(): void
  /** Rejects with what was found. */
  end(): Promise<void>
}

/** Looks at the source beside a run: at once, and then as often as its heartbeat. A source that does not answer is the run's business. */
export function watchSource(
  opened: Opened, { note, failed: tell }: { readonly note: (note: Note) => void; readonly failed: (error: unknown) => void }, signal: AbortSignal,
): SourceWatch {
  const failed = new AbortController()
  const stop = new AbortController()
  const ended = AbortSignal.any([signal, stop.signal])
  let running: Promise<void> | null = null
  async function watch(): Promise<void> {
    let look: (() => Promise<void>) | null = null
    for (; !ended.aborted; await sleep(Math.min(LOOK_MS, opened.config.heartbeat), ended)) {
      try {
        look ??= await sourceLook(opened, note)
        await look()
      } catch (error) {
        if (!passes(error) && !ended.aborted) throw error
      }
    }
  }
  return {
    failed: failed.signal,
    begin() {
      running ??= watch().catch((error: unknown) => {
        tell(error)
        failed.abort(error)
      })
    },
    async end() {
      stop.abort()
      await running
      failed.signal.throwIfAborted()
    },
  }
}
