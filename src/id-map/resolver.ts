import type { Entity, Mapping } from '../core/mapping.ts'
import { DROPPED } from '../core/conflicts-csv.ts'
import { RekeyError } from '../core/errors.ts'
import { type Asked, type Entries, type Resolved, resolveNew, resolveOld, toRaw } from './id-answers.ts'
import { nameOf } from '../core/relation.ts'

/** What the resolver asks of the destination beside the ledger. */
export interface ResolverFacts extends Entries {
  /** Whether the row is there, under its entity's id. */
  hasRow(entity: Entity, id: string): Promise<boolean>
  /** What is parked under this raw key of a source table, the latest first. */
  parked(table: string, key: string): Promise<readonly { readonly state: string; readonly reason: string; readonly note: string }[]>
}

/** here: it has this new id. gone: it will not come, `note` says why. unknown: nothing is known of it, or not yet. */
export type Answer = Resolved & { readonly status: 'here' | 'gone' | 'unknown' }

export interface Resolver {
  /** Rejects with USAGE for an entity that the mapping does not have, with REMOTE when nothing can be said now. */
  fromOld(entity: string, old: string): Promise<Answer>
  fromNew(id: string, entity: string | null): Promise<Answer>
}

export function createResolver({ facts, ...asked }: Omit<Asked, 'entries'> & { readonly facts: ResolverFacts }): Resolver {
  const { mapping } = asked
  return {
    async fromOld(name, old) {
      const resolved = await resolveOld({ ...asked, entries: facts }, name, old)
      const decided = byLedger(resolved)
      if (decided) return decided
      const entity = mapping.entities.get(name)
      if (resolved.how === 'computed' && (await isThere(entity!, resolved.new!, facts))) return { ...resolved, status: 'here' }
      const key = toRaw(entity ? [old] : old.split(','))
      return { ...(await withoutRow(resolved, { table: tableOf(name, mapping), key, facts })), found: false }
    },
    async fromNew(id, only) {
      const resolved = await resolveNew({ ...asked, entries: facts }, id, only)
      return byLedger(resolved) ?? { ...resolved, status: resolved.found ? 'here' : 'unknown' }
    },
  }
}

/** What the ledger's entry alone says; null when there is none. */
function byLedger(resolved: Resolved): Answer | null {
  if (resolved.how !== 'ledger') return null
  const { kind, rule } = resolved
  if (kind === 'gone') return { ...resolved, status: 'gone' }
  if (kind === 'dangling') return { ...resolved, found: false, status: 'unknown', note: 'other rows refer to it, but it never came' }
  if (rule === DROPPED) return { ...resolved, status: 'gone', note: 'it was decided not to carry it' }
  if (resolved.new === '') {
    return { ...resolved, new: null, status: 'gone', note: 'left out: the row that it belongs to became one that the destination had' }
  }
  return { ...resolved, status: 'here' }
}

/** Without an answer of the destination the computed id is the best that can be said. */
async function isThere(entity: Entity, id: string, facts: ResolverFacts): Promise<boolean> {
  return facts.hasRow(entity, id).catch((error: unknown) => {
    if (error instanceof RekeyError && error.code === 'REMOTE') return true
    throw error
  })
}

interface Place {
  readonly table: string | null
  readonly key: string
  readonly facts: ResolverFacts
}

async function withoutRow(resolved: Resolved, { table, key, facts }: Place): Promise<Answer> {
  const [parked] = table === null ? [] : await facts.parked(table, key)
  if (parked?.state === 'waived') return { ...resolved, status: 'gone', note: `it was decided not to carry it: ${parked.note}` }
  if (parked) return { ...resolved, status: 'unknown', note: `it waits for a decision: ${parked.reason}` }
  const none = 'there is no such row at the destination: it did not come, was left out, or was deleted'
  const note = resolved.how === 'computed' ? none : resolved.note
  return { ...resolved, status: 'unknown', note }
}

/** The source table of a name, where what is parked of it stands under the same key. */
function tableOf(name: string, mapping: Mapping): string | null {
  const entity = mapping.entities.get(name)
  if (!entity) {
    const source = [...mapping.tables.values()].map((rule) => rule.source).find((t) => nameOf(t) === name || t.table === name)
    return source ? nameOf(source) : null
  }
  const rule = mapping.tables.get(entity.table)
  return rule?.key.length === 1 && rule.key[0] === entity.column ? entity.table : null
}
