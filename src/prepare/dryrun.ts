import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tableOf, type Catalog } from '../core/catalog.ts'
import { keyOf } from '../core/coalesce.ts'
import { conflictsCsv, type ConflictRow, DROPPED, textOf } from '../core/conflicts-csv.ts'
import { RekeyError, verdictOf } from '../core/errors.ts'
import type { Mapping, TableRule } from '../core/mapping.ts'
import { orderTables } from '../core/order.ts'
import { canonical, ONE_COPY_STREAM, type ObjectsPlan, type PlanFile, secondsFor, type TablePlan, totalsOf } from '../core/plan-file.ts'
import { ledgerName, type Minters, type Program } from '../core/program.ts'
import { nameOf, type Relation, type TableName } from '../core/relation.ts'
import type { Row } from '../core/row.ts'
import { findConflicts } from './dryrun-conflicts.ts'
import { type Overlay, overlayOf } from './dryrun-overlay.ts'
import { type ObjectTally, type SizeOf, tallyObjects } from './dryrun-objects.ts'
import { type Parents, parentsOf } from './dryrun-parents.ts'
import { createPlanner, type Planned, type Planner } from '../planning/planner.ts'
import type { Destination, IdMap, PlannedKeys, Source } from '../ports.ts'

export interface DryRunOptions {
  readonly mapping: Mapping
  readonly minters: Minters
  readonly catalogs: { readonly source: Catalog; readonly destination: Catalog }
  /** Source tables by name, as their rows come. */
  readonly relations: ReadonlyMap<string, Relation>
  readonly idMap: IdMap
  readonly match: Destination['match']
  readonly read: Source['read']
  /** The rows of a table in blocks, all tables under one snapshot. */
  readonly copy: (table: TableName, columns: readonly string[]) => AsyncIterable<readonly Row[]>
  readonly keys: PlannedKeys
  /** Sizes of objects that rows name; without it no store is asked. */
  readonly sizeOf?: SizeOf
  /** How many keys of each kind are told. Default 5. */
  readonly samples?: number
  readonly onBlock?: (table: string, rows: number) => void
}

interface Run extends DryRunOptions {
  readonly planner: Planner
  readonly overlay: Overlay
  readonly parents: Parents
  readonly conflicts: ConflictRow[]
  readonly objects: ObjectTally
  readonly most: number
}

/**
 * What a run would do with every row, table by table, parents first: decided by the planner that the run uses, over a destination that is
 * only read. Throws what the planner throws for a mapping that no longer fits; never writes.
 */
export async function dryRun(options: DryRunOptions): Promise<PlanFile> {
  const { mapping, catalogs } = options
  const overlay = overlayOf(mapping, options)
  const planner = createPlanner({
    ...options, catalog: catalogs.destination, checks: 'engine', idMap: overlay.idMap, destination: { match: overlay.match },
    source: { read: options.read }, dry: true,
  })
  const parents = parentsOf({ ...options, source: catalogs.source, destination: catalogs.destination })
  const most = options.samples ?? 5
  const run: Run = { ...options, planner, overlay, parents, conflicts: [], objects: tallyObjects(most, options.keys, options.sizeOf ?? null), most }
  const { rank } = orderTables(catalogs.destination.tables)
  const rules = [...mapping.tables.values()].sort((a, b) => (rank.get(nameOf(a.target)) ?? -1) - (rank.get(nameOf(b.target)) ?? -1))
  const tables: TablePlan[] = []
  for (const rule of rules) tables.push(await planTable(rule, run))
  return planFile(tables, run, mapping.stores.size > 0 ? await run.objects.finish() : null)
}

async function planTable(rule: TableRule, run: Run): Promise<TablePlan> {
  const plan = emptyPlan(rule, run)
  if (rule.verdict === 'skip' || rule.verdict === 'assert') {
    plan.rows = Math.round(tableOf(run.catalogs.source, rule.source)?.rowsEstimate ?? 0)
    if (plan.rows > 0) plan.skipped[rule.reason ?? 'assert-only'] = plan.rows
    return plan
  }
  const relation = run.relations.get(nameOf(rule.source))
  if (!relation) throw new RekeyError('SCHEMA_CHANGED', `the source has no table ${nameOf(rule.source)}`)
  const program = run.planner.programOf(relation)
  const chain = selfChain(program, run)
  for await (const rows of run.copy(rule.source, relation.columns.map((c) => c.name))) {
    await planBlock(rows, { program, plan, chain, run })
    run.onBlock?.(nameOf(rule.source), rows.length)
  }
  chain?.settle(plan)
  plan.seconds = secondsFor(plan.rows, plan.bytes)
  return plan
}

