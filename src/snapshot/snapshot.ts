import { copyChunk, type Shared } from './copy-chunk.ts'
import { RekeyError } from '../core/errors.ts'
import { type Blocked, block, changeKey } from '../core/parking.ts'
import { nameOf } from '../core/relation.ts'
import type { CopyChunk } from '../ports.ts'
import type { SnapshotOptions, Writer } from './options.ts'

/**
 * Copies what is open, parents before children, several chunks at once; each chunk is one destination transaction with its own mark, so
 * after a crash at most the chunks under way are done again. Resolves when all chunks are done.
 */
export async function snapshot(options: SnapshotOptions, signal: AbortSignal): Promise<void> {
  const open = new Set(options.chunks.filter((chunk) => !chunk.done))
  const waiting: (() => void)[] = []
  const shared = sharedPlanners(options)
  const waits = waitingRows(options, shared)
  /** Chunks of the first pass that are not done, by table. */
  const firsts = new Map<string, number>()
  for (const chunk of open) if (chunk.pass === 1) firsts.set(nameOf(chunk.table), (firsts.get(nameOf(chunk.table)) ?? 0) + 1)
  const ready = (chunk: CopyChunk): boolean => {
    if (chunk.pass === 2) return firsts.size === 0
    return !(options.parents.get(nameOf(chunk.table)) ?? []).some((parent) => firsts.has(parent))
  }
  const finish = (chunk: CopyChunk): void => {
    open.delete(chunk)
    taken.delete(chunk)
    if (chunk.pass === 2) return
    const left = firsts.get(nameOf(chunk.table))! - 1
    if (left > 0) firsts.set(nameOf(chunk.table), left)
    else firsts.delete(nameOf(chunk.table))
  }
  const taken = new Set<CopyChunk>()
  /** Chunks that were begun before their parents were done: their rows need them only at the end. */
  const early = new Set<CopyChunk>()
  const mayBegin = (chunk: CopyChunk): boolean => chunk.pass === 1 && shared.planners[1].provesLater(options.relations.get(nameOf(chunk.table))!)
  const next = (): CopyChunk | undefined => {
    for (const one of early) if (ready(one)) early.delete(one)
    const chunk = firstOf(open, (one) => !taken.has(one) && ready(one))
    // One worker at least is left for the parents.
    if (chunk || early.size >= options.writers.length - 1 || taken.size === early.size) return chunk
    const begun = firstOf(open, (one) => !taken.has(one) && mayBegin(one))
    if (begun) early.add(begun)
    return begun
  }
  let failure: { readonly error: unknown } | null = null
  const change = (): Promise<void> => new Promise((resolve) => waiting.push(resolve))
  const wake = (): void => {
    for (const resolve of waiting.splice(0)) resolve()
  }
  const parentsDone = async (chunk: CopyChunk): Promise<void> => {
    while (!ready(chunk) && !failure) await change()
    if (failure) throw failure.error
  }
  const worker = async (writer: Writer): Promise<void> => {
    while (open.size > taken.size && !failure) {
      signal.throwIfAborted()
      const chunk = next()
      if (!chunk) {
        if (taken.size === early.size) throw new RekeyError('MAPPING', `tables that wait for each other cannot be copied: ${[...firsts.keys()].join(', ')}`)
        await change()
        continue
      }
      taken.add(chunk)
      await copyChunk(chunk, { ...options, writer, shared, waits, signal, parentsDone: () => parentsDone(chunk) })
      finish(chunk)
      wake()
    }
    wake()
  }
  await Promise.all(options.writers.map((writer) => worker(writer).catch((error: unknown) => {
    failure ??= { error }
    wake()
  })))
  if (failure) throw (failure as { error: unknown }).error
}

function firstOf<T>(all: Iterable<T>, test: (one: T) => boolean): T | undefined {
  for (const one of all) if (test(one)) return one
  return undefined
}

function sharedPlanners({ planner, writers }: SnapshotOptions): Shared {
  const turn = mutex()
  let current = writers[0]
  // A plan finds what its own transaction holds already, and nothing of the others'.
  const through: Pick<Writer, 'match' | 'idMap'> = {
    match: (question) => current.match(question),
    idMap: { find: (entity, keys) => current.idMap.find(entity, keys), findIds: (ids) => current.idMap.findIds(ids) },
  }
  const planners = { 1: planner(1, through), 2: planner(2, through) }
  return {
    planners, alone: mutex(),
    turn: (pass, writer, run) => turn(() => {
      current = writer
      return run(planners[pass])
    }),
  }
}

/** Rows that wait already: those that are parked, and those that are left to the stream. A second pass does not park them again. */
function waitingRows({ blocked, left, relations }: SnapshotOptions, { planners }: Shared): Blocked {
  const waits: Blocked = new Map([...blocked].map(([table, keys]) => [table, new Set(keys)]))
  for (const { table, change } of left) {
    const relation = relations.get(table)
    const loaded = relation && planners[2].load({ table, change })
    const key = loaded && changeKey(loaded, planners[2].programOf(loaded.relation))
    if (key != null) block(waits, table, key)
  }
  return waits
}

function mutex(): <T>(run: () => Promise<T>) => Promise<T> {
  let tail: Promise<unknown> = Promise.resolve()
  return (run) => {
    const next = tail.then(run, run)
    tail = next.catch(() => {})
    return next
  }
}
