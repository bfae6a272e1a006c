import { Client } from 'pg'
import { tableOf, type Catalog, type CatalogTable } from '../../src/core/catalog.ts'
import { RekeyError, verdictOf } from '../../src/core/errors.ts'
import { formatLsn } from '../../src/core/lsn.ts'
import type { Mapping } from '../../src/core/mapping.ts'
import { orderTables } from '../../src/core/order.ts'
import { nameOf } from '../../src/core/relation.ts'
import type { Part, TableWrite, WritePlan } from '../../src/core/plan.ts'
import { Taken } from '../../src/core/taken.ts'
import { quoteIdent, quoteLiteral } from '../../src/core/quote.ts'
import { connectionSettings, ENDLESS } from '../../src/core/session.ts'
import type { Destination, IdMap } from '../../src/ports.ts'
import { reliedSql } from './ledger.ts'
import { vacateMessage } from './exchange.ts'
import { findDecisions, findIds, inlined, matchRows, type Query } from './lookup.ts'
import { chunkList } from './chunks.ts'
import { endMessage, needsEnd } from './deletes.ts'
import { fitsSql } from './fits.ts'
import { type Holder, pipelineHolder, type PipelineOptions } from './holder.ts'
import { leftBehind } from './left.ts'
import { OBJECT_STAGES } from './object-names.ts'
import { forgetOurs, keepsOurs, noteOurs } from './ours.ts'
import { records } from './records.ts'
import { type Message, type StageFill, stageStatements } from './stage.ts'
import { partMessage, type Scope } from './statements.ts'
import { TAKEN } from './strangers.ts'
import { connectError, openWire, type Wire } from './wire.ts'

export interface DestinationOptions extends PipelineOptions {
  readonly url: string
  readonly mapping: Mapping
  readonly catalog: Catalog
  /** In whose name it writes. Default: the pipeline's. */
  readonly holder?: Holder
  /** Schemas in which trigger functions of the application find what they name without one; ours always name it. */
  readonly searchPath: readonly string[]
  readonly lockTimeoutMs: number
  /** Awaited at named places between two effects; for tests that stop the process there. */
  readonly point: (name: string) => Promise<void>
}

interface Session {
  readonly wire: Wire
  readonly lookups: Client
  readonly writer: string
  readonly fill: StageFill
}

export interface PostgresDestination {
  readonly destination: Destination
  readonly idMap: IdMap
  /** Reads through the second connection. */
  readonly query: Query
  /** The number under which this process holds the pipeline. */
  writer(): string
  /** To be called when the stream has passed the copy: from then on it is known which rows are ours. */
  passedCopy(): Promise<void>
  close(): Promise<void>
}