function emptyPlan(rule: TableRule, { catalogs }: Run): TablePlan {
  return {
    table: nameOf(rule.source), target: nameOf(rule.target), context: rule.context, verdict: rule.verdict,
    rows: 0, new: 0, adopted: 0, matched: 0, conflict: 0, orphan: 0, invalid: 0, skipped: {}, seconds: 0,
    samples: { new: [], adopted: [], matched: [], conflict: [], orphan: [], invalid: [] },
    bytes: tableOf(catalogs.source, rule.source)?.bytes ?? 0,
  }
}

interface Block {
  readonly program: Program
  readonly plan: TablePlan
  readonly chain: Chain | null
  readonly run: Run
}

async function planBlock(rows: readonly Row[], block: Block): Promise<void> {
  const { program, run } = block
  let planned: Planned
  try {
    planned = await run.planner.plan([transactionOf(program.relation, rows)], true)
  } catch (error) {
    if (!isRowsFault(error)) throw error
    if (rows.length > 1) for (const row of rows) await planBlock([row], block)
    else tell(rows[0], 'invalid', block)
    return
  }
  await run.objects.add(planned.objects)
  const decisions = run.planner.decisions.taken()
  run.overlay.remember(decisions)
  run.planner.decisions.committed(decisions)
  const outcomes = planned.outcomes.map((o) => o.outcome)
  const conflicts = await findConflicts(rows, { conflicts: planned.conflicts, outcomes }, { program, run })
  const orphans = await run.parents.orphans(program, rows, run.planner.scope)
  rows.forEach((row, i) => {
    const conflict = conflicts.get(i)
    const outcome = outcomes[i]
    if (conflict) {
      run.conflicts.push(conflict)
      tell(row, 'conflict', block)
    } else if (typeof outcome === 'object') {
      block.plan.rows++
      block.plan.skipped[outcome.skipped] = (block.plan.skipped[outcome.skipped] ?? 0) + 1
      if (outcome.skipped !== 'pinned' && isGone(row, block)) run.parents.absent(program, row)
    } else if (orphans.has(i) || outcome === 'parked') tell(row, 'orphan', block)
    else tell(row, outcome === 'merged' ? 'matched' : isAdopted(row, block) ? 'adopted' : 'new', block)
  })
}

function isAdopted(row: Row, { program, run }: Block): boolean {
  return program.rule.adopt !== null && run.planner.decisions.get(ledgerName(program), keyOf(row, program.key))?.kind === 'adopted'
}

/** A row that was not carried and stands for nothing at the destination: filtered, left out with its parent, dropped by a person. */
function isGone(row: Row, { program, run }: Block): boolean {
  const decision = run.planner.decisions.get(ledgerName(program), keyOf(row, program.key))
  return decision === undefined || decision.id === '' || decision.rule === DROPPED
}

/**
 * Counts a row as what it is, unless it hangs on a row of its own table that is gone. A row without a key is never a sample: its values
 * would be told.
 */
function tell(row: Row, kind: keyof TablePlan['samples'], { program, plan, chain, run }: Block): void {
  const key = keyOf(row, program.key)
  plan.rows++
  plan[kind]++
  if (program.rule.keyed && plan.samples[kind].length < run.most) plan.samples[kind].push(sampleOf(kind, key, { program, run }))
  const gone = !isCarried(kind)
  if (gone) run.parents.absent(program, row)
  chain?.add(row, kind)
}

type Carried = 'new' | 'adopted' | 'matched'

function isCarried(kind: keyof TablePlan['samples']): kind is Carried {
  return kind === 'new' || kind === 'adopted' || kind === 'matched'
}

function sampleOf(kind: string, key: string, { program, run }: { program: Program; run: Run }): string {
  const id = kind === 'matched' ? run.planner.decisions.get(ledgerName(program), key)?.id : undefined
  return id === undefined ? textOf(key) : `${textOf(key)} = ${textOf(id)}`
}

