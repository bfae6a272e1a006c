import { adoptRows, valueOf } from './adopt.ts'
import { isCounted, type MergeKeyPart } from '../core/mapping.ts'
import { Lines } from '../core/out.ts'
import type { Decision } from '../core/plan.ts'
import { ledgerName, type Program } from '../core/program.ts'
import { Undecided, writeColumns } from '../core/rekey.ts'
import { isNull, rawField, unescapeField, type Row } from '../core/row.ts'
import type { Conflict, ResolveDeps } from './resolve.ts'
import { dropStuck, type Rows, type Stuck } from './stuck.ts'

/**
 * The one function that says what becomes of a row of a table with a ledger. Rows whose natural key needs the decision of another row of
 * the same table (a nested folder) wait for it, round by round; what cannot be decided is taken out of the rows, with all that needs it.
 */
export async function decideRows(program: Program, rows: Rows, stuck: Stuck, deps: ResolveDeps): Promise<void> {
  const name = ledgerName(program)
  const isOpen = (key: string): boolean => isUnsettled(deps.decisions.get(name, key))
  let open = [...rows].filter(([key, { whole }]) => whole && isOpen(key)).map(([key, { row }]) => ({ key, row }))
  open = open.filter(({ key, row }) => !decideBySelf(program, key, row, deps))
  const { rest, coming, conflicts } = await adoptRows(program, open, deps)
  for (const { key, row } of coming) decideOurs(program, { key, row, kind: 'adopted' }, deps)
  for (const conflict of conflicts) setAside(program, conflict, { rows, stuck, deps })
  open = rest
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
    for (const conflict of await matchReady(program, ready, deps)) {
      setAside(program, conflict, { rows, stuck, deps })
    }
    dropStuck(program, rows, stuck, deps)
    open = later.filter(({ key }) => rows.has(key))
  }
}

function setAside(program: Program, conflict: Conflict, { rows, stuck, deps }: { rows: Rows; stuck: Stuck; deps: ResolveDeps }): void {
  const name = ledgerName(program)
  stuck.conflicts.push(conflict)
  rows.delete(conflict.key)
  if (!deps.decisions.get(name, conflict.key)) stuck.keys.add(`${name}\n${conflict.key}`)
}

/** No row stands behind it: it never came, or it went. When it comes its id is the same, and all else is decided anew. */
export function isUnsettled(decision: Decision | undefined): boolean {
  return !decision || decision.kind === 'dangling' || decision.kind === 'gone'
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
      const values = on.map((part) => ownKeyValue(program, part.column, row, deps) ?? valueOf(program, part.column, row, deps.scope))
      if (values.every((value) => value !== null)) naturals.set(i, values)
    })
    return naturals
  } catch (error) {
    if (error instanceof Undecided) return null
    throw error
  }
}

/**
 * The row's own key where a natural key is made of it (a code, a name): the very decision that is to be made would give it, but where
 * it is kept or computed it is known without. Null for any other column.
 */
function ownKeyValue(program: Program, column: string, row: Row, deps: ResolveDeps): string | null {
  const { rule } = program
  const step = program.columns[rule.columns.findIndex((c) => c.target === column)]
  if (step.kind !== 'decided' || step.entity !== rule.entity || program.key.length !== 1 || step.from !== program.key[0]) return null
  if (deps.mapping.entities.get(rule.entity)!.strategy.kind === 'random') return null
  return unescapeField(Buffer.from(mintRaw(rule.entity, rawField(row, step.from), deps), 'latin1')).toString('utf8')
}

