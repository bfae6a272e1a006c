import { type Build, standingOf } from './build.ts'
import type { Transaction } from '../core/change.ts'
import { keyOf } from '../core/coalesce.ts'
import { gather, type Group, type Since } from '../core/gather.ts'
import { type NamedObject, objectRefs, objectsOf, type RowObjects } from '../core/objects/named.ts'
import type { Program } from '../core/program.ts'
import type { Relation } from '../core/relation.ts'
import { escapeField, unescapeField, type Row } from '../core/row.ts'
import type { IdOf } from '../core/template.ts'
import { isOurs } from '../core/write.ts'
import { resolveKeys, type ResolveDeps } from './resolve.ts'

/** Ids in keys: what is not a key of the entity, or refers to a row that never was, has none. */
function idsFor({ scope, minters, decisions }: Pick<ResolveDeps, 'scope' | 'minters' | 'decisions'>): IdOf {
  return (entity, key) => {
    if (!scope.isDecided(entity)) return minters.get(entity)!.mint(key)
    const decision = decisions.get(entity, escapeField(Buffer.from(key, 'utf8')).toString('latin1'))
    if (!decision || decision.kind === 'dangling' || decision.id === '') return null
    return unescapeField(Buffer.from(decision.id, 'latin1')).toString('utf8')
  }
}

/**
 * What the rows of a group name from here on: rows of ours only, a row that became one of the destination keeps that one's object. Of a
 * row whose key changed while the object's was not sent, what it names is left as it was: under its old key.
 */
export function objectsIn({ nets, moves, truncated }: Group, build: Build): RowObjects[] {
  const found: RowObjects[] = []
  const idOf = idsFor(build)
  const put = (program: Program, key: string, row: Row): void => {
    if (!isOurs(standingOf(program, key, build))) return
    const names = objectsOf(program, row, build.mapping.stores, idOf)
    if (names !== null) found.push({ table: program.name, key, names })
  }
  for (const program of truncated) if (program.rule.objects.length > 0) found.push({ table: program.name, key: null, names: [] })
  for (const net of nets.values()) {
    const program = build.programOf(net.relation)
    if (program.rule.objects.length === 0) continue
    for (const row of net.inserts) put(program, keyOf(row, program.key), row)
    for (const [key, { kind, row }] of net.keyed ?? []) {
      if (kind === 'delete') found.push({ table: program.name, key, names: [] })
      else put(program, key, row)
    }
  }
  for (const { program, old, row } of moves) {
    if (program.rule.objects.length === 0) continue
    const names = objectsOf(program, row, build.mapping.stores, idOf)
    if (names === null) continue
    found.push({ table: program.name, key: keyOf(old, program.key), names: [] })
    put(program, keyOf(row, program.key), row)
  }
  return found
}

interface Holding extends ResolveDeps {
  readonly since: Since
  readonly verified: ((objects: readonly NamedObject[]) => Promise<readonly boolean[]>) | undefined
}

/** Rows whose objects must be there first and are not, as they are after these transactions. */
export async function heldRows(transactions: readonly Transaction[], deps: Holding): Promise<Map<string, RowObjects>> {
  const held = new Map<string, RowObjects>()
  const { verified } = deps
  if (verified === undefined) return held
  const waits = (relation: Relation): boolean => deps.programOf(relation).rule.objects.some((rule) => rule.when === 'before')
  const some = transactions.map((t) => ({ ...t, changes: t.changes.filter(({ op, relation }) => op !== 'truncate' && waits(relation)) }))
  if (some.every(({ changes }) => changes.length === 0)) return held
  const rows = lastRows(gather(some, deps.programOf, deps.since).groups, deps.programOf)
  await resolveRefs(rows, deps)
  const idOf = idsFor(deps)
  const asked: { name: string; object: NamedObject }[] = []
  const named = new Map<string, RowObjects>()
  for (const [name, { program, key, row }] of rows) {
    const names = objectsOf(program, row, deps.mapping.stores, idOf) ?? []
    named.set(name, { table: program.name, key, names })
    for (const object of names) if (object.when === 'before') asked.push({ name, object })
  }
  const answers = asked.length > 0 ? await verified(asked.map(({ object }) => object)) : []
  asked.forEach(({ name }, i) => {
    if (!answers[i]) held.set(name, named.get(name)!)
  })
  return held
}

type Rows = Map<string, { readonly program: Program; readonly key: string; readonly row: Row }>

function lastRows(groups: readonly Group[], programOf: ResolveDeps['programOf']): Rows {
  const rows: Rows = new Map()
  const put = (program: Program, key: string, row: Row | null): void => {
    const name = `${program.name}\n${key}`
    rows.delete(name)
    if (row !== null) rows.set(name, { program, key, row })
  }
  for (const { nets, moves } of groups) {
    for (const net of nets.values()) {
      const program = programOf(net.relation)
      for (const row of net.inserts) put(program, keyOf(row, program.key), row)
      for (const [key, { kind, row }] of net.keyed ?? []) put(program, key, kind === 'delete' ? null : row)
    }
    for (const { program, old, row } of moves) {
      put(program, keyOf(old, program.key), null)
      put(program, keyOf(row, program.key), row)
    }
  }
  return rows
}

/** A row whose keys refer to what waits for a decision is not held: it waits behind that, like any other. */
async function resolveRefs(rows: Rows, deps: Holding): Promise<void> {
  const raw = (key: string): string => escapeField(Buffer.from(key, 'utf8')).toString('latin1')
  const wanted = new Map<string, Set<string>>()
  const refs = new Map<string, string[]>()
  for (const [name, { program, row }] of rows) {
    objectRefs(program, row, deps.mapping.stores, (entity, key) => {
      if (!deps.scope.isDecided(entity)) return
      wanted.set(entity, (wanted.get(entity) ?? new Set()).add(raw(key)))
      refs.set(name, [...(refs.get(name) ?? []), `${entity}\n${raw(key)}`])
    })
  }
  const stuck = new Set<string>()
  for (const [entity, keys] of wanted) for (const key of await resolveKeys(entity, [...keys], deps)) stuck.add(`${entity}\n${key}`)
  for (const [name, list] of refs) if (list.some((ref) => stuck.has(ref))) rows.delete(name)
}