function isRowsFault(error: unknown): boolean {
  if (error instanceof RekeyError) return error.sqlstate !== undefined && verdictOf(error.sqlstate) === 'data'
  return error instanceof RangeError || (error as Error).name === 'Unmatched'
}

function transactionOf(relation: Relation, rows: readonly Row[]) {
  const changes = rows.map((row) => ({ op: 'insert' as const, relation, row, old: null, oldIsFull: false }))
  return { epoch: 0, xid: 0, commitLsn: 0n, endLsn: 0n, commitMicros: 0, changes, first: 0, last: true, bytes: 0, messages: [] }
}

/** Rows of a table that points at itself: a row whose parent is gone, or never comes, is an orphan, and so are all below it. */
interface Chain {
  add(row: Row, kind: keyof TablePlan['samples']): void
  settle(plan: TablePlan): void
}

function selfChain(program: Program, run: Run): Chain | null {
  const edge = run.parents.edgesOf(program).find((e) => e.self)
  if (!edge) return null
  const at = edge.parent!.columns.map((name) => program.position.get(name)!)
  const seen = new Set<string>()
  const children = new Map<string, { key: string; keys: readonly string[]; shown: string; kind: Carried }[]>()
  return {
    add(row, kind) {
      const key = keyOf(row, at)
      seen.add(key)
      if (!isCarried(kind)) return
      const parent = keyOf(row, edge.at)
      if (parent.split('\t').includes('\\N') || parent === key) return
      const shown = textOf(keyOf(row, program.key))
      const child = { key, keys: run.parents.keysOf(program, row), shown, kind }
      const siblings = children.get(parent)
      if (siblings) siblings.push(child)
      else children.set(parent, [child])
    },
    settle(plan) {
      const gone = [...children.keys()].filter((key) => !seen.has(key) || run.parents.isAbsent(edge, key))
      for (let key = gone.pop(); key !== undefined; key = gone.pop()) {
        for (const child of children.get(key) ?? []) {
          plan[child.kind]--
          plan.orphan++
          if (plan.samples.orphan.length < run.most) plan.samples.orphan.push(child.shown)
          run.parents.absentKeys(program, child.keys)
          gone.push(child.key)
        }
        children.delete(key)
      }
    },
  }
}

function planFile(tables: readonly TablePlan[], { mapping, catalogs, conflicts }: Run, objects: ObjectsPlan | null): PlanFile {
  const side = ({ systemId, database }: Catalog): PlanFile['source'] => ({ system: systemId, database })
  const copied = tables.filter((t) => t.verdict === 'move' || t.verdict === 'merge')
  const sum = (of: (t: TablePlan) => number): number => copied.reduce((all, t) => all + of(t), 0)
  const seconds = secondsFor(sum((t) => t.rows), sum((t) => t.bytes))
  const plan: Omit<PlanFile, 'digest'> = {
    format: 'rekey-plan/1', application: mapping.application, mapping: mapping.digest, source: side(catalogs.source),
    destination: side(catalogs.destination),
    tables, totals: totalsOf(tables), estimate: { assumption: ONE_COPY_STREAM, seconds }, ...(objects ? { objects } : {}), conflicts,
  }
  return { ...plan, digest: digestOf(plan) }
}

/** Of everything but the digest itself: what `--plan <digest>` names. */
export function digestOf(plan: Omit<PlanFile, 'digest'>): string {
  return createHash('sha256').update(canonical({ ...plan, digest: undefined })).digest('hex')
}

/** Writes plan.json and conflicts.csv into a folder. */
export async function writePlan(folder: string, plan: PlanFile): Promise<void> {
  await writeFile(join(folder, 'plan.json'), `${JSON.stringify(plan, null, 2)}\n`)
  await writeFile(join(folder, 'conflicts.csv'), conflictsCsv(plan.conflicts))
}

/** Reads plan.json back. Throws CONFIG when it is no plan, or was edited. */
export function parsePlan(text: string): PlanFile {
  let plan: PlanFile
  try {
    plan = JSON.parse(text) as PlanFile
  } catch (cause) {
    throw new RekeyError('CONFIG', 'plan.json is not JSON', { cause })
  }
  if (plan?.format !== 'rekey-plan/1') throw new RekeyError('CONFIG', 'plan.json is not a plan of this version')
  if (digestOf(plan) !== plan.digest) throw new RekeyError('CONFIG',
    'plan.json was changed after it was made; decisions belong into conflicts.csv')
  return plan
}
