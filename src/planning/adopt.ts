import { keyOf, type RelationNet } from '../core/coalesce.ts'
import { notCarried } from '../core/gather.ts'
import type { AdoptRule, TableRule } from '../core/mapping.ts'
import { Lines } from '../core/out.ts'
import type { MatchQuestion } from '../core/plan.ts'
import { ledgerName, type Program } from '../core/program.ts'
import { nameOf, type Relation } from '../core/relation.ts'
import { Undecided, writeColumns, type Scope } from '../core/rekey.ts'
import { escapeField, isNull, isUnchanged, rawField, textField, unescapeField, type Row } from '../core/row.ts'
import type { Conflict, ResolveDeps } from './resolve.ts'

/** What finding the rows that destination triggers made needs beside the rest. */
export interface Adoption {
  /** Of the batch, in order: a maker is looked for here first. */
  readonly batch: readonly RelationNet[]
  /** Programs in which the columns that triggers fill are null, so that a maker's own key does not need what it makes. */
  readonly programOf: (relation: Relation) => Program
  /** Rows of the source by one column: as the copy sees them, or as they are now. */
  readonly read: ResolveDeps['readSource']
  /** Nothing is written: the triggers have not run. What they will make is known where the maker points at it. */
  readonly dry: boolean
  /** Decides rows of makers before their time; rows (ledger name, key) that wait for that are not asked for. */
  readonly ahead: (relation: Relation, rows: readonly Row[], above: ReadonlySet<string>) => Promise<void>
}

interface Open {
  readonly key: string
  readonly row: Row
}

/** none: no trigger made this row, it is as any other. */
type Found =
  | { readonly kind: 'none' }
  /** The trigger will make it when its maker is written. */
  | { readonly kind: 'coming' }
  | { readonly kind: 'conflict'; readonly reason: string; readonly behind: boolean }
  /** `ours`: the maker's row is ours, so this one is too; else it belongs to the destination like its maker. */
  | { readonly kind: 'row'; readonly id: string; readonly ours: boolean }

const NONE: Found = { kind: 'none' }

function refuse(reason: string, behind = false): Found {
  return { kind: 'conflict', reason, behind }
}

interface Adopted {
  readonly rest: Open[]
  /** Only where nothing is written. */
  readonly coming: Open[]
  readonly conflicts: Conflict[]
}

/** Decides the rows that a trigger made, by the row of the destination that it made. Resolves with the others. */
export async function adoptRows(program: Program, open: Open[], deps: ResolveDeps): Promise<Adopted> {
  const { adopt } = program.rule
  const { adoption, decisions } = deps
  if (adopt === null || !adoption || open.length === 0) return { rest: open, coming: [], conflicts: [] }
  const entity = ledgerName(program)
  const found = await ('column' in adopt ? byMaker(program, open, deps) : byOwnColumns(program, adopt, open, deps))
  const ids = found.flatMap((one) => (one.kind === 'row' ? [one.id] : []))
  const taken = new Set(await deps.ours(entity, ids))
  const rest: Open[] = []
  const coming: Open[] = []
  const conflicts: Conflict[] = []
  open.forEach(({ key, row }, i) => {
    const one = found[i]
    if (one.kind === 'none' || (adoption.dry && one.kind === 'conflict' && one.behind)) return void rest.push({ key, row })
    if (one.kind === 'coming') return void coming.push({ key, row })
    const conflict = (reason: string, behind = false): void => void conflicts.push({ program, key, reason, behind })
    if (one.kind === 'conflict') return conflict(one.reason, one.behind)
    if (taken.has(one.id)) return conflict('the row that a trigger made is another source row')
    if (decisions.get(entity, key)?.kind === 'dangling') return conflict('it was referred to under an id of its own before it came')
    taken.add(one.id)
    decisions.decide({ entity, key, id: one.id, kind: one.ours ? 'adopted' : 'merged', rule: `adopt by ${adopt.by}`, evidence: '' })
  })
  return { rest, coming, conflicts }
}

const WAITS = 'waits for the row with which a trigger makes it'

