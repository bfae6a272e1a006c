import type { Catalog, CatalogTable } from './core/catalog.ts'
import { tableOf } from './core/catalog.ts'
import type { Change, Transaction } from './core/change.ts'
import { insertsOf, keyOf, type RelationNet } from './core/coalesce.ts'
import { RekeyError } from './core/errors.ts'
import { gather, type Gathered, type Group, isCopied, notCarried, type Since } from './core/gather.ts'
import type { Mapping } from './core/mapping.ts'
import { orderTables } from './core/order.ts'
import type { Checkpoint, Part, TableWrite, Totals, TruncatedTable, WritePlan } from './core/plan.ts'
import { compileProgram, ledgerName, type Minters, type Program } from './core/program.ts'
import { nameOf, type Relation } from './core/relation.ts'
import type { Scope } from './core/rekey.ts'
import type { Row } from './core/row.ts'
import { copyTotals, count, type Outcome } from './core/totals.ts'
import { emptyWrite, type ProofBook, type Standing, writeMove, writeNet } from './core/write.ts'
import { decisionCache, type Decisions } from './decisions.ts'
import type { Destination, IdMap, Source } from './ports.ts'
import { type Conflict, followKey, resolveKeys, resolveNets, type ResolveDeps } from './resolve.ts'

export interface PlannerOptions {
  readonly mapping: Mapping
  readonly minters: Minters
  /** The destination's catalog. */
  readonly catalog: Catalog
  readonly idMap: IdMap
  readonly destination: Pick<Destination, 'match'>
  readonly source: Pick<Source, 'read'>
  /** What the source's tables look like, for rows that are read and not streamed. */
  readonly relations: ReadonlyMap<string, Relation>
  readonly checks: 'engine' | 'set'
  readonly since?: Since
  /** Decisions kept in memory. */
  readonly cachedDecisions?: number
}

/** A plan's writes and what they count as; conflicts are rows that a person must decide about and that were left out. */
export interface Planned {
  readonly parts: readonly Part[]
  readonly checks: WritePlan['checks']
  readonly conflicts: readonly Conflict[]
  /** What each change counts as, in order; worked out when it is asked for. */
  readonly outcomes: readonly { readonly table: string; readonly outcome: Outcome }[]
  /** Adds what the changes count as. */
  tally(totals: Record<string, Totals>): void
  readonly rows: number
}

export interface Planner {
  readonly decisions: Decisions
  /** How the parts of a transaction in fragments are checked: all in one way. */
  readonly fragmentChecks: WritePlan['checks']
  /**
   * Turns whole transactions, or fragments of one, into writes. Reads the ledger, the destination and the source where it must. With a
   * book, parents are collected there and proven by its owner.
   */
  plan(transactions: readonly Transaction[], converging: boolean, book?: ProofBook): Promise<Planned>
  programOf(relation: Relation): Program
  /** Parents that a row refers to, as (table, raw key): what it waits behind. */
  scope: Scope
}