/** The destination database as a port. Reopening (open() again) takes new connections and reads the checkpoint anew. */
export function postgresDestination(options: DestinationOptions): PostgresDestination {
  const holder = options.holder ?? pipelineHolder(options)
  let session: Session | null = null
  /** The number under which this process held the pipeline before its connection was lost. */
  let former: string | null = null
  /** A transaction is open on the wire: a part without commit or an attempt came before. */
  let open = false
  let savepoints = 0
  /** Deletes so far of a source transaction that comes in fragments. */
  let gone: Map<string, TableWrite> | null = null
  /** The open transaction holds fragments of a source transaction. */
  let fragments = false
  /** Transactions note that they are ours: see ours.ts. `noted`: the open one has, outside its savepoints. */
  let noting = true
  let noted = false
  /** Tables to which the open transaction writes. */
  const touched = new Map<string, CatalogTable>()
  const touch = (parts: readonly Part[]): void => {
    const tables = parts.flatMap(({ writes, truncate }) => [...writes.map(({ target }) => target), ...truncate.flatMap((rule) => tableOf(options.catalog, rule.target) ?? [])])
    for (const table of tables) touched.set(nameOf(table), table)
  }

  const live = (): Session => {
    if (!session) throw new RekeyError('REMOTE', 'the destination is not open')
    return session
  }
  const query: Query = async (sql, params) => {
    const { lookups } = live()
    const { rows } = await lookups.query({ text: sql, values: [...params], rowMode: 'array' }).catch(lookupFailed)
    return rows as (string | null)[][]
  }
  /** Sees what the next plan will find: while a transaction is open, its own writes too. */
  const within: Query = async (sql, params) => (open ? (await live().wire.send(inlined(sql, params))).rows as (string | null)[][] : query(sql, params))
  const deferrable = options.catalog.tables.some((t) => t.foreignKeys.some((fk) => fk.deferrable) || t.uniques.some((u) => u.deferrable))
  const beginning = (): string[] => {
    noted = false
    return ['begin', ...holder.enter(live().writer), ...(deferrable ? ['set constraints all deferred'] : [])]
  }
  const { rank } = orderTables(options.catalog.tables)
  const scope = (): Scope => ({
    pipeline: options.pipeline, tables: options.catalog.tables, fill: live().fill, gone, rank: (table) => rank.get(nameOf(table)) ?? 0,
  })

  const close = async (): Promise<void> => {
    const { wire, lookups } = session ?? {}
    session = null
    open = false
    gone = null
    await Promise.all([wire?.close(), lookups?.end().catch(() => {})])
  }

  const attempt = async (parts: readonly Part[], { checks, fragment, vacated }: { checks: WritePlan['checks']; fragment: boolean; vacated: string[] | null }): Promise<void> => {
    const { wire } = live()
    if (!open) await wire.send(beginning().join('; '))
    open = true
    const ends = gone === null && !fragment && needsEnd(parts, checks)
    if (fragment || ends) gone ??= new Map()
    const before = ends ? null : gone && new Map(gone)
    const name = `rekey_${++savepoints}`
    const message: Message = { sql: [`savepoint ${name}`, ...(noting ? [noteOurs(options.pipeline)] : []), ...mode(checks, options)], copies: [] }
    touch(parts)
    for (const part of parts) {
      if (vacated) vacated.push(...vacateMessage(part, scope(), message))
      partMessage(part, checks, scope(), message)
    }
    if (ends) {
      endMessage(gone!, checks, scope(), message)
      gone = null
    }
    message.sql.push('set constraints all immediate', 'set constraints all deferred', `release ${name}`)
    try {
      await wire.send(message.sql.join(';\n'), message.copies)
    } catch (error) {
      await wire.send(`rollback to ${name}; release ${name}`)
      gone = before
      throw takenBy(error, parts, options.catalog) ?? error
    }
  }

  const destination: Destination = {
    async open() {
      await close()
      const wire = await openWire(options.url, {
        application_name: holder.application, search_path: ['pg_catalog', ...options.searchPath.map(quoteIdent)].join(', '),
      })
      const lookups = new Client(connectionSettings(options.url))
      lookups.on('error', () => {})
      try {
        await lookups.connect().catch((cause: unknown) => {
          throw connectError(cause)
        })
        // A commit that a crash of the destination may take back must not free WAL at the source; other levels are the operator's choice.
        await wire.send(`select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'; ${ENDLESS}; set lock_timeout = ${options.lockTimeoutMs}`)
        await makeStages(wire, options)
        const { writer, checkpoint } = await holder.take(wire, former)
        former = writer
        noting = checkpoint.phase !== 'stream' || (await wire.send(keepsOurs(options.pipeline))).rows[0][0] === 't'
        session = { wire, lookups, writer, fill: new Map() }
        return checkpoint
      } catch (error) {
        await Promise.all([wire.close(), lookups.end().catch(() => {})])
        throw error
      }
    },
    match: (question) => matchRows(within, question, tableOf(options.catalog, question.table)),
    chunks: (make) => chunkList(live().lookups, options.pipeline, make).catch(lookupFailed),
    attempt: (parts, checks, fragment) => attempt(parts, { checks, fragment, vacated: null }),
    async exchange(parts, checks, fragment) {
      const vacated: string[] = []
      await attempt(parts, { checks, fragment, vacated }).catch((error: unknown) => {
        if (!(error instanceof RekeyError) || error instanceof Taken || error.sqlstate !== '23505' || vacated.length === 0) throw error
        throw new RekeyError(error.code, `${error.message} (no column of ${vacated.join(', ')} takes a value for the time between)`, { cause: error, sqlstate: '23505' })
      })
    },
    async together(work) {
      const { wire } = live()
      if (!open) await wire.send(beginning().join('; '))
      open = true
      const before = gone && new Map(gone)
      const name = `rekey_${++savepoints}`
      await wire.send(`savepoint ${name}`)
      const kept = await work().catch(async (error: unknown) => {
        await wire.send(`rollback to ${name}; release ${name}`)
        gone = before
        throw error
      })
      await wire.send(kept ? `release ${name}` : `rollback to ${name}; release ${name}`)
      if (!kept) gone = before
    },
    async undo() {
      open = false
      gone = null
      await live().wire.send('rollback')
    },
    async apply(plan) {
      const { wire, writer } = live()
      if (plan.continues && !open) throw new RekeyError('REMOTE', 'the transaction was rolled back that a plan continues', { sqlstate: '25P02' })
      const message: Message = { sql: open ? [] : beginning(), copies: [] }
      if (noting && !noted && plan.parts.length > 0) message.sql.push(noteOurs(options.pipeline))
      noted ||= plan.parts.length > 0
      message.sql.push(...mode(plan.checks, options))
      if (plan.relied && plan.relied.length > 0) message.sql.push(reliedSql(plan.relied, options.pipeline))
      if (!plan.last || needsEnd(plan.parts, plan.checks)) gone ??= new Map()
      touch(plan.parts)
      for (const part of plan.parts) partMessage(part, plan.checks, scope(), message)
      const ending = plan.last && gone ? { gone, checks: plan.checks } : null
      if (ending) {
        message.sql.push('savepoint rekey_end')
        endMessage(ending.gone, ending.checks, scope(), message)
        // What is deferred shows here, where it can still be said which rows it is about.
        message.sql.push('set constraints all immediate')
        gone = null
      }
      records(plan, scope(), message)
      open = !plan.last
      fragments = open && plan.after.phase === 'stream'
      if (plan.last && touched.size > 0) message.sql.push(fitsSql(touched.values()))
      if (plan.last) touched.clear()
      if (plan.last) message.sql.push(plan.chunk ? finishChunk(plan, options.pipeline, writer) : holder.advance(plan, writer), 'commit')
      await options.point(plan.last ? 'apply.begin' : 'apply.mid')
      try {
        await wire.send(message.sql.join(';\n'), message.copies)
      } catch (error) {
        // Rolls back what this message began; another one in flight fails by itself (25P02, or the chain of checkpoints).
        open = false
        gone = null
        const left = ending ? await leftBehind(wire, error, { ...ending, tables: options.catalog.tables }) : null
        await wire.send('rollback').catch(() => {})
        throw left ?? error
      }
      if (plan.last) await options.point('apply.committed')
    },
  }
  const idMap: IdMap = {
    // Of a source transaction in fragments, what its earlier ones decided is in the open transaction only.
    find: (entity, keys) => findDecisions(fragments ? within : query, options.pipeline, entity, keys),
    findIds: (ids) => findIds(within, options.pipeline, ids),
  }
  const passedCopy = async (): Promise<void> => {
    if (noting) await query(forgetOurs(options.pipeline), [])
    noting = false
  }
  return { destination, idMap, query, passedCopy, writer: () => live().writer, close }
}

