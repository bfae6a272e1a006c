import { forgetGone, partOf } from './build.ts'
import { FEW_ROWS, isFragment, isProvable, pointedAtOtherwise, prefersSet } from './choose-checks.ts'
import type { Catalog, CatalogTable } from '../core/catalog.ts'
import { tableOf } from '../core/catalog.ts'
import type { Change, Transaction } from '../core/change.ts'
import { deleteOf, insertsOf, keyOf } from '../core/coalesce.ts'
import { RekeyError } from '../core/errors.ts'
import { gather, type Gathered, type Group, type Since } from '../core/gather.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Mapping } from '../core/mapping.ts'
import { orderTables } from '../core/order.ts'
import { loadChange, type ParkedRow } from '../core/parking.ts'
import type { Checkpoint, Part, Totals, WritePlan } from '../core/plan.ts'
import { changesAhead, hasMakers, tablesAhead, withoutFilled } from '../core/adopting.ts'
import { compileProgram, ledgerName, type Minters, type Program } from '../core/program.ts'
import type { NamedObject, RowObjects } from '../core/objects/named.ts'
import { heldRows, objectsIn } from './name-objects.ts'
import { nameOf, type Relation, type TableName } from '../core/relation.ts'
import type { Scope } from '../core/rekey.ts'
import { copyTotals, count, type Outcome } from '../core/totals.ts'
import type { ProofBook } from '../core/write.ts'
import { eachOutcome } from './outcomes.ts'
import { followKey, isUnsettled } from './decide.ts'
import { apartFromCopy, resolveMade } from './adopt-made.ts'
import { decisionCache, type Decisions } from './decisions.ts'
import type { Destination, IdMap, Source } from '../ports.ts'
import { lateRows, takenRows } from './late.ts'
import { refusedChanges, type Refusable, type Refused } from './refused.ts'
import { asOfNow } from './retyped.ts'
import { type Conflict, resolveKeys, resolveNets, type ResolveDeps } from './resolve.ts'

export interface PlannerOptions {
  readonly mapping: Mapping
  readonly minters: Minters
  /** The destination's catalog. */
  readonly catalog: Catalog
  readonly idMap: IdMap
  readonly destination: Pick<Destination, 'match'>
  readonly source: Pick<Source, 'read'>
  /** Reads the makers of adopted rows, where that is not as they are now. */
  readonly readMakers?: Source['read']
  /** Nothing is written, so no trigger runs. */
  readonly dry?: boolean
  /** What the source's tables look like, for rows that are read and not streamed. */
  readonly relations: ReadonlyMap<string, Relation>
  /** Where the source was when its catalog was read. */
  readonly catalogLsn?: Lsn
  readonly checks: 'engine' | 'set'
  readonly since?: Since
  /** Decisions kept in memory. */
  readonly cachedDecisions?: number
  /** For each of these objects, whether it is verified at the destination as the row knows it. Without it no row waits for its objects. */
  readonly verified?: (objects: readonly NamedObject[]) => Promise<readonly boolean[]>
  /** So many keys were asked for, and so many of them were in memory. */
  readonly looked?: (asked: number, known: number) => void
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
  readonly objects: readonly RowObjects[]
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
  /** True when destination triggers may make rows for these transactions that have to be found before the rest is planned: see ahead(). */
  adopts(transactions: readonly Transaction[], converging: boolean): boolean
  /**
   * The rows that make those triggers run, with what they point at: to be written in the open transaction, with triggers on, before plan()
   * is asked, which then must take new rows as rows that may be there.
   */
  ahead(transactions: readonly Transaction[], converging: boolean): Promise<Planned>
  /**
   * Decides the rows that triggers made for rows that were just written, before anything of them is read: they may be gone at the source
   * when a copy that was interrupted comes to them. What cannot be decided is left for later.
   */
  adoptMade(written: Transaction): Promise<void>
  /** Rows, by table and key, that must wait until their objects are verified, with what they name. Rows that go in the end need not. */
  held(transactions: readonly Transaction[]): Promise<ReadonlyMap<string, RowObjects>>
  /** Updates with which rows pass their filter for the first time, and that do not bring all of them. */
  late(changes: readonly Change[]): Promise<ReadonlySet<Change>>
  /** New rows, and rows that go, whose computed id another row has. */
  taken(changes: readonly Change[]): Promise<ReadonlySet<Change>>
  /** Changes that take one of these rows away from its key. */
  refused(items: readonly Refusable[], rows: Refused): Promise<ReadonlySet<Change>>
  programOf(relation: Relation): Program
  /** A parked change as of today's tables: see loadChange(). Throws SCHEMA_CHANGED when its table is not carried any more. */
  load(parked: Pick<ParkedRow, 'table' | 'change'>): Change
  /** True when rows of this table can be written, in one transaction with a book, before the rows that they point at: see plan(). */
  provesLater(relation: Relation): boolean
  /** Parents that a row refers to, as (table, raw key): what it waits behind. */
  scope: Scope
}

