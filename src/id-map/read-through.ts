import { RekeyError } from '../core/errors.ts'
import type { Decision, WritePlan } from '../core/plan.ts'
import type { IdMapEvents } from '../meter.ts'
import type { Destination, IdCache, IdMap } from '../ports.ts'

export interface ReadThroughOptions {
  readonly idMap: IdMap
  readonly destination: Destination
  readonly cache: IdCache
  readonly events: IdMapEvents
  /** False: the copy is kept right, and only the ledger is asked. */
  readonly reads: boolean
}

/** Decisions of a transaction in fragments that are kept in mind for the copy; beyond them the copy forgets their entities. */
const MOST_KEPT = 50_000

/**
 * The id map and the destination of one stream, with a copy of the ledger before it. What the copy said goes along with the next plan, which
 * the destination applies only if the ledger has it just so; what is committed goes into the copy afterwards, never before. When the ledger
 * says otherwise, the entries are corrected and everything from here on rejects with STALE: what was planned with them is in memory still, so
 * the stream has to begin again at the checkpoint, with an id map and a planner that know nothing.
 */
export function readThrough({ idMap, destination, cache, events, reads }: ReadThroughOptions): { idMap: IdMap; destination: Destination } {
  /** What the copy said and no plan has proven; those of plans under way come back when the plan fails. */
  const unproven = new Map<string, Decision>()
  /** Entities of which all entries change with a plan under way, and how many such plans there are. */
  const truncating = new Map<string, number>()
  /** Of fragments in the open transaction: their entries are only there, and may differ from what was committed. */
  let kept: Decision[] = []
  let midway = false
  let stale: RekeyError | null = null

  const refuse = (): void => {
    if (stale) throw stale
  }
  const rely = (entries: Iterable<Decision>): void => {
    for (const d of entries) unproven.set(JSON.stringify([d.entity, d.key, d.id, d.kind]), d)
  }
  const askLedger = async (entity: string, keys: readonly string[]): Promise<ReadonlyMap<string, Decision>> => {
    const found = await idMap.find(entity, keys)
    events.looked('ledger', keys.length, found.size)
    return found
  }
  const settle = (plan: WritePlan, from: number): void => {
    for (const { kind, entity } of plan.decisions) {
      if (kind !== 'truncated') continue
      const left = (truncating.get(entity) ?? 0) + from
      if (left > 0) truncating.set(entity, left)
      else truncating.delete(entity)
    }
  }
  const apply = async (plan: WritePlan): Promise<void> => {
    refuse()
    const relied = [...unproven.values()]
    unproven.clear()
    const decisions = [...kept, ...plan.decisions]
    kept = plan.last ? [] : bounded(decisions)
    midway = !plan.last
    settle(plan, 1)
    try {
      await destination.apply(relied.length > 0 ? { ...plan, relied } : plan)
    } catch (error) {
      kept = []
      midway = false
      rely(relied)
      if (error instanceof RekeyError && error.code === 'STALE') {
        stale = error
        await correct(relied, { idMap, cache, events }).catch(() => {})
      }
      throw error
    } finally {
      settle(plan, -1)
    }
    if (plan.last) cache.keep(decisions)
  }
  return {
    idMap: {
      async find(entity, keys) {
        refuse()
        if (!reads || midway || truncating.has(entity)) return askLedger(entity, keys)
        const asked = [...new Set(keys)]
        const { entries, learn } = await cache.find(entity, asked)
        events.looked('redis', asked.length, entries.size)
        rely(entries.values())
        const rest = asked.filter((key) => !entries.has(key))
        if (rest.length === 0) return entries
        const found = await askLedger(entity, rest)
        learn(found.values())
        return new Map([...entries, ...found])
      },
      async findIds(ids) {
        refuse()
        return idMap.findIds(ids)
      },
    },
    destination: {
      ...destination,
      apply,
      async attempt(parts, checks, fragment) {
        refuse()
        return destination.attempt(parts, checks, fragment)
      },
      async exchange(parts, checks, fragment) {
        refuse()
        return destination.exchange(parts, checks, fragment)
      },
    },
  }
}

/** Entities in the place of decisions, where there are too many. */
function bounded(decisions: Decision[]): Decision[] {
  if (decisions.length <= MOST_KEPT) return decisions
  const all = { key: '', id: '', kind: 'truncated', rule: '', evidence: '' } as const
  return [...new Set(decisions.map((d) => d.entity))].map((entity) => ({ entity, ...all }))
}

/** Asks the ledger for each of these, and takes back in the copy what is not so. */
async function correct(entries: readonly Decision[], { idMap, cache, events }: Omit<ReadThroughOptions, 'destination' | 'reads'>): Promise<void> {
  for (const entity of new Set(entries.map((d) => d.entity))) {
    const claimed = entries.filter((d) => d.entity === entity)
    const found = await idMap.find(entity, claimed.map((d) => d.key))
    const differing = claimed.filter((d) => !isSame(found.get(d.key), d)).map((d) => d.key)
    if (differing.length === 0) continue
    events.corrected(entity, differing.length)
    const { learn } = await cache.drop(entity, differing)
    learn((await idMap.find(entity, differing)).values())
  }
}

function isSame(a: Decision | undefined, b: Decision): boolean {
  return a !== undefined && a.id === b.id && a.kind === b.kind && a.rule === b.rule && a.evidence === b.evidence
}
