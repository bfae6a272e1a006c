import type { Decision } from './plan.ts'

/** What the decisions of a plan, in their order, come to in the ledger. */
export interface LedgerChanges {
  /** Entities of which no row is there any more: this comes first. */
  readonly truncated: ReadonlySet<string>
  /** Keys that have no entry yet. */
  readonly added: readonly Decision[]
  /** Entries that take the place of dangling or gone ones. */
  readonly replaced: readonly Decision[]
  /** By entity, keys whose inserted rows are gone. */
  readonly gone: ReadonlyMap<string, readonly string[]>
}

/** A key that was decided several times counts once: as what it is in the end, and as new if it was new at first. */
export function ledgerChanges(decisions: readonly Decision[]): LedgerChanges {
  const truncated = new Set<string>()
  const last = new Map<string, Decision>()
  for (const decision of decisions) {
    if (decision.kind === 'truncated') {
      truncated.add(decision.entity)
      continue
    }
    const name = `${decision.entity}\n${decision.key}`
    const before = last.get(name)
    last.set(name, before ? { ...decision, replaces: before.replaces ?? false } : decision)
  }
  const added: Decision[] = []
  const replaced: Decision[] = []
  const gone = new Map<string, string[]>()
  for (const decision of last.values()) {
    if (!decision.replaces) added.push(decision)
    else if (decision.kind !== 'gone') replaced.push(decision)
    else if (gone.has(decision.entity)) gone.get(decision.entity)!.push(decision.key)
    else gone.set(decision.entity, [decision.key])
  }
  return { truncated, added, replaced, gone }
}
