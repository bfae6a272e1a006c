import { RekeyError } from '../core/errors.ts'
import type { Entity, Mapping } from '../core/mapping.ts'
import { readableKey } from '../core/parking.ts'
import type { Decision } from '../core/plan.ts'
import type { Minters } from '../core/program.ts'
import { nameOf } from '../core/relation.ts'
import { escapeField } from '../core/row.ts'

/** What an old id, or a new one, stands for. */
export interface Resolved {
  readonly found: boolean
  /** ledger: written when the row was decided; computed: follows from the key and the secret alone. */
  readonly how: 'ledger' | 'computed' | null
  readonly entity: string | null
  readonly old: string | null
  readonly new: string | null
  /** Of a ledger entry. */
  readonly kind: Decision['kind'] | null
  readonly rule: string | null
  readonly note: string | null
}

const NOTHING: Resolved = { found: false, how: null, entity: null, old: null, new: null, kind: null, rule: null, note: null }

/** Where the ledger's entries are looked up, one by one. */
export interface Entries {
  find(entity: string, key: string): Promise<Decision | null>
  findId(id: string): Promise<readonly Decision[]>
}

export interface Asked {
  readonly entries: Entries
  readonly mapping: Mapping
  readonly minters: Minters
}

/**
 * Old key to new id: the ledger first, since it may say otherwise than the computation. A composite key is written `1,2`. Rejects with
 * USAGE for an entity that the mapping does not have.
 */
export async function resolveOld({ entries, mapping, minters }: Asked, name: string, old: string): Promise<Resolved> {
  const entity = mapping.entities.get(name)
  const ledger = entity ? entity.name : compositeLedger(mapping, name)
  const key = toRaw(entity ? [old] : old.split(','))
  const decision = await entries.find(ledger, key)
  if (decision) return fromLedger(decision)
  const asked = { ...NOTHING, entity: ledger, old }
  if (!entity) return { ...asked, note: 'not in the ledger: this row was not carried, or not yet' }
  const id = entity.strategy.kind === 'random' ? null : minters.get(entity.name)!.mint(old)
  if (entity.decided) {
    const otherwise = id === null ? '' : `; as a new row it would become ${id}`
    return { ...asked, note: `not in the ledger: this row was not carried, or not yet${otherwise}` }
  }
  if (id === null) return { ...asked, note: 'not a key that this entity can have' }
  return { ...asked, found: true, how: 'computed', new: id }
}

/** Destination id to old key: the ledger, then every entity whose ids prove what they are made of. */
export async function resolveNew({ entries, mapping, minters }: Asked, id: string, only: string | null): Promise<Resolved> {
  if (only !== null && !mapping.entities.has(only)) throw unknown(only, [...mapping.entities.keys()])
  const decisions = await entries.findId(toRaw([id]))
  const asked = decisions.filter((d) => (only === null ? mapping.entities.has(d.entity) : d.entity === only))
  const [first, ...more] = [...asked.filter((d) => d.kind !== 'gone'), ...asked.filter((d) => d.kind === 'gone')]
  if (first) {
    const found = fromLedger(first)
    return more.length > 0 ? { ...found, note: `also the id of ${more.map((d) => `${d.entity} ${readableKey(d.key)}`).join('; ')}` } : found
  }
  for (const entity of mapping.entities.values()) {
    if (only === null ? !provesItself(entity) : entity.name !== only) continue
    const old = minters.get(entity.name)!.unmint(id)
    if (old === null) continue
    const elsewhere = entity.decided ? await entries.find(entity.name, toRaw([old])) : null
    const note = elsewhere ? `the ledger says that this row became ${readableKey(elsewhere.id)} (${elsewhere.kind}): this id is not in use`
      : entity.decided ? 'not in the ledger: this row was not carried, or not yet' : null
    return { ...NOTHING, found: !entity.decided, how: 'computed', entity: entity.name, old, new: id, note }
  }
  return { ...NOTHING, new: id, note: 'no entry of the ledger, and not an id that can be read back' }
}

/** An offset or a kept key can be read back as any entity's, so it is only done for a named one. */
function provesItself({ strategy }: Entity): boolean {
  return strategy.kind === 'literal' || (strategy.kind === 'prefixed' && strategy.form === 'ordered')
}

function compositeLedger(mapping: Mapping, name: string): string {
  const rules = [...mapping.tables.values()].filter((rule) => rule.entity === null && rule.ledger)
  const rule = rules.find((r) => nameOf(r.source) === name || r.source.table === name)
  if (!rule) throw unknown(name, [...mapping.entities.keys(), ...rules.map((r) => nameOf(r.source))])
  return nameOf(rule.source)
}

function unknown(name: string, known: readonly string[]): RekeyError {
  return new RekeyError('USAGE', `the mapping has no entity ${name}`, { hint: `One of: ${known.join(', ')}.` })
}

function fromLedger(d: Decision): Resolved {
  const { entity, kind, rule } = d
  return { found: true, how: 'ledger', entity, old: readableKey(d.key), new: readableKey(d.id), kind, rule, note: kind === 'gone' ? 'its row was deleted' : null }
}

/** A key's fields as the engine has them. */
export function toRaw(fields: readonly string[]): string {
  return fields.map((field) => escapeField(Buffer.from(field, 'utf8')).toString('latin1')).join('\t')
}
