import { insertsOf, keyOf, type RelationNet } from './core/coalesce.ts'
import type { CatalogTable } from './core/catalog.ts'
import type { Mapping, MergeKeyPart } from './core/mapping.ts'
import { Lines } from './core/out.ts'
import type { Decision, MatchQuestion } from './core/plan.ts'
import { ledgerName, type Minters, type Program } from './core/program.ts'
import type { Relation } from './core/relation.ts'
import { collectUndecided, Undecided, writeColumns, type Scope } from './core/rekey.ts'
import { isNull, rawField, unescapeField, type Row } from './core/row.ts'
import { renameRows } from './rename.ts'
import type { Decisions } from './decisions.ts'

export interface ResolveDeps {
  readonly mapping: Mapping
  readonly minters: Minters
  readonly decisions: Decisions
  readonly scope: Scope
  readonly targetOf: (program: Program) => CatalogTable
  readonly rankOf: (program: Program) => number
  readonly match: (question: MatchQuestion) => Promise<readonly (readonly string[])[]>
  /** Ids of these that are ours already (inserted for another source row). */
  readonly ours: (entity: string, ids: readonly string[]) => Promise<ReadonlySet<string>>
  /** Rows as they are at the source now, by key: for references whose parent was not seen yet. */
  readonly readSource: (table: string, column: string, keys: readonly string[]) => Promise<{ relation: Relation; rows: readonly Row[] }>
  readonly programOf: (relation: Relation) => Program
}

/** A row that a person must decide about; it is parked. */
export interface Conflict {
  readonly program: Program
  readonly key: string
  readonly reason: string
}

/**
 * Makes every decision that the rows need before they can be written, parents before children: what each row of a table with a ledger
 * becomes, and the ids of the references. After it, writing meets no unknown id. Returns the rows that cannot be decided.
 */
export async function resolveNets(nets: readonly RelationNet[], deps: ResolveDeps): Promise<Conflict[]> {
  const conflicts: Conflict[] = []
  const programs = nets.map((net) => ({ net, program: deps.programOf(net.relation) }))
  programs.sort((a, b) => deps.rankOf(a.program) - deps.rankOf(b.program))
  for (const { net, program } of programs) {
    const { rule } = program
    if (!program.asks && !rule.ledger) continue
    const rows = rowsOf(net, program)
    if (rule.ledger) await deps.decisions.load(ledgerName(program), [...rows.keys()])
    await resolveReferences(program, rows, deps)
    if (rule.ledger) conflicts.push(...(await decideRows(program, rows, deps)))
    if (rule.rename.length > 0) await renameRows(program, [...rows.values()].filter(({ whole }) => whole).map(({ row }) => row), deps)
  }
  return conflicts
}

function rowsOf(net: RelationNet, program: Program): Map<string, { row: Row; whole: boolean }> {
  const rows = new Map<string, { row: Row; whole: boolean }>()
  for (const row of net.inserts) rows.set(keyOf(row, program.key), { row, whole: true })
  if (net.counted) for (const { row, count } of net.counted.values()) if (count !== 0) rows.set(keyOf(row, program.key), { row, whole: true })
  if (net.keyed) for (const [key, entry] of net.keyed) rows.set(key, { row: entry.row, whole: entry.kind !== 'delete' })
  return rows
}

/** References to decided entities: from the ledger, else from the row that they name as it is at the source now. */
async function resolveReferences(program: Program, rows: ReadonlyMap<string, { row: Row; whole: boolean }>, deps: ResolveDeps): Promise<void> {
  const wanted = new Map<string, Set<string>>()
  const own = program.rule.entity
  for (const { row, whole } of rows.values()) {
    if (!whole) {
      for (const step of program.targetKey) if (step.kind === 'decided') want(wanted, step.entity, rawField(row, step.from))
      continue
    }
    collectUndecided(program, row, deps.scope, (entity, key) => {
      if (entity !== own || !rows.has(key)) want(wanted, entity, key)
    })
  }
  for (const [entity, keys] of wanted) await resolveKeys(entity, [...keys], deps)
}

function want(wanted: Map<string, Set<string>>, entity: string, key: string): void {
  const keys = wanted.get(entity)
  if (keys) keys.add(key)
  else wanted.set(entity, new Set([key]))
}

