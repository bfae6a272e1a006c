import type { Decision } from '../core/plan.ts'
import type { IdMap } from '../ports.ts'

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
  /** The row is deleted by the plan that is being made: if it was inserted, its entry proves nothing from here on. */
  gone(entity: string, key: string): void
  /** The row is deleted by a plan that is not committed yet. */
  isLeaving(entity: string, key: string): boolean
  /** All rows of ours of this entity are deleted by the plan that is being made. */
  truncated(entity: string): void
  /** Ids of this entity that are decided and not in the ledger yet. */
  pendingIds(entity: string): ReadonlySet<string>
  /** How many decisions taken() would give now: for undo(). */
  mark(): number
  /** Forgets the decisions made since that mark: what needed them was not written. */
  undo(mark: number): void
  /** Forgets decisions that were taken and not written after all. */
  forget(decisions: readonly Decision[]): void
  /** Decisions made since the last call: they go into the plan. */
  taken(): Decision[]
  /** These decisions are in the ledger now. */
  committed(decisions: readonly Decision[]): void
  /** Forgets everything that is not in the ledger. */
  reset(): void
}

type Generation = Map<string, Map<string, Decision>>

/** Our row is at the destination. */
function isWritten({ kind }: Decision): boolean {
  return kind === 'inserted' || kind === 'adopted'
}

/** `looked`: so many keys were asked for, and so many of them were at hand. */
export function decisionCache(idMap: IdMap, capacity = 200_000, looked?: (asked: number, known: number) => void): Decisions {
  let young: Generation = new Map()
  let old: Generation = new Map()
  let size = 0
  const pending: Generation = new Map()
  let fresh: Decision[] = []
  /** How many plans that are not committed yet truncated an entity: until then the ledger says that its rows are there. */
  const truncates = new Map<string, number>()

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
  const decide = (decision: Decision): void => {
    const kind = get(decision.entity, decision.key)?.kind
    const made = kind === 'dangling' || kind === 'gone' || decision.kind === 'gone' ? { ...decision, replaces: true } : decision
    put(pending, made)
    fresh.push(made)
  }
  const untruncate = (entity: string): void => {
    const left = truncates.get(entity)! - 1
    if (left > 0) truncates.set(entity, left)
    else truncates.delete(entity)
  }
  return {
    get,
    async load(entity, keys) {
      const unknown = keys.filter((key) => get(entity, key) === undefined)
      looked?.(keys.length, keys.length - unknown.length)
      if (unknown.length === 0) return
      for (const decision of (await idMap.find(entity, unknown)).values()) {
        remember(isWritten(decision) && truncates.has(entity) ? { ...decision, kind: 'gone' } : decision)
      }
    },
    decide,
    gone(entity, key) {
      const decision = get(entity, key)
      if (decision && isWritten(decision)) decide({ ...decision, kind: 'gone' })
    },
    isLeaving: (entity, key) => pending.get(entity)?.get(key)?.kind === 'gone',
    truncated(entity) {
      // decide() puts into the map that is walked.
      const known = Array.from(pending.get(entity)?.values() ?? [])
      for (const decision of known) if (isWritten(decision)) decide({ ...decision, kind: 'gone' })
      for (const generation of [young, old]) {
        for (const [key, decision] of generation.get(entity) ?? []) if (isWritten(decision)) generation.get(entity)!.set(key, { ...decision, kind: 'gone' })
      }
      truncates.set(entity, (truncates.get(entity) ?? 0) + 1)
      fresh.push({ entity, key: '', id: '', kind: 'truncated', rule: '', evidence: '' })
    },
    pendingIds: (entity) => new Set([...(pending.get(entity)?.values() ?? [])].filter(isWritten).map((d) => d.id)),
    mark: () => fresh.length,
    undo(mark) {
      for (const { entity, key, kind } of fresh.splice(mark)) {
        if (kind === 'truncated') {
          untruncate(entity)
          young.delete(entity)
          old.delete(entity)
        } else pending.get(entity)?.delete(key)
      }
      for (const decision of fresh) if (decision.kind !== 'truncated') put(pending, decision)
    },
    forget(decisions) {
      for (const decision of decisions) {
        const waiting = pending.get(decision.entity)
        if (waiting?.get(decision.key) === decision) waiting.delete(decision.key)
      }
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
        if (decision.kind === 'truncated') {
          untruncate(decision.entity)
          continue
        }
        const waiting = pending.get(decision.entity)
        if (waiting?.get(decision.key) === decision) waiting.delete(decision.key)
        remember(decision)
      }
    },
    reset() {
      young = new Map()
      old = new Map()
      pending.clear()
      truncates.clear()
      fresh = []
      size = 0
    },
  }
}