/** The maker points at what its trigger made: the row of the maker that names this one at the source, and what it names at the destination. */
async function byMaker(program: Program, open: readonly Open[], deps: ResolveDeps): Promise<Found[]> {
  const adopt = program.rule.adopt as Extract<AdoptRule, { column: string }>
  const { relation, makers } = await makersOf(adopt, open.map(({ key }) => key), deps)
  const maker = relation && deps.adoption!.programOf(relation)
  const only = open.map(({ key }) => makers.get(key) ?? [])
  if (deps.adoption!.dry && maker?.rule.ledger) {
    const above = new Set([...(deps.above ?? []), ...open.map(({ key }) => `${ledgerName(program)}\n${key}`)])
    await deps.adoption!.ahead(relation!, only.flat().filter((row) => !above.has(`${ledgerName(maker)}\n${keyOf(row, maker.key)}`)), above)
  }
  const asked = new Map<number, { id: string; ours: boolean }>()
  const found = await mapInOrder(only, async (rows, i) => {
    if (rows.length === 0) return NONE
    if (rows.length > 1) return refuse(`several rows of ${adopt.by} at the source point at it`)
    const at = await destinationOf(maker!, rows[0], deps)
    if (at !== 'none' && at !== 'later') asked.set(i, at)
    return at === 'later' ? refuse(WAITS, true) : NONE
  })
  if (asked.size === 0) return found
  const keys = [...asked.values()].map(({ id }) => fieldsOf(id))
  const made = await deps.match(question(maker!, deps, { on: maker!.rule.targetKey, key: [adopt.column], rows: keys }))
  const sharing = await deps.match(question(maker!, deps, { on: [adopt.column], key: maker!.rule.targetKey, rows: made.map(([id]) => fieldsOf(id ?? '\\N')) }))
  ;[...asked].forEach(([i, { ours }], n) => {
    const [id] = made[n]
    if (id === undefined) found[i] = deps.adoption!.dry ? { kind: 'coming' } : refuse(WAITS, true)
    else if (id === '\\N') found[i] = NONE
    else if (ours && sharing[n].length !== 1) found[i] = refuse(`several rows of ${nameOf(maker!.rule.target)} at the destination point at it`)
    else found[i] = { kind: 'row', id, ours }
  })
  return found
}

async function mapInOrder<T, R>(items: readonly T[], of: (item: T, i: number) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  for (const [i, item] of items.entries()) results.push(await of(item, i))
  return results
}

/** Rows of the maker by the key that they name: from the batch, and where it has none, from the source. */
async function makersOf(
  adopt: Extract<AdoptRule, { column: string }>, keys: readonly string[], deps: ResolveDeps,
): Promise<{ relation: Relation | null; makers: Map<string, Row[]> }> {
  const { batch, programOf, read } = deps.adoption!
  const latest = new Map<string, Row>()
  const makers = new Map<string, Row[]>()
  let relation: Relation | null = null
  const add = (of: Relation, rows: Iterable<Row>): void => {
    relation = of
    const at = programOf(of).position.get(adopt.from)!
    for (const row of rows) {
      if (isUnchanged(row, at) || isNull(row, at)) continue
      const named = rawField(row, at)
      makers.set(named, [...(makers.get(named) ?? []), row])
    }
  }
  for (const net of batch) {
    if (nameOf(net.relation) !== adopt.by) continue
    const { key } = programOf(net.relation)
    relation = net.relation
    for (const row of net.inserts) latest.set(keyOf(row, key), row)
    for (const [own, { kind, row }] of net.keyed ?? []) {
      if (kind === 'delete') latest.delete(own)
      else latest.set(own, row)
    }
  }
  if (relation) add(relation, latest.values())
  const missing = keys.filter((key) => !makers.has(key))
  if (missing.length > 0) {
    const { relation: now, rows } = await read(adopt.by, adopt.from, missing.map((key) => textOf(key)))
    const program = programOf(now)
    add(now, rows.filter((row) => notCarried({ op: 'insert', relation: now, row, old: null, oldIsFull: false }, program) === null))
  }
  return { relation, makers }
}

/** The destination key of a maker's row; none when it is not carried, later when it was not seen yet. */
async function destinationOf(maker: Program, row: Row, deps: ResolveDeps): Promise<{ id: string; ours: boolean } | 'none' | 'later'> {
  if (maker.rule.ledger) return standing(maker.rule, keyOf(row, maker.key), deps)
  const lines = new Lines(64)
  writeColumns(maker, maker.targetKey, row, lines, deps.scope)
  return { id: lines.view().toString('latin1'), ours: true }
}