/** Rows that are new, or may be, met one that is not ours. */
function takenBy(error: unknown, parts: readonly Part[], catalog: Catalog): Taken | null {
  if (!(error instanceof RekeyError) || error.sqlstate !== '23505') return null
  const own = ({ target, rule, inserts }: TableWrite): boolean => inserts.rows > 0 && isKeyOf(target, rule.targetKey, error.constraint, catalog)
  return error.constraint === TAKEN || parts.some(({ writes }) => writes.some(own)) ? new Taken(error) : null
}

/** Of a partitioned table Postgres names the partition and its constraint, which may have a name of its own. */
function isKeyOf(target: CatalogTable, key: readonly string[], constraint: string | undefined, catalog: Catalog): boolean {
  return target.uniques.some(({ name, columns }) => `${nameOf(target)}.${name}` === constraint && columns.length === key.length && columns.every((column) => key.includes(column)))
    || catalog.tables.some((table) => table.parent !== null && nameOf(table.parent) === nameOf(target) && isKeyOf(table, key, constraint, catalog))
}

function lookupFailed(cause: { code?: string }): never {
  if (cause instanceof RekeyError) throw cause
  const code = cause.code && /^[0-9A-Z]{5}$/.test(cause.code) && verdictOf(cause.code) === 'stop' ? 'INTERNAL' : 'REMOTE'
  throw new RekeyError(code, `a look-up at the destination failed (${cause.code ?? 'no answer'})`, { cause, ...(cause.code ? { sqlstate: cause.code } : {}) })
}

/** Setting the role needs a privilege, even to what it is already: it is left alone where the configuration does not ask for it. */
function mode(checks: WritePlan['checks'], options: DestinationOptions): string[] {
  if (options.checks === 'engine') return []
  return [`set local session_replication_role = ${checks === 'set' ? 'replica' : 'origin'}`]
}

async function makeStages(wire: Wire, { mapping, catalog }: DestinationOptions): Promise<void> {
  const stages = [...mapping.tables.values()].flatMap((rule) => {
    const target = rule.verdict === 'move' || rule.verdict === 'merge' ? tableOf(catalog, rule.target) : undefined
    return target ? stageStatements(rule, target) : []
  })
  if ([...mapping.tables.values()].some((rule) => rule.objects.length > 0)) stages.push(...OBJECT_STAGES)
  if (stages.length > 0) await wire.send(stages.join(';\n'))
}

/** Chunks commit in any order, so they do not move the checkpoint; they only make sure that this writer still holds the pipeline. */
function finishChunk(plan: WritePlan, pipeline: string, writer: string): string {
  const { table, pass, index, rows, since } = plan.chunk!
  const where = `pipeline = ${quoteLiteral(pipeline)} and tbl = ${quoteLiteral(table)} and pass = ${pass} and index = ${index}`
  return `select rekey.guard(${quoteLiteral(pipeline)}, ${writer});
with w as (update rekey.chunk set rows = ${rows}, since = ${since === null ? 'null' : quoteLiteral(formatLsn(since))}, totals = ${quoteLiteral(JSON.stringify(plan.totals))} where ${where} and rows is null returning 1) select rekey.expect(1, count(*), 'rekey.chunk', 'RK001') from w`
}
