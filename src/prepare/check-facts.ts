import type { Catalog } from '../core/catalog.ts'
import type { DestinationFacts, PublicationFact, RoleFact, SideFacts, SourceFacts, TableFact } from '../core/check/facts.ts'
import type { Finding } from '../core/check/finding.ts'
import { quoteIdent, quoteName } from '../core/quote.ts'
import { nameOf, type TableName } from '../core/relation.ts'
import { readTypes, type TextQuery } from './ddl-facts.ts'

const SETTINGS = `select name, setting from pg_catalog.pg_settings where name in (
  'wal_level', 'max_replication_slots', 'max_wal_senders', 'wal_sender_timeout', 'max_slot_wal_keep_size', 'logical_decoding_work_mem',
  'idle_replication_slot_timeout', 'max_connections', 'superuser_reserved_connections', 'synchronous_standby_names',
  'synchronous_commit', 'fsync')`

const ROLE = `
  select r.rolname as name, r.rolsuper as superuser, d.datname as database, d.oid::text as "databaseOid",
    r.rolreplication or exists (select from pg_catalog.pg_roles g where g.rolname = 'rds_replication' and
      pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')) as replication,
    pg_catalog.pg_is_in_recovery() as "inRecovery", pg_catalog.has_database_privilege(d.oid, 'CREATE') as "create",
    pg_catalog.has_database_privilege(d.oid, 'TEMP') as temp
  from pg_catalog.pg_roles r, pg_catalog.pg_database d where r.rolname = current_user and d.datname = pg_catalog.current_database()`

const TABLES = `
  select n.nspname || '.' || c.relname as name, pg_catalog.has_schema_privilege(n.oid, 'USAGE') as usage,
    pg_catalog.pg_has_role(c.relowner, 'USAGE') as owner, pg_catalog.has_table_privilege(c.oid, 'SELECT') as "select",
    pg_catalog.has_table_privilege(c.oid, 'INSERT') as "insert", pg_catalog.has_table_privilege(c.oid, 'UPDATE') as "update",
    pg_catalog.has_table_privilege(c.oid, 'DELETE') as "delete", pg_catalog.row_security_active(c.oid) as hidden
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and n.nspname || '.' || c.relname = any ($1::pg_catalog.text[])`

const SLOTS = `
  select slot_name as name, plugin, database, temporary, active_pid as pid, wal_status as "walStatus",
    pg_catalog.to_jsonb(s) ->> 'invalidation_reason' as invalidation from pg_catalog.pg_replication_slots s`

const PUBLICATION = `
  select puballtables as "allTables", pubviaroot as "viaRoot", pubinsert and pubupdate and pubdelete and pubtruncate as "allChanges",
    coalesce((select pg_catalog.json_agg(pg_catalog.json_build_object('name', n.nspname || '.' || c.relname,
        'filtered', coalesce(pg_catalog.to_jsonb(r) ->> 'prqual',
          pg_catalog.to_jsonb(r) ->> 'prattrs') is not null) order by n.nspname, c.relname)
      from pg_catalog.pg_publication_rel r join pg_catalog.pg_class c on c.oid = r.prrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace where r.prpubid = p.oid), '[]') as tables
  from pg_catalog.pg_publication p where pubname = $1::pg_catalog.text`

/** Only transactions with an id have written, and only those hold a new slot back. Another user's may be hidden from us. */
const TRANSACTIONS = `
  select pid, extract(epoch from pg_catalog.clock_timestamp() - xact_start)::int8 as seconds, coalesce(application_name, '') as application
  from pg_catalog.pg_stat_activity
  where backend_xid is not null and pid <> pg_catalog.pg_backend_pid() and backend_type = 'client backend'
    and pg_catalog.clock_timestamp() - xact_start >= $1::pg_catalog.text::pg_catalog.interval
  order by xact_start`

const PREPARED = `
  select gid, database, extract(epoch from pg_catalog.clock_timestamp() - prepared)::int8 as seconds
  from pg_catalog.pg_prepared_xacts order by prepared`

const INHERITED = `
  select n.nspname || '.' || c.relname as child, pn.nspname || '.' || p.relname as parent
  from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid and not c.relispartition and c.relkind = 'r'
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace join pg_catalog.pg_class p on p.oid = i.inhparent
  join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace order by 1, 2`

/** One answer after the other from one session; what cannot be read becomes a finding, and everything else is read all the same. */
export interface Asking {
  readonly side: 'source' | 'destination'
  readonly query: TextQuery
  readonly findings: Finding[]
}

async function ask<T>(asking: Asking, what: string, sql: string, params: readonly unknown[] = []): Promise<T[] | null> {
  return attempt(asking, what, async () => {
    const rows = await asking.query(`select pg_catalog.row_to_json(q)::text from (${sql}\n) q`, params)
    return rows.map(([json]) => JSON.parse(json!) as T)
  })
}

async function attempt<T>({ side, findings }: Asking, what: string, read: () => Promise<T>): Promise<T | null> {
  try {
    return await read()
  } catch (error) {
    findings.push(unreadable(side, what, error))
    return null
  }
}