async function standing(rule: TableRule, key: string, { decisions }: ResolveDeps): Promise<{ id: string; ours: boolean } | 'none' | 'later'> {
  const name = rule.entity ?? nameOf(rule.source)
  await decisions.load(name, [key])
  const decision = decisions.get(name, key)
  if (!decision || decision.kind === 'dangling' || decision.kind === 'gone') return 'later'
  if (decision.id === '') return 'none'
  return { id: decision.id, ours: decision.kind === 'inserted' || decision.kind === 'adopted' }
}

/** The made row points at its maker: it is the one with the same values in the declared columns. */
async function byOwnColumns(
  program: Program, adopt: Extract<AdoptRule, { on: readonly string[] }>, open: readonly Open[], deps: ResolveDeps,
): Promise<Found[]> {
  const maker = deps.mapping.tables.get(adopt.by)!
  const asked = new Map<number, { values: string[]; id: string; ours: boolean }>()
  const found = await mapInOrder(open, async ({ row }, i) => {
    const values = valuesOf(program, adopt.on, row, deps.scope)
    const at = program.position.get(adopt.from)!
    if (values === null || isNull(row, at)) return NONE
    const parent = maker.ledger ? await standing(maker, rawField(row, at), deps)
      : { id: idOf(program, adopt.from, row, deps.scope), ours: true }
    if (typeof parent === 'object') asked.set(i, { values, ...parent })
    return parent === 'later' ? refuse(WAITS, true) : NONE
  })
  if (asked.size === 0) return found
  const all = [...asked.values()]
  const made = await deps.match(question(program, deps, { on: adopt.on, key: program.rule.targetKey, rows: all.map(({ values }) => values) }))
  const there = await deps.match(question({ rule: maker }, deps, { on: maker.targetKey, key: maker.targetKey, rows: all.map(({ id }) => fieldsOf(id)) }))
  ;[...asked].forEach(([i, { ours }], n) => {
    if (made[n].length > 1) found[i] = refuse('several rows of the destination may be the one that a trigger made')
    else if (made[n].length === 1) found[i] = { kind: 'row', id: made[n][0], ours }
    else found[i] = there[n].length === 0 ? refuse(WAITS, true) : NONE
  })
  return found
}

/** Values of destination columns; null when one is null, or needs a row that has no decision yet. */
function valuesOf(program: Program, columns: readonly string[], row: Row, scope: Scope): string[] | null {
  try {
    const values = columns.map((column) => valueOf(program, column, row, scope))
    return values.every((value) => value !== null) ? values : null
  } catch (error) {
    if (error instanceof Undecided) return null
    throw error
  }
}

/** The text that a row brings for a destination column. */
export function valueOf(program: Program, column: string, row: Row, scope: Scope): string | null {
  const step = program.columns[program.rule.columns.findIndex((c) => c.target === column)]
  if (step.from >= 0 && isUnchanged(row, step.from)) throw new RangeError('a natural key that the source did not send')
  if (step.kind === 'copy') return textField(row, step.from)
  const lines = new Lines(256)
  writeColumns(program, [step], row, lines, scope)
  const raw = lines.view()
  return raw.length === 2 && raw[0] === 92 && raw[1] === 78 ? null : unescapeField(raw).toString('utf8')
}

/** The raw destination id that a source column refers to. */
function idOf(program: Program, from: string, row: Row, scope: Scope): string {
  const { target } = program.rule.columns.find((c) => c.source === from)!
  return escapeField(Buffer.from(valueOf(program, target, row, scope)!, 'utf8')).toString('latin1')
}

function textOf(raw: string): string {
  return unescapeField(Buffer.from(raw, 'latin1')).toString('utf8')
}

/** The fields of a raw key as values. */
function fieldsOf(raw: string): (string | null)[] {
  return raw.split('\t').map((field) => (field === '\\N' ? null : textOf(field)))
}

interface Asked {
  readonly on: readonly string[]
  readonly key: readonly string[]
  readonly rows: readonly (readonly (string | null)[])[]
}

function question({ rule }: Pick<Program, 'rule'>, deps: ResolveDeps, { on, key, rows }: Asked): MatchQuestion {
  const target = deps.tableNamed(rule.target)
  const types = on.map((name) => target.columns.find((c) => c.name === name)!.type)
  return { table: rule.target, on: on.map((column) => ({ column, normalise: 'exact' as const })), types, key, rows }
}