export function createPlanner(options: PlannerOptions): Planner {
  const { mapping, minters, catalog, since = new Map() } = options
  const programs = new WeakMap<Relation, Program>()
  const decisions = decisionCache(options.idMap, options.cachedDecisions)
  const { rank } = orderTables(catalog.tables)
  const scope: Scope = {
    minters,
    isDecided: (entity) => mapping.entities.get(entity)?.decided ?? false,
    decided: (entity, key) => decisions.get(entity, key)?.id,
    renamed: (entity, key, value) => decisions.get(entity, `${key}\t${value}`)?.id,
  }
  const programOf = (relation: Relation): Program => {
    let program = programs.get(relation)
    if (!program) programs.set(relation, (program = compileProgram(mapping, minters, relation)))
    return program
  }
  const targetOf = (program: Program): CatalogTable => {
    const target = tableOf(catalog, program.rule.target)
    if (!target) throw new RekeyError('SCHEMA_CHANGED', `the destination has no table ${nameOf(program.rule.target)}`)
    return target
  }
  const deps: ResolveDeps = {
    mapping, minters, decisions, scope, targetOf, programOf,
    rankOf: (program) => rank.get(nameOf(program.rule.target)) ?? 0,
    match: (question) => options.destination.match(question),
    ours: async (entity, ids) => {
      if (ids.length === 0) return new Set()
      const found = await options.idMap.findIds(ids)
      const pending = decisions.pendingIds(entity)
      const strategy = mapping.entities.get(entity)?.strategy
      const proves = strategy?.kind === 'prefixed' && strategy.form === 'ordered'
      return new Set([...found.filter((d) => d.entity === entity && d.kind === 'inserted').map((d) => d.id), ...ids.filter((id) => pending.has(id) || (proves && minters.get(entity)!.unmint(id) !== null))])
    },
    readSource: async (table, column, keys) => {
      const relation = options.relations.get(table)
      if (!relation) throw new RekeyError('MAPPING', `references point at ${table}, which is not captured`)
      return { relation, rows: await options.source.read(relation, relation.columns.map((c) => c.name), [column], keys.map((key) => [key])) }
    },
  }
  return {
    decisions, programOf, scope, fragmentChecks: options.checks,
    async plan(transactions, converging, book) {
      const gathered = gather(transactions, programOf, since)
      const conflicts: Conflict[] = []
      for (const group of gathered.groups) {
        conflicts.push(...(await resolveNets([...group.nets.values()], deps)))
        conflicts.push(...(await resolveMoves(group, deps)))
      }
      const checks = options.checks === 'set' && (isFragment(transactions) || prefersSet(gathered, { programOf, targetOf })) ? 'set' : 'engine'
      const left = new Set(conflicts.map(({ program, key }) => `${nameOf(program.rule.source)}\n${key}`))
      const build = { ...deps, since, left, converging, checks, book: book ?? null } as const
      const parts = gathered.groups.map((group) => partOf(group, build)).filter((part) => part.writes.length > 0 || part.truncate.length > 0)
      const visit = (each: (table: string, outcome: Outcome) => void): void => eachOutcome(transactions, build, each)
      return {
        parts, checks, conflicts, rows: gathered.rows,
        get outcomes() {
          const outcomes: { table: string; outcome: Outcome }[] = []
          visit((table, outcome) => outcomes.push({ table, outcome }))
          return outcomes
        },
        tally: (totals) => visit((table, outcome) => count(totals, table, outcome)),
      }
    },
  }
}

/** One source transaction in several parts: all of them are checked in one way. */
function isFragment(transactions: readonly Transaction[]): boolean {
  return transactions.some((t) => !t.last || t.first > 0)
}

/** Below this a proof costs more than the triggers that it saves. */
const FEW_ROWS = 200

/** Mostly new rows: the set-based proof is the cheaper promise. Tables whose triggers must not fire leave no choice. */
function prefersSet(gathered: Gathered, deps: Pick<ResolveDeps, 'programOf' | 'targetOf'>): boolean {
  const programs = gathered.groups.flatMap((group) => [...group.nets.keys()].map(deps.programOf))
  if (programs.some((program) => program.rule.triggers === 'off')) return true
  if (gathered.rows < FEW_ROWS || gathered.inserts * 2 < gathered.rows) return false
  return gathered.groups.every((group) => group.moves.length === 0) && programs.every((program) => isProvable(program, deps.targetOf(program)))
}

/** Proofs are of columns that come from the source; foreign keys that a constant or a merge policy fills are left to Postgres's triggers. */
function isProvable(program: Program, target: CatalogTable): boolean {
  const { columns } = program.rule
  return !keeps(program) && target.foreignKeys.every((fk) => fk.columns.every((name) => (columns.find((c) => c.target === name)?.source ?? null) !== null))
}

async function resolveMoves(group: Group, deps: ResolveDeps): Promise<Conflict[]> {
  const conflicts: Conflict[] = []
  for (const { program, old, row } of group.moves) {
    if (!program.asks && !program.rule.ledger) continue
    const { entity } = program.rule
    if (entity && deps.scope.isDecided(entity)) {
      const [from, to] = [keyOf(old, program.key), keyOf(row, program.key)]
      await resolveKeys(entity, [from], deps)
      await deps.decisions.load(entity, [to])
      followKey(program, { from, to, row }, deps)
    }
    conflicts.push(...(await resolveNets([insertsOf(program.relation, [row])], deps)))
  }
  return conflicts
}

interface Build extends ResolveDeps {
  readonly left: ReadonlySet<string>
  readonly converging: boolean
  readonly checks: 'engine' | 'set'
  readonly book: ProofBook | null
  readonly since: Since
}

