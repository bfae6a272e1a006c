import { createHash } from 'node:crypto'
import type { Mapping, MergeKeyPart } from '../core/mapping.ts'
import type { Decision, MatchQuestion } from '../core/plan.ts'
import { nameOf, type TableName } from '../core/relation.ts'
import type { Destination, IdMap } from '../ports.ts'

/**
 * The destination as it would be after the rows that were planned so far: what the run would find there is told to the planner, though
 * nothing is written. It holds natural keys as digests, and the decisions about things whose ids cannot be computed.
 */
export interface Overlay {
  readonly idMap: IdMap
  readonly match: Destination['match']
  /** Remembers decisions as the ledger would. */
  remember(decisions: readonly Decision[]): void
  /** Enters a planned row under a natural key. Returns the row that has it already, when that is another one. */
  enter(natural: Natural, row: Entered): Entered | null
  /** The planned row that has a natural key. */
  entered(natural: Natural): Entered | undefined
}

export interface Natural {
  readonly table: TableName
  readonly on: readonly MergeKeyPart[]
  readonly values: readonly (string | null)[]
}

export interface Entered {
  readonly entity: string
  readonly key: string
  readonly id: string
}

export function overlayOf(mapping: Mapping, below: { idMap: IdMap; match: Destination['match'] }): Overlay {
  const known = new Map<string, Map<string, Decision>>()
  const naturals = new Map<string, Entered>()
  const byId = new Map<string, Entered[]>()
  return {
    idMap: ledgerOf(below.idMap, known, byId),
    async match(question) {
      const answers = await below.match(question)
      return answers.map((ids, i) => {
        const entered = naturals.get(digest(question, question.rows[i]))
        return entered && !ids.includes(entered.id) ? [...ids, entered.id] : ids
      })
    },
    remember(decisions) {
      for (const d of decisions) {
        if (d.kind === 'inserted' && !mapping.entities.get(d.entity)?.decided) continue
        const keys = known.get(d.entity)
        if (keys) keys.set(d.key, d)
        else known.set(d.entity, new Map([[d.key, d]]))
      }
    },
    entered: ({ table, on, values }) => naturals.get(digest({ table, on }, values)),
    enter({ table, on, values }, row) {
      const name = digest({ table, on }, values)
      const there = naturals.get(name)
      if (there) return there.key === row.key ? null : there
      naturals.set(name, row)
      byId.set(row.id, [...(byId.get(row.id) ?? []), row])
      return null
    },
  }
}

/** The ledger with what was decided since, in both directions. */
function ledgerOf(
  below: IdMap, known: ReadonlyMap<string, ReadonlyMap<string, Decision>>, byId: ReadonlyMap<string, readonly Entered[]>,
): IdMap {
  return {
    async find(entity, keys) {
      const own = known.get(entity)
      const asked = own ? keys.filter((key) => !own.has(key)) : keys
      const found = new Map(asked.length > 0 ? await below.find(entity, asked) : [])
      for (const key of keys) if (own?.has(key)) found.set(key, own.get(key)!)
      return found
    },
    async findIds(ids) {
      const found = [...(await below.findIds(ids))]
      for (const one of new Set(ids)) for (const e of byId.get(one) ?? []) found.push({ ...e, kind: 'inserted', rule: '', evidence: '' })
      return found
    },
  }
}

/** Letter case is folded here as by Unicode; Postgres may fold a few letters otherwise, which at worst makes a conflict of two rows. */
function digest({ table, on }: Pick<MatchQuestion, 'table' | 'on'>, values: readonly (string | null)[]): string {
  const normal = on.map(({ normalise }, i) => {
    const value = values[i]
    if (value === null || normalise === 'exact') return value
    return normalise === 'lower' ? value.toLowerCase() : value.replace(/^ +| +$/g, '').toLowerCase()
  })
  return createHash('sha256').update(JSON.stringify([nameOf(table), on, normal])).digest('base64').slice(0, 24)
}