/** Natural keys of a merged table; for a moved one its destination key, which must not be taken. */
function questionsOf(program: Program): readonly (readonly MergeKeyPart[])[] {
  const { rule } = program
  if (rule.merge) return rule.merge.on
  if (!rule.keyed) return []
  if (rule.columns.some((c) => rule.targetKey.includes(c.target) && c.map.kind === 'ref' && c.map.entity === rule.entity) && program.targetKey.every((s) => s.kind === 'decided')) return []
  return [rule.targetKey.map((column) => ({ column, normalise: 'exact' as const }))]
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
      const found = answers[at].length === 0 ? answers[at] : answers[at].filter((id) => id !== ownId(program, one.key, deps) && !leaves(program, one.key, id, deps))
      const verdict = judge(program, found, ours)
      const natural = `${i}\0${one.naturals.get(i)!.join('\0')}`
      const twin = taken.get(natural)
      if (verdict === 'none' && twin === undefined) return void taken.set(natural, one.key)
      settled.add(one.key)
      if (verdict === 'none') conflicts.push({ program, key: one.key, reason: 'two source rows have one natural key', behind: false, passing: true })
      else if (verdict.conflict) conflicts.push({ program, key: one.key, reason: verdict.conflict, behind: false, passing: verdict.passing ?? false })
      else if (isElse(deps.decisions.get(entity, one.key), verdict.id!)) conflicts.push({ program, key: one.key, reason: 'it was known under an id of its own before it came', behind: false })
      else deps.decisions.decide({ entity, key: one.key, id: verdict.id!, kind: 'merged', rule: on.map((p) => p.column).join(' + '), evidence: '' })
    })
    open = open.filter(({ key }) => !settled.has(key))
  }
  for (const { key, row } of open) decideInserted(program, key, row, deps)
  return conflicts
}

/** An id that may stand in other rows already does not change any more. */
function isElse(known: Decision | undefined, id: string): boolean {
  return known !== undefined && known.id !== id
}

/** A row under this very id is this row: an earlier transaction wrote it and its decision was lost with another one. */
function ownId(program: Program, key: string, deps: ResolveDeps): string | null {
  const { entity } = program.rule
  return entity !== null && deps.mapping.entities.get(entity)!.strategy.kind === 'prefixed' ? mintRaw(entity, key, deps) : null
}

/** Its row of before goes with a plan that is not committed yet, so it is still to be seen. */
function leaves(program: Program, key: string, id: string, { decisions }: ResolveDeps): boolean {
  const entity = ledgerName(program)
  return decisions.isLeaving(entity, key) && decisions.get(entity, key)!.id === id
}

function judge(program: Program, ids: readonly string[], ours: ReadonlySet<string>): 'none' | { id?: string; conflict?: string; passing?: boolean } {
  if (ids.length === 0) return 'none'
  if (ids.length > 1) return { conflict: 'several rows of the destination match' }
  if (ours.has(ids[0])) return { conflict: 'the matching row is another source row', passing: true }
  if (program.rule.verdict !== 'merge') return { conflict: 'the key is taken at the destination' }
  return { id: ids[0] }
}

/** A row whose key changes stays what it is: its new key is decided by its old one, not by a look-up that would find the row itself. */
export function followKey(program: Program, { from, to, row }: { from: string; to: string; row: Row }, deps: ResolveDeps): void {
  const entity = ledgerName(program)
  const known = deps.decisions.get(entity, to)
  if (!isUnsettled(known)) return
  const before = deps.decisions.get(entity, from)!
  if (before.kind === 'merged' || before.kind === 'pinned') deps.decisions.decide({ ...before, key: to })
  else decideInserted(program, to, row, deps)
}

/** Ours, under its computed id, or under its key columns where those are kept or composed of other ids. */
function decideInserted(program: Program, key: string, row: Row, deps: ResolveDeps): void {
  // Rows without a key are a multiset: nobody asks later whose one was, and as a key a whole row may be too large for an index.
  if (program.rule.entity === null && isCounted(program.rule)) return
  decideOurs(program, { key, row, kind: 'inserted' }, deps)
}

function decideOurs(program: Program, { key, row, kind }: { key: string; row: Row; kind: 'inserted' | 'adopted' }, deps: ResolveDeps): void {
  const { rule } = program
  const entity = ledgerName(program)
  const own = rule.entity !== null && deps.scope.isDecided(rule.entity)
  const base: Omit<Decision, 'id'> = { entity, key, kind, rule: '', evidence: '' }
  if (own) return deps.decisions.decide({ ...base, id: deps.decisions.get(entity, key)?.id ?? mintRaw(entity, key, deps) })
  const lines = new Lines(64)
  writeColumns(program, program.targetKey, row, lines, deps.scope)
  deps.decisions.decide({ ...base, id: lines.view().toString('latin1') })
}

/** The computed id of a raw key; a key that the entity cannot have stays as it is. */
export function mintRaw(entity: string, key: string, deps: ResolveDeps): string {
  const text = unescapeField(Buffer.from(key, 'latin1')).toString('utf8')
  const id = deps.minters.get(entity)!.mint(text)
  return id === null ? key : Buffer.from(id, 'utf8').toString('latin1')
}
