import { createHash } from 'node:crypto'
import type { KeyFault, NamedObject, RowObjects } from '../core/objects/named.ts'
import type { ObjectsPlan } from '../core/plan-file.ts'
import type { PlannedKeys } from '../ports.ts'

/** Size of a source object, or null where there is none. */
export type SizeOf = (store: string, key: string) => Promise<number | null>

export interface ObjectTally {
  add(objects: readonly RowObjects[]): Promise<void>
  /** Asks for the sizes of a sample, where rows do not say them. */
  finish(): Promise<ObjectsPlan>
}

/** So many objects at most are asked for their sizes. */
const SAMPLE = 200
const FAULTS: readonly KeyFault[] = ['UNMATCHED', 'UNRESOLVED', 'KEY_TOO_LONG', 'NOT_A_KEY']

interface Asked {
  readonly rank: string
  readonly object: NamedObject
}

/** What the objects of the planned rows come to. The sample is the same for the same keys. Without `sizeOf` no store is asked. */
export function tallyObjects(samples: number, keys: PlannedKeys, sizeOf: SizeOf | null): ObjectTally {
  const faults = Object.fromEntries(FAULTS.map((fault) => [fault, { objects: 0, samples: [] as string[] }])) as Record<KeyFault,
    { objects: number; samples: string[] }>
  const count = { object: 0, directory: 0 }
  let [longest, known, unknown] = [0, 0, 0]
  let sample: Asked[] = []
  const cut = (): void => {
    sample = sample.sort((a, b) => (a.rank < b.rank ? -1 : 1)).slice(0, SAMPLE)
  }
  const addOne = (object: NamedObject): void => {
    count[object.kind]++
    if (object.fault !== null) {
      const fault = faults[object.fault]
      fault.objects++
      if (fault.samples.length < samples) fault.samples.push(object.key)
      return
    }
    longest = Math.max(longest, Buffer.byteLength(object.newKey!))
    if (object.kind === 'directory') return
    if (object.size === null) unknown++
    else known += object.size
    sample.push({ rank: createHash('md5').update(`${object.store}\n${object.key}`).digest('hex'), object })
    if (sample.length >= 4 * SAMPLE) cut()
  }
  return {
    async add(objects) {
      const named = objects.flatMap(({ names }) => names)
      named.forEach(addOne)
      const placed = named.filter(({ kind, newKey }) => kind === 'object' && newKey !== null)
      if (placed.length > 0) await keys.add(placed)
    },
    async finish() {
      cut()
      const sizes = sizeOf ? await Promise.all(sample.map(({ object }) => sizeOf(object.store, object.key))) : []
      const there = sizes.filter((size) => size !== null)
      const mean = there.length > 0 ? there.reduce((sum, size) => sum + size, 0) / there.length : 0
      return {
        objects: count.object, directories: count.directory, bytes: Math.round(known + mean * unknown), longestKey: longest,
        sampled: { objects: sizes.length, missing: sizes.length - there.length },
        faults: { ...faults, CONFLICT: await keys.clashes(samples) },
      }
    },
  }
}
