import type { CopyRequest } from '../../src/core/objects/copy.ts'
import { newBudget } from '../../src/mirror/budget.ts'
import type { CopyContext } from '../../src/mirror/copying.ts'
import type { ObjectStore } from '../../src/ports.ts'

export const requestFor = (key: string, to: string, more: Partial<CopyRequest> = {}): CopyRequest => ({
  from: { key, version: null }, to, run: 'test', existing: 'fail', verify: 1, etags: 'keep', size: null, begun: null, ...more,
})

export const between = (from: ObjectStore, to: ObjectStore, more: Partial<CopyContext> = {}): CopyContext => ({
  from, to, budget: newBudget(64 << 20), ranges: 4, begun: () => {}, signal: new AbortController().signal, ...more,
})
