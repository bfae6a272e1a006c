import { newBudget } from '../mirror/budget.ts'
import { copyObject } from '../mirror/copy.ts'
import type { BegunUpload, Copied, CopyRequest } from '../core/objects/copy.ts'
import type { Stores } from './stores.ts'

/** Parts of one object under way at a time. */
const RANGES = 4

/** An object to copy, and between which stores. */
export interface CopyOrder {
  readonly request: CopyRequest
  readonly store: string
  readonly to: string
}

/** Copies as copyObject() does; `begun` is told of an upload in parts as soon as it exists. */
export type Copy = (order: CopyOrder, begun: (upload: BegunUpload | null) => Promise<void>, signal: AbortSignal) => Promise<Copied>

/** Copies within this thread, with so many bytes of memory. */
export function copyHere(stores: Pick<Stores, 'source' | 'destination'>, memory: number): Copy {
  const budget = newBudget(memory)
  return ({ request, store, to }, begun, signal) =>
    copyObject(request, { from: stores.source(store), to: stores.destination(to), budget, ranges: RANGES, begun, signal })
}