/** Decides these keys of an entity, whose rows were not seen by this process; a key without a row is dangling and gets its computed id. */
export async function resolveKeys(entity: string, keys: readonly string[], deps: ResolveDeps): Promise<void> {
  await deps.decisions.load(entity, keys)
  const unknown = keys.filter((key) => deps.decisions.get(entity, key) === undefined)
  if (unknown.length === 0) return
  const { table, column } = deps.mapping.entities.get(entity)!
  const texts = unknown.map((key) => unescapeField(Buffer.from(key, 'latin1')).toString('utf8'))
  const { relation, rows } = await deps.readSource(table, column, texts)
  if (rows.length > 0) {
    await resolveNets([insertsOf(relation, rows)], deps)
  }
  for (const key of unknown) {
    if (deps.decisions.get(entity, key)) continue
    const pinned = deps.programOf(relation).rule.pinned.get(key)
    if (pinned !== undefined) deps.decisions.decide({ entity, key, id: pinned, kind: 'pinned', rule: 'pinned', evidence: '' })
    else deps.decisions.decide({ entity, key, id: mintRaw(entity, key, deps), kind: 'dangling', rule: 'no row at the source', evidence: '' })
  }
}

/** The computed id of a raw key; a key that the entity cannot have stays as it is. */
function mintRaw(entity: string, key: string, deps: ResolveDeps): string {
  const text = unescapeField(Buffer.from(key, 'latin1')).toString('utf8')
  const id = deps.minters.get(entity)!.mint(text)
  return id === null ? key : Buffer.from(id, 'utf8').toString('latin1')
}

/**
 * The one function that says what becomes of a row of a table with a ledger. Rows whose natural key needs the decision of another row of
 * the same table (a nested folder) wait for it, round by round.
 */
async function decideRows(program: Program, rows: ReadonlyMap<string, { row: Row; whole: boolean }>, deps: ResolveDeps): Promise<Conflict[]> {
  const name = ledgerName(program)
  const conflicts: Conflict[] = []
  const isOpen = (key: string): boolean => (deps.decisions.get(name, key)?.kind ?? 'dangling') === 'dangling'
  let open = [...rows].filter(([key, { whole }]) => whole && isOpen(key)).map(([key, { row }]) => ({ key, row }))
  open = open.filter(({ key, row }) => !decideBySelf(program, key, row, deps))
  while (open.length > 0) {
    const ready: { key: string; row: Row; naturals: Map<number, (string | null)[]> }[] = []
    const later: typeof open = []
    for (const one of open) {
      const naturals = naturalKeys(program, one.row, deps)
      if (naturals) ready.push({ ...one, naturals })
      else later.push(one)
    }
    if (ready.length === 0) {
      for (const { key, row } of later) decideInserted(program, key, row, deps)
      break
    }
    conflicts.push(...(await matchReady(program, ready, deps)))
    open = later
  }
  return conflicts
}

/** Decisions that need no look-up: pinned rows, and rows whose parent became a row of the destination and that are not carried then. */
function decideBySelf(program: Program, key: string, row: Row, deps: ResolveDeps): boolean {
  const { rule } = program
  const entity = ledgerName(program)
  const pinned = rule.pinned.get(key)
  if (pinned !== undefined) {
    deps.decisions.decide({ entity, key, id: pinned, kind: 'pinned', rule: 'pinned', evidence: '' })
    return true
  }
  for (const { column, entity: parent, action } of rule.mergedParents) {
    const at = program.position.get(column)
    if (action !== 'skip' || at === undefined || isNull(row, at)) continue
    if (deps.decisions.get(parent, rawField(row, at))?.kind !== 'merged') continue
    deps.decisions.decide({ entity, key, id: '', kind: 'pinned', rule: 'parent merged', evidence: column })
    return true
  }
  return false
}

/** For each natural key its values at the destination; null when one of them refers to a row of this table that has no decision yet. */
function naturalKeys(program: Program, row: Row, deps: ResolveDeps): Map<number, (string | null)[]> | null {
  const naturals = new Map<number, (string | null)[]>()
  try {
    questionsOf(program).forEach((on, i) => {
      const values = on.map((part) => valueOf(program, part.column, row, deps.scope))
      if (values.every((value) => value !== null)) naturals.set(i, values)
    })
    return naturals
  } catch (error) {
    if (error instanceof Undecided) return null
    throw error
  }
}

/** Natural keys of a merged table; for a moved one its destination key, which must not be taken. */
function questionsOf(program: Program): readonly (readonly MergeKeyPart[])[] {
  const { rule } = program
  if (rule.merge) return rule.merge.on
  if (!rule.keyed) return []
  if (rule.columns.some((c) => rule.targetKey.includes(c.target) && c.map.kind === 'ref' && c.map.entity === rule.entity) && program.targetKey.every((s) => s.kind === 'decided')) return []
  return [rule.targetKey.map((column) => ({ column, normalise: 'exact' as const }))]
}

