import type { Mapping } from '../core/mapping.ts'
import { rewriteKey, type NewKey } from '../core/objects/named.ts'
import type { MatchQuestion } from '../core/plan.ts'
import type { Minters } from '../core/program.ts'
import { escapeField, unescapeField } from '../core/row.ts'
import type { IdMap } from '../ports.ts'

export interface KeyDeps {
  readonly mapping: Mapping
  readonly minters: Minters
  readonly idMap: Pick<IdMap, 'find'>
  /** For each row of the question, the keys of the rows that are there: see Destination.match. */
  readonly match: (question: MatchQuestion) => Promise<readonly (readonly string[])[]>
}

const raw = (text: string): string => escapeField(Buffer.from(text, 'utf8')).toString('latin1')
const plain = (field: string): string => unescapeField(Buffer.from(field, 'latin1')).toString('utf8')

/**
 * New keys of objects that no row names. Their ids are those of the ledger, or are computed and then stand for a row that is at the
 * destination: a number in a key that only looks like an id must not become one.
 */
export async function keysFor(store: string, keys: readonly string[], deps: KeyDeps): Promise<NewKey[]> {
  const rule = deps.mapping.stores.get(store)!
  const wanted = new Map<string, Set<string>>()
  for (const key of keys) {
    rewriteKey(rule, key, (entity, of) => {
      wanted.set(entity, (wanted.get(entity) ?? new Set()).add(of))
      return null
    })
  }
  const ids = new Map<string, ReadonlyMap<string, string>>()
  for (const [entity, of] of wanted) ids.set(entity, await idsOf(entity, [...of], deps))
  return keys.map((key) => rewriteKey(rule, key, (entity, of) => ids.get(entity)!.get(of) ?? null))
}

async function idsOf(entity: string, keys: readonly string[], deps: KeyDeps): Promise<Map<string, string>> {
  const { decided, table, column } = deps.mapping.entities.get(entity)!
  const ids = new Map<string, string>()
  if (decided) {
    const found = await deps.idMap.find(entity, keys.map(raw))
    for (const [key, { id, kind }] of found) if (id !== '' && kind !== 'dangling' && kind !== 'gone') ids.set(plain(key), plain(id))
    return ids
  }
  const minted = keys.flatMap((key) => {
    const id = deps.minters.get(entity)!.mint(key)
    return id === null ? [] : [{ key, id }]
  })
  const rule = deps.mapping.tables.get(table)!
  const target = rule.columns.find((c) => c.source === column)
  if (target === undefined || minted.length === 0) return ids
  const there = await deps.match({
    table: rule.target, on: [{ column: target.target, normalise: 'exact' }], types: [target.type], key: rule.targetKey,
      rows: minted.map(({ id }) => [id]),
  })
  minted.forEach(({ key, id }, i) => {
    if (there[i].length > 0) ids.set(key, id)
  })
  return ids
}