/** Also for a side that could not be reached at all. The message of the server is not told: it may hold values. */
export function unreadable(side: Asking['side'], what: string, error: unknown): Finding {
  const state = (error as { sqlstate?: string }).sqlstate ?? (error as { code?: string }).code
  return {
    group: 'connectivity', code: 'UNREADABLE', severity: 'error', subject: side,
    message: `${what} could not be read (${state ?? 'no answer'})`,
    fix: state === '42501' ? 'Grant pg_read_all_stats or pg_monitor to the role.' : 'See the server\'s log at this moment.',
  }
}

async function sideFacts(asking: Asking, tables: readonly TableName[]): Promise<SideFacts> {
  const settings = await ask<{ name: string; setting: string }>(asking, 'settings', SETTINGS)
  const role = await ask<RoleFact>(asking, 'the role', ROLE)
  return {
    settings: Object.fromEntries((settings ?? []).map((s) => [s.name, s.setting])),
    role: role?.[0] ?? null,
    tables: await ask<TableFact>(asking, 'privileges', TABLES, [tables.map(nameOf)]),
    types: await attempt(asking, 'types', () => readTypes(asking.query)),
    backends: await count(asking, 'sessions',
      "select count(*) as n from pg_catalog.pg_stat_activity where backend_type = 'client backend'"),
    senders: await count(asking, 'WAL senders', 'select count(*) as n from pg_catalog.pg_stat_replication'),
  }
}

async function count(asking: Asking, what: string, sql: string): Promise<number | null> {
  return (await ask<{ n: number }>(asking, what, sql))?.[0]?.n ?? null
}

export interface SourceQuestions {
  readonly captured: readonly TableName[]
  readonly catalog: Catalog
  readonly publication: string
  /** From which age on a writing transaction is told, in seconds. */
  readonly longSeconds: number
  /** From which size on a table's wide columns are measured, in bytes. */
  readonly largeTable: number
}

export async function readSourceFacts(asking: Asking, questions: SourceQuestions): Promise<SourceFacts> {
  const { captured, publication, longSeconds } = questions
  const publications = await ask<PublicationFact>(asking, 'publications', PUBLICATION, [publication])
  return {
    ...(await sideFacts(asking, captured)),
    slots: await ask(asking, 'replication slots', SLOTS),
    publication: publications === null ? null : publications[0] ?? 'none',
    transactions: await ask(asking, 'open transactions', TRANSACTIONS, [`${longSeconds} s`]),
    prepared: await ask(asking, 'prepared transactions', PREPARED),
    largeObjects: await count(asking, 'large objects', 'select count(*) as n from pg_catalog.pg_largeobject_metadata'),
    inherited: await ask(asking, 'inheritance', INHERITED),
    largest: await readLargest(asking, questions),
  }
}

const WIDE = /^(bytea|text|character varying|json|jsonb|xml)$|\[\]$/

/** The length of a value that is stored apart is read without reading the value. Only large tables can have a value that is too large. */
async function readLargest(asking: Asking, { captured, catalog, largeTable }: SourceQuestions): Promise<SourceFacts['largest']> {
  const found: { table: string; column: string; type: string; bytes: number }[] = []
  for (const name of captured) {
    const table = catalog.tables.find((t) => nameOf(t) === nameOf(name))
    const wide = (table?.columns ?? []).filter((c) => WIDE.test(c.type))
    if (!table || table.bytes < largeTable || wide.length === 0) continue
    const parts = wide.map((c, i) => {
      const length = c.type === 'bytea' || c.type === 'text' || c.type === 'character varying' ? 'octet_length' : 'pg_column_size'
      return `max(pg_catalog.${length}(${quoteIdent(c.name)})) as c${i}`
    })
    const [row] = await ask<Record<string, number | null>>(asking, `sizes of values of ${nameOf(name)}`,
      `select ${parts.join(', ')} from ${quoteName(name)}`) ?? []
    wide.forEach((c, i) => found.push({ table: nameOf(name), column: c.name, type: c.type, bytes: row?.[`c${i}`] ?? 0 }))
  }
  return found
}

export async function readDestinationFacts(asking: Asking, written: readonly TableName[], major: number): Promise<DestinationFacts> {
  const may = major >= 15 ? "pg_catalog.has_parameter_privilege('session_replication_role', 'SET')"
    : '(select rolsuper from pg_catalog.pg_roles where rolname = current_user)'
  const replica = await ask<{ may: boolean }>(asking, 'the right to set session_replication_role', `select ${may} as may`)
  const schema = await ask<{ may: boolean }>(asking, 'schema rekey',
    `select pg_catalog.has_schema_privilege(oid, 'CREATE') and pg_catalog.has_schema_privilege(oid, 'USAGE') as may
    from pg_catalog.pg_namespace where nspname = 'rekey'`)
  return { ...(await sideFacts(asking, written)), replicaRole: replica?.[0]?.may ?? null, rekeySchema: schema?.[0]?.may ?? null }
}
