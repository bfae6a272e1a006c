import type { Adoption } from './adopt.ts'
import { insertsOf, keyOf, type RelationNet } from '../core/coalesce.ts'
import type { CatalogTable } from '../core/catalog.ts'
import type { Mapping } from '../core/mapping.ts'
import type { MatchQuestion } from '../core/plan.ts'
import { ledgerName, type Minters, type Program } from '../core/program.ts'
import type { Relation, TableName } from '../core/relation.ts'
import type { Scope } from '../core/rekey.ts'
import { rawField, unescapeField, type Row } from '../core/row.ts'
import { decideRows, mintRaw } from './decide.ts'
import type { Decisions } from './decisions.ts'
import { renameRows } from './rename.ts'
import { dropStuck, type Rows, type Stuck, undecidedIn } from './stuck.ts'

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
  readonly tableNamed: (name: TableName) => CatalogTable
  readonly adoption?: Adoption
  /** Rows (ledger name, key) whose references are being resolved: what refers back to them does not wait for them. */
  readonly above?: ReadonlySet<string>
}

/** A row that a person must decide about; it is parked. */
export interface Conflict {
  readonly program: Program
  readonly key: string
  readonly reason: string
  /** It only refers to a row that must be decided about, and waits behind that one. */
  readonly behind: boolean
  /** The row that the change is about is not at the destination. */
  readonly absent?: boolean
  /** It stands against another row of ours, which may have moved on by the time this one comes. */
  readonly passing?: boolean
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
    const stuck: Stuck = { keys: await resolveReferences(program, rows, deps), conflicts: [] }
    dropStuck(program, rows, stuck, deps)
    if (rule.ledger) await decideRows(program, rows, stuck, deps)
    dropStuck(program, rows, stuck, deps)
    if (rule.rename.length > 0) await renameRows(program, [...rows.values()].filter(({ whole }) => whole).map(({ row }) => row), deps)
    conflicts.push(...stuck.conflicts)
  }
  return conflicts
}

function rowsOf(net: RelationNet, program: Program): Rows {
  const rows: Rows = new Map()
  for (const row of net.inserts) rows.set(keyOf(row, program.key), { row, whole: true })
  if (net.counted) for (const { row, count } of net.counted.values()) if (count !== 0) rows.set(keyOf(row, program.key), { row, whole: true })
  if (net.keyed) for (const [key, entry] of net.keyed) rows.set(key, { row: entry.row, whole: entry.kind !== 'delete' })
  return rows
}

/**
 * References to decided entities: from the ledger, else from the row that they name as it is at the source now. Resolves with the keys that
 * stay without a decision.
 */
async function resolveReferences(program: Program, rows: Rows, deps: ResolveDeps): Promise<Set<string>> {
  const wanted = new Map<string, Set<string>>()
  const own = program.rule.entity
  for (const one of rows.values()) {
    undecidedIn(program, one, deps, (entity, key) => {
      const here = one.whole && entity === own && rows.has(key)
      if (!here && !deps.above?.has(`${entity}\n${key}`)) want(wanted, entity, key)
    })
  }
  const stuck = new Set<string>()
  if (wanted.size === 0) return stuck
  const above = new Set([...(deps.above ?? []), ...[...rows.keys()].map((key) => `${ledgerName(program)}\n${key}`)])
  for (const [entity, keys] of wanted) {
    for (const key of await resolveKeys(entity, [...keys], { ...deps, above })) stuck.add(`${entity}\n${key}`)
  }
  return stuck
}

function want(wanted: Map<string, Set<string>>, entity: string, key: string): void {
  const keys = wanted.get(entity)
  if (keys) keys.add(key)
  else wanted.set(entity, new Set([key]))
}

/**
 * Decides these keys of an entity, whose rows were not seen by this process; a key without a row is dangling and gets its computed id.
 * Resolves with the keys whose row cannot be decided: what refers to them waits.
 */
export async function resolveKeys(entity: string, keys: readonly string[], deps: ResolveDeps): Promise<readonly string[]> {
  await deps.decisions.load(entity, keys)
  const unknown = keys.filter((key) => deps.decisions.get(entity, key) === undefined)
  if (unknown.length === 0) return []
  const { table, column } = deps.mapping.entities.get(entity)!
  const texts = unknown.map((key) => unescapeField(Buffer.from(key, 'latin1')).toString('utf8'))
  const { relation, rows } = await deps.readSource(table, column, texts)
  const program = deps.programOf(relation)
  const conflicts = rows.length > 0 ? await resolveNets([insertsOf(relation, rows)], deps) : []
  const left = new Set(conflicts.filter((c) => c.program === program && !c.passing).map((c) => c.key))
  const at = program.position.get(column)!
  const waiting = new Set(rows.filter((row) => left.has(keyOf(row, program.key))).map((row) => rawField(row, at)))
  for (const key of unknown) {
    if (deps.decisions.get(entity, key) || waiting.has(key)) continue
    const pinned = program.rule.pinned.get(key)
    if (pinned !== undefined) deps.decisions.decide({ entity, key, id: pinned, kind: 'pinned', rule: 'pinned', evidence: '' })
    else deps.decisions.decide({ entity, key, id: mintRaw(entity, key, deps), kind: 'dangling', rule: 'no row of its own yet', evidence: '' })
  }
  return unknown.filter((key) => deps.decisions.get(entity, key) === undefined)
}
