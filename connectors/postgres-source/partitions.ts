import type { Leaf } from '../../src/core/partitions.ts'
import { quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf, type TableName } from '../../src/core/relation.ts'
import { connect, remoteError } from './connect.ts'
import { READ_SETTINGS } from './snapshot.ts'

type Ask = (sql: string) => Promise<Record<string, string | null>[]>

export interface Leaves {
  readonly leaves: readonly Leaf[]
  /** Every transaction that has written to one of them before it was what is told here has a lower id (64 bits). */
  readonly next: string
}

/**
 * A partition that was made by CREATE TABLE … PARTITION OF has columns, system columns and its tie to the parent of one transaction, and
 * a column of the command that made the table: ATTACH PARTITION writes every column anew.
 */
const BORN = `exists (select from pg_attribute s join pg_attribute a on a.attrelid = s.attrelid and a.attnum > 0
    where s.attrelid = i.inhrelid and s.attnum = -1 and s.xmin = i.xmin and a.xmin = s.xmin and a.cmin = s.cmin)`

function identitySql(table: string): string {
  return `case ${table}.relreplident when 'f' then 'full' when 'n' then 'nothing' when 'i' then
    (select format('using index %I', x.relname) from pg_index d join pg_class x on x.oid = d.indexrelid
     where d.indrelid = ${table}.oid and d.indisreplident) else 'default' end`
}

/** One that is being detached has no root for the publication any more. PostgreSQL 14 and later. */
function leavesSql(roots: readonly TableName[]): string {
  const names = roots.map((t) => `(${quoteLiteral(t.schema)}, ${quoteLiteral(t.table)})`).join(', ')
  return `
  with recursive tree as (
    select c.oid as root, c.oid as rel, '' as link, true as born from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'p' and (n.nspname, c.relname) in (${names})
    union all
    select t.root, i.inhrelid, t.link || '/' || i.xmin::text || '.' || i.cmin::text, t.born and ${BORN}
    from tree t join pg_inherits i on i.inhparent = t.rel and not i.inhdetachpending)
  select rn.nspname::text as root_schema, r.relname::text as root_table, l.oid::text as oid,
    n.nspname::text as schema, l.relname::text as "table", t.link, coalesce(pg_relation_filenode(l.oid), 0)::text as file, (t.born and pg_relation_filenode(l.oid) = l.oid)::text as born,
    (l.relkind = 'f' or l.relpersistence = 'u')::text as silent, pg_snapshot_xmax(pg_current_snapshot())::text as next,
    (select a.attname::text from pg_attribute a where a.attrelid = l.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
       and a.attidentity <> 'a' order by a.attnum limit 1) as "column",
    (l.reltoastrelid <> 0)::text as large, ${identitySql('l')} as "identity", ${identitySql('r')} as root_identity
  from tree t join pg_class l on l.oid = t.rel and l.relkind <> 'p' join pg_namespace n on n.oid = l.relnamespace
  join pg_class r on r.oid = t.root join pg_namespace rn on rn.oid = r.relnamespace order by 4, 5`
}

/** The leaves of those of the tables that are partitioned. */
export async function readLeaves(ask: Ask, tables: readonly TableName[]): Promise<Leaves> {
  if (tables.length === 0) return { leaves: [], next: '0' }
  const rows = await ask(leavesSql(tables))
  return {
    next: String(rows.at(0)?.next ?? '0'),
    leaves: rows.map((row) => ({
      ...rootOf({ schema: String(row.root_schema), table: String(row.root_table) }), oid: String(row.oid), schema: String(row.schema),
      table: String(row.table), link: String(row.link), file: String(row.file), born: row.born === 'true', silent: row.silent === 'true',
      column: row.column, large: row.large === 'true', identity: String(row.identity),
      rootIdentity: String(row.root_identity),
    })),
  }
}

function rootOf(rootName: TableName): Pick<Leaf, 'root' | 'rootName'> {
  return { root: nameOf(rootName), rootName }
}

/** Tables of users that could be carried: not partitions, temporary or unlogged ones. */
export async function readTables(ask: Ask): Promise<TableName[]> {
  const rows = await ask(`select n.nspname::text as schema, c.relname::text as "table"
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p') and c.relpersistence = 'p' and not c.relispartition and n.nspname !~ '^pg_'
      and n.nspname not in ('information_schema', 'rekey') order by 1, 2`)
  return rows.map((row) => ({ schema: String(row.schema), table: String(row.table) }))
}

/** Whoever alters the partition makes this wait; it is asked again later. */
const SETTINGS = { ...READ_SETTINGS, lock_timeout: '5s' }

/**
 * Has the partition a row whose last writer has a lower id than `from`? A row keeps its writer's id in 32 bits, also when it is frozen (1
 * and 2 are of servers before 9.4), so the distance wraps around.
 */
export async function hasRowsBefore(url: string, leaf: TableName, from: string): Promise<boolean> {
  const client = await connect(url, { settings: SETTINGS })
  try {
    const before = `((t.xmin::text::bigint - ${BigInt(from)}) & 4294967295) >= 2147483648 or t.xmin::text in ('1', '2')`
    const { rows } = await client.query<{ there: boolean }>(`select exists (select from only ${quoteName(leaf)} t where ${before}) as there`)
    return rows[0].there
  } catch (error) {
    throw remoteError(error, `read the partition ${nameOf(leaf)}`)
  } finally {
    client.end().catch(() => {})
  }
}