export function createPlanner(options: PlannerOptions, shared?: Decisions): Planner {
  const { mapping, minters, catalog, since = new Map() } = options
  const programs = new WeakMap<Relation, Program>()
  const decisions = shared ?? decisionCache(options.idMap, options.cachedDecisions, options.looked)
  const { rank } = orderTables(catalog.tables)
  const scope: Scope = {
    minters,
    isDecided: (entity) => mapping.entities.get(entity)?.decided ?? false,
    decided: (entity, key) => decisions.get(entity, key)?.id,
    renamed: (entity, key, value) => decisions.get(entity, `${key}\t${value}`)?.id,
    stores: mapping.stores,
  }
  const programOf = (relation: Relation): Program => {
    let program = programs.get(relation)
    if (!program) programs.set(relation, (program = asOfNow(compileProgram(mapping, minters, relation), options)))
    return program
  }
  const tableNamed = (name: TableName): CatalogTable => {
    const target = tableOf(catalog, name)
    if (!target) throw new RekeyError('SCHEMA_CHANGED', `the destination has no table ${nameOf(name)}`)
    return target
  }
  const targetOf = (program: Program): CatalogTable => tableNamed(program.rule.target)
  const readWith = (read: Source['read']): ResolveDeps['readSource'] => async (table, column, keys) => {
    const relation = options.relations.get(table)
    if (!relation) throw new RekeyError('MAPPING', `references point at ${table}, which is not captured`)
    return { relation, rows: await read(relation, relation.columns.map((c) => c.name), [column], keys.map((key) => [key])) }
  }
  const waits = [...mapping.tables.values()].some((rule) => rule.objects.some((one) => one.when === 'before'))
  const firstMapping = shared ? null : withoutFilled(mapping)
  const first = firstMapping && createPlanner({ ...options, mapping: firstMapping }, decisions)
  const goesAhead = first ? tablesAhead(mapping, catalog) : new Set<string>()
  const deps: ResolveDeps = {
    mapping, minters, decisions, scope, targetOf, tableNamed, programOf,
    rankOf: (program) => rank.get(nameOf(program.rule.target)) ?? 0,
    match: (question) => options.destination.match(question),
    ours: async (entity, ids) => {
      if (ids.length === 0) return new Set()
      const found = await options.idMap.findIds(ids)
      const pending = decisions.pendingIds(entity)
      const strategy = mapping.entities.get(entity)?.strategy
      const proves = strategy?.kind === 'prefixed' && strategy.form === 'ordered'
      return new Set([...found.filter((d) => d.entity === entity && (d.kind === 'inserted' || d.kind === 'adopted')).map((d) => d.id), ...ids.filter((id) => pending.has(id) || (proves && minters.get(entity)!.unmint(id) !== null))])
    },
    readSource: readWith(options.source.read),
  }
  const withBatch = ({ groups }: Gathered): ResolveDeps => {
    const all: ResolveDeps = {
      ...deps,
      adoption: {
        batch: groups.flatMap((group) => [...group.nets.values()]), programOf: first?.programOf ?? programOf,
        read: readWith(options.readMakers ?? options.source.read), dry: options.dry ?? false,
        ahead: async (relation, rows, above) => void (await resolveNets([insertsOf(relation, rows)], { ...all, above })),
      },
    }
    return all
  }
  const pointedAt = pointedAtOtherwise(mapping, catalog)
  const silent = [...mapping.tables.values()].some((rule) => rule.triggers === 'off')
  const fragmentChecks = pointedAt.size === 0 || silent ? options.checks : 'engine'
  const relationNamed = (name: string): Relation => options.relations.get(name)!
  return {
    decisions, programOf, scope, fragmentChecks,
    load({ table, change }) {
      const present = options.relations.get(table)
      const rule = mapping.tables.get(table)
      if (!present || !rule) throw new RekeyError('SCHEMA_CHANGED', `a parked row belongs to ${table}, which is no longer carried`)
      return loadChange(change, { present, rule, target: tableNamed(rule.target).columns.map(({ name }) => name) })
    },
    provesLater(relation) {
      const program = programOf(relation)
      const { ledger, makes, verdict } = program.rule
      return options.checks === 'set' && !program.asks && !ledger && !makes && verdict === 'move'
        && !pointedAt.has(nameOf(program.rule.target)) && isProvable(program, targetOf(program))
    },
    adopts: (transactions, converging) => first !== null && hasMakers(transactions, mapping, converging),
    ahead: async (transactions, converging) => ({ ...(await first!.plan(changesAhead(transactions, { tables: goesAhead, programOf, converging }), true)), checks: 'engine' }),
    async adoptMade(written) {
      const gathered = gather([written], programOf, since)
      const deps = withBatch(gathered)
      for (const { nets } of gathered.groups) for (const net of nets.values()) await resolveMade(net, relationNamed, deps)
    },
    held: async (transactions) => (waits ? heldRows(transactions, { ...deps, since, verified: options.verified }) : NOBODY),
    late: (changes) => lateRows(changes, deps),
    taken: (changes) => takenRows(changes, deps),
    refused: (items, rows) => refusedChanges(items, rows, deps),
    async plan(given, converging, book) {
      const transactions = await apartFromCopy(given, { since, programOf, decisions })
      const gathered = gather(transactions, programOf, since)
      const deps = withBatch(gathered)
      const choosing = { programOf, targetOf, few: book ? 0 : FEW_ROWS, converging, pointedAt }
      const checks = isFragment(transactions) ? fragmentChecks : options.checks === 'set' && prefersSet(gathered, choosing) ? 'set' : 'engine'
      const conflicts: Conflict[] = []
      const parts: Part[] = []
      const objects: RowObjects[] = []
      const left = new Set<string>()
      const build = { ...deps, since, left, converging, checks, book: book ?? null } as const
      // Group by group: what one deletes is no longer ours for the next.
      for (const group of gathered.groups) {
        const found = [...(await resolveNets([...group.nets.values()], deps)), ...(await resolveMoves(group, deps))]
        for (const { program, key } of found) left.add(`${nameOf(program.rule.source)}\n${key}`)
        conflicts.push(...found)
        const part = partOf(group, build)
        objects.push(...objectsIn(group, build))
        if (part.writes.length > 0 || part.truncate.length > 0) parts.push(part)
        forgetGone(group, build)
      }
      const visit = (each: (table: string, outcome: Outcome) => void): void => eachOutcome(transactions, build, each)
      return {
        parts, checks, conflicts, objects, rows: gathered.rows,
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

const NOBODY: ReadonlyMap<string, RowObjects> = new Map()

async function resolveMoves(group: Group, deps: ResolveDeps): Promise<Conflict[]> {
  const conflicts: Conflict[] = []
  for (const { program, old, row } of group.moves) {
    if (!program.asks && !program.rule.ledger) continue
    const { entity } = program.rule
    if (entity && deps.scope.isDecided(entity)) {
      const [from, to] = [keyOf(old, program.key), keyOf(row, program.key)]
      if ((await resolveKeys(entity, [from], deps)).length > 0) {
        conflicts.push({ program, key: to, reason: 'its row under the old key waits for a decision', behind: true })
        continue
      }
      await deps.decisions.load(entity, [to])
      followKey(program, { from, to, row }, deps)
    }
    // What the ledger says of the old key, and what that refers to: a row that is not ours is not moved.
    const from = keyOf(old, program.key)
    conflicts.push(...(await resolveNets([deleteOf(program.relation, from, old)], deps)))
    if (program.rule.ledger && isUnsettled(deps.decisions.get(ledgerName(program), from))) {
      conflicts.push({ program, key: keyOf(row, program.key), reason: 'there is no row of ours under the old key', behind: false, absent: true })
      continue
    }
    conflicts.push(...(await resolveNets([insertsOf(program.relation, [row])], deps)))
  }
  return conflicts
}

/** Totals after these outcomes. */
export function totalled(totals: Checkpoint['totals'], planned: Planned): Record<string, Totals> {
  const next = copyTotals(totals)
  planned.tally(next)
  return next
}
