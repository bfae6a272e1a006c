import type { ObjectStore } from '../ports.ts'
import { again } from './again.ts'

export interface Abandoned {
  readonly prefix: string
  /** Uploads begun before this are not gone on with any more; milliseconds since 1970. */
  readonly before: number
  /** Which of these keys are ours: an upload of anybody else is left alone. */
  readonly ours: (keys: readonly string[]) => Promise<ReadonlySet<string>>
  readonly signal?: AbortSignal
}

/** Aborts uploads of ours that nobody has finished, whose parts cost money and show nowhere. Resolves with how many. */
export async function abandonedUploads(store: ObjectStore, { prefix, before, ours, signal }: Abandoned): Promise<number> {
  let aborted = 0
  for await (const page of store.uploads.list(prefix)) {
    const old = page.filter(({ begun }) => begun < before)
    if (old.length === 0) continue
    const mine = await ours(old.map(({ key }) => key))
    for (const { key, id } of old.filter((one) => mine.has(one.key))) {
      await again(() => store.uploads.abort(key, id), signal ?? new AbortController().signal)
      aborted++
    }
  }
  return aborted
}