function valueOf(program: Program, column: string, row: Row, scope: Scope): string | null {
  const at = program.rule.columns.findIndex((c) => c.target === column)
  const lines = new Lines(256)
  writeColumns(program, [program.columns[at]], row, lines, scope)
  const raw = lines.view()
  return raw.length === 2 && raw[0] === 92 && raw[1] === 78 ? null : unescapeField(raw).toString('utf8')
}

interface Ready {
  readonly key: string
  readonly row: Row
  readonly naturals: ReadonlyMap<number, readonly (string | null)[]>
}

async function matchReady(program: Program, ready: readonly Ready[], deps: ResolveDeps): Promise<Conflict[]> {
  const target = deps.targetOf(program)
  const conflicts: Conflict[] = []
  const entity = ledgerName(program)
  const taken = new Map<string, string>()
  let open = ready
  for (const [i, on] of questionsOf(program).entries()) {
    const asked = open.filter(({ naturals }) => naturals.has(i))
    if (asked.length === 0) continue
    const types = on.map((part) => target.columns.find((c) => c.name === part.column)!.type)
    const answers = await deps.match({ table: program.rule.target, on, types, key: program.rule.targetKey, rows: asked.map(({ naturals }) => naturals.get(i)!) })
    const ours = await deps.ours(entity, answers.flat())
    const settled = new Set<string>()
    asked.forEach((one, at) => {
      // A row under this very id is this row: an earlier transaction wrote it and its decision was lost with another one.
      const own = program.rule.entity !== null && deps.mapping.entities.get(program.rule.entity)!.strategy.kind === 'prefixed' ? mintRaw(program.rule.entity, one.key, deps) : null
      const verdict = judge(program, answers[at].filter((id) => id !== own), ours)
      const natural = `${i}:${JSON.stringify(one.naturals.get(i))}`
      const twin = taken.get(natural)
      if (verdict === 'none' && twin === undefined) return void taken.set(natural, one.key)
      settled.add(one.key)
      if (verdict === 'none') conflicts.push({ program, key: one.key, reason: 'two source rows have one natural key' })
      else if (verdict.conflict) conflicts.push({ program, key: one.key, reason: verdict.conflict })
      else if (deps.decisions.get(entity, one.key)) conflicts.push({ program, key: one.key, reason: 'it was referred to under an id of its own before it came' })
      else deps.decisions.decide({ entity, key: one.key, id: verdict.id!, kind: 'merged', rule: on.map((p) => p.column).join(' + '), evidence: '' })
    })
    open = open.filter(({ key }) => !settled.has(key))
  }
  for (const { key, row } of open) decideInserted(program, key, row, deps)
  return conflicts
}

function judge(program: Program, ids: readonly string[], ours: ReadonlySet<string>): 'none' | { id?: string; conflict?: string } {
  if (ids.length === 0) return 'none'
  if (ids.length > 1) return { conflict: 'several rows of the destination match' }
  if (ours.has(ids[0])) return { conflict: 'the matching row is another source row' }
  if (program.rule.verdict !== 'merge') return { conflict: 'the key is taken at the destination' }
  return { id: ids[0] }
}

/** A row whose key changes stays what it is: its new key is decided by its old one, not by a look-up that would find the row itself. */
export function followKey(program: Program, { from, to, row }: { from: string; to: string; row: Row }, deps: ResolveDeps): void {
  const entity = ledgerName(program)
  const known = deps.decisions.get(entity, to)
  if (known && known.kind !== 'dangling') return
  const before = deps.decisions.get(entity, from)!
  if (before.kind === 'merged' || before.kind === 'pinned') deps.decisions.decide({ ...before, key: to })
  else decideInserted(program, to, row, deps)
}

/** Ours, under its computed id, or under its key columns where those are kept or composed of other ids. */
function decideInserted(program: Program, key: string, row: Row, deps: ResolveDeps): void {
  const { rule } = program
  const entity = ledgerName(program)
  const own = rule.entity !== null && deps.scope.isDecided(rule.entity)
  const base: Omit<Decision, 'id'> = { entity, key, kind: 'inserted', rule: '', evidence: '' }
  if (own) return deps.decisions.decide({ ...base, id: deps.decisions.get(entity, key)?.id ?? mintRaw(entity, key, deps) })
  const lines = new Lines(64)
  writeColumns(program, program.targetKey, row, lines, deps.scope)
  deps.decisions.decide({ ...base, id: lines.view().toString('latin1') })
}