/** What is done with a row: by the ledger, by what a person must decide first. */
function standingOf(program: Program, key: string, build: Build): Standing {
  if (build.left.size > 0 && build.left.has(`${nameOf(program.rule.source)}\n${key}`)) return 'skip'
  if (!program.rule.ledger) return 'owned'
  const decision = build.decisions.get(ledgerName(program), key)
  if (!decision || decision.kind === 'inserted' || decision.kind === 'adopted') return 'owned'
  return decision.kind === 'merged' && keeps(program) ? 'merged' : 'skip'
}

/**
 * A row that goes and that no decision knows was never written by us: it came and went between two commits here. Its key, where that is
 * composed of other ids, may well be a row of the destination's own.
 */
function neverWritten(program: Program, net: RelationNet, key: string, build: Build): boolean {
  return program.rule.ledger && net.keyed?.get(key)?.kind === 'delete' && !build.decisions.get(ledgerName(program), key)
}

/** True when the policy may change anything in a row of the destination. */
function keeps(program: Program): boolean {
  return program.rule.merge !== null && [...program.rule.merge.keep.values()].some((keep) => keep !== 'destination')
}

function partOf(group: Group, build: Build): Part {
  const writes: { rank: number; write: TableWrite }[] = []
  for (const net of group.nets.values()) {
    const program = build.programOf(net.relation)
    const asked = program.rule.ledger || build.left.size > 0
    const write = writeNet(program, net, {
      scope: build.scope, target: build.targetOf(program), converging: build.converging, prove: build.checks === 'set', book: build.book,
      standing: asked ? (key: string, _row: Row) => (neverWritten(program, net, key, build) ? 'skip' : standingOf(program, key, build)) : null,
    })
    writes.push({ rank: build.rankOf(program), write })
  }
  if (group.moves.length > 0) {
    const { program } = group.moves[0]
    const write = emptyWrite(program, build.targetOf(program), 1024)
    for (const { old, row } of group.moves) {
      if (standingOf(program, keyOf(old, program.key), build) === 'owned') writeMove(program, old, row, write, build.scope)
    }
    writes.push({ rank: 0, write })
  }
  writes.sort((a, b) => a.rank - b.rank)
  return { writes: writes.map(({ write }) => write), truncate: group.truncated.map((program) => truncatedTable(program, build)) }
}

function truncatedTable(program: Program, build: Build): TruncatedTable {
  const { rule } = program
  const strategy = rule.entity === null ? undefined : build.mapping.entities.get(rule.entity)?.strategy
  return { target: rule.target, targetKey: rule.targetKey, prefix: !rule.ledger && strategy?.kind === 'prefixed' ? strategy.prefix : null, ledger: ledgerName(program) }
}

function eachOutcome(transactions: readonly Transaction[], build: Build, each: (table: string, outcome: Outcome) => void): void {
  for (const transaction of transactions) {
    for (const change of transaction.changes) {
      const program = build.programOf(change.relation)
      each(program.name, isCopied(transaction, program, build.since) ? IN_THE_COPY : outcomeOf(change, program, build))
    }
  }
}

const IN_THE_COPY = { skipped: 'in the copy' } as const
const OWN = { insert: 'inserted', update: 'updated', delete: 'deleted', truncate: 'deleted' } as const

function outcomeOf(change: Change, program: Program, build: Build): Outcome {
  const skipped = notCarried(change, program)
  if (skipped !== null) return { skipped }
  const own = OWN[change.op]
  if (change.op === 'truncate' || (!program.rule.ledger && build.left.size === 0)) return own
  const key = keyOf((change.row ?? change.old)!, program.key)
  if (build.left.has(`${program.name}\n${key}`)) return 'parked'
  const decision = program.rule.ledger ? build.decisions.get(ledgerName(program), key) : undefined
  if (!decision || decision.kind === 'inserted' || decision.kind === 'adopted') return own
  if (decision.kind === 'pinned') return { skipped: decision.rule }
  return change.op === 'delete' ? { skipped: 'merged rows are never deleted' } : 'merged'
}

/** Totals after these outcomes. */
export function totalled(totals: Checkpoint['totals'], planned: Planned): Record<string, Totals> {
  const next = copyTotals(totals)
  planned.tally(next)
  return next
}

