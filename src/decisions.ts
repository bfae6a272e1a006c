import type { Decision } from './core/plan.ts'
import type { IdMap } from './ports.ts'

/**
 * What is known of the ledger in memory: a bounded cache in two generations (when the young one is full it becomes the old one), and the
 * decisions of plans that are not committed yet, which are never evicted. Losing the cache loses nothing.
 */
export interface Decisions {
  get(entity: string, key: string): Decision | undefined
  /** Looks up keys that are not in memory; afterwards get() knows all that the ledger knows. */
  load(entity: string, keys: readonly string[]): Promise<void>
  /** Remembers a decision of a plan that is being made. */
  decide(decision: Decision): void
  /** Ids of this entity that are decided and not in the ledger yet. */
  pendingIds(entity: string): ReadonlySet<string>
  /** How many decisions taken() would give now: for undo(). */
  mark(): number
  /** Forgets the decisions made since that mark: what needed them was not written. */
  undo(mark: number): void
  /** Decisions made since the last call: they go into the plan. */
  taken(): Decision[]
  /** These decisions are in the ledger now. */
  committed(decisions: readonly Decision[]): void
  /** Forgets everything that is not in the ledger. */
  reset(): void
}

type Generation = Map<string, Map<string, Decision>>

export function decisionCache(idMap: IdMap, capacity = 200_000): Decisions {
  let young: Generation = new Map()
  let old: Generation = new Map()
  let size = 0
  const pending: Generation = new Map()
  let fresh: Decision[] = []

  const put = (generation: Generation, decision: Decision): void => {
    let keys = generation.get(decision.entity)
    if (!keys) generation.set(decision.entity, (keys = new Map()))
    keys.set(decision.key, decision)
  }
  const remember = (decision: Decision): void => {
    size++
    put(young, decision)
  }
  const get = (entity: string, key: string): Decision | undefined => {
    const found = pending.get(entity)?.get(key) ?? young.get(entity)?.get(key)
    if (found) return found
    const aged = old.get(entity)?.get(key)
    if (aged) remember(aged)
    return aged
  }
  return {
    get,
    async load(entity, keys) {
      const unknown = keys.filter((key) => get(entity, key) === undefined)
      if (unknown.length === 0) return
      for (const decision of (await idMap.find(entity, unknown)).values()) remember(decision)
    },
    decide(decision) {
      const made = get(decision.entity, decision.key)?.kind === 'dangling' ? { ...decision, replaces: true } : decision
      put(pending, made)
      fresh.push(made)
    },
    pendingIds: (entity) => new Set([...(pending.get(entity)?.values() ?? [])].filter((d) => d.kind === 'inserted').map((d) => d.id)),
    mark: () => fresh.length,
    undo(mark) {
      for (const { entity, key } of fresh.splice(mark)) pending.get(entity)?.delete(key)
      for (const decision of fresh) put(pending, decision)
    },
    taken() {
      // Between plans only: what a plan has loaded stays until it is made.
      if (size > capacity) {
        old = young
        young = new Map()
        size = 0
      }
      const taken = fresh
      fresh = []
      return taken
    },
    committed(decisions) {
      for (const decision of decisions) {
        const waiting = pending.get(decision.entity)
        if (waiting?.get(decision.key) === decision) waiting.delete(decision.key)
        remember(decision)
      }
    },
    reset() {
      young = new Map()
      old = new Map()
      pending.clear()
      fresh = []
      size = 0
    },
  }
}
