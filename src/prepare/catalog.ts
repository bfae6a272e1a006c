import type { ReplicaIdentity, TableName } from '../core/relation.ts'
import { SHAPE } from '../core/shape.ts'
import type { Catalog, CatalogColumn, CatalogTable, CatalogTrigger, ForeignKey, UniqueKey } from '../core/catalog.ts'

export type Query = (sql: string, params: unknown[]) => Promise<Record<string, any>[]>

/** Our own schema is not part of anyone's data. */
const USER_SCHEMA = String.raw`n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'rekey')
  and ($1::pg_catalog.text[] is null or n.nspname = any ($1::pg_catalog.text[]))`

const SERVER = `
  select pg_catalog.set_config('search_path', 'pg_catalog', false) as path,
    pg_catalog.current_setting('server_version_num') as "versionNum", d.datname as database, s.system_identifier::text as "systemId",
    c.timeline_id as timeline, pg_catalog.pg_encoding_to_char(d.encoding) as encoding, d.datcollate as collation
  from pg_catalog.pg_database d, pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c
  where d.datname = pg_catalog.current_database()`

/** A partitioned table has no storage of its own: its rows and bytes are those of its partitions. */
const TABLES = `
  select c.oid::int8 as oid, n.nspname as schema, c.relname as table, c.relkind as kind, c.relpersistence as persistence,
    c.relreplident as identity, c.relrowsecurity as "rowSecurity", ${SHAPE} as shape, pn.nspname as "parentSchema", p.relname as "parentTable",
    coalesce(t.rows, 0) as "rowsEstimate", coalesce(t.bytes, 0) as bytes
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_inherits i on i.inhrelid = c.oid and c.relispartition
  left join pg_catalog.pg_class p on p.oid = i.inhparent
  left join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
  left join lateral (
    select sum(greatest(l.reltuples, 0))::float8 as rows, sum(pg_catalog.pg_total_relation_size(l.oid))::float8 as bytes
    from pg_catalog.pg_class l
    where l.relkind in ('r', 'm')
      and (l.oid = c.oid or c.relkind = 'p' and l.oid in (select relid from pg_catalog.pg_partition_tree(c.oid)))
  ) t on true
  where c.relkind in ('r', 'p', 'v', 'm', 'f') and ${USER_SCHEMA}
  order by 2, 3`

const COLUMNS = `
  select a.attrelid::int8 as oid, a.attname as name, pg_catalog.format_type(a.atttypid, a.atttypmod) as type, a.atttypid::int8 as "typeOid", a.atttypmod::int8 as typmod,
    t.typcategory as "typeCategory", not a.attnotnull as nullable, a.attgenerated <> '' as generated, a.attidentity as identity,
    case when a.attgenerated = '' then pg_catalog.pg_get_expr(d.adbin, d.adrelid) end as default, co.collname as collation
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_type t on t.oid = a.atttypid
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  left join pg_catalog.pg_collation co on co.oid = a.attcollation
  where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f') and ${USER_SCHEMA}
  order by a.attrelid, a.attnum`

/**
 * Equality operators that are not built in (citext, hstore, …), by type: that of the default btree operator class, domains as their base.
 */
const EQUALS = `
  with recursive base as (
    select t.oid, t.oid as type from pg_catalog.pg_type t where t.typtype <> 'd'
    union all select d.oid, b.type from pg_catalog.pg_type d join base b on b.oid = d.typbasetype where d.typtype = 'd')
  select b.oid::int8 as oid, pg_catalog.format('operator(%I.%s)', n.nspname, o.oprname) as equals
  from base b
  join pg_catalog.pg_opclass c on c.opcintype = b.type and c.opcdefault
  join pg_catalog.pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
  join pg_catalog.pg_amop a on a.amopfamily = c.opcfamily and a.amoplefttype = c.opcintype and a.amoprighttype = c.opcintype and a.amopstrategy = 3
  join pg_catalog.pg_operator o on o.oid = a.amopopr
  join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
  where n.nspname <> 'pg_catalog'`

/** Key columns only (INCLUDE columns come after indnkeyatts); an expression is listed as Postgres prints it. */
const INDEXES = `
  select x.indrelid::int8 as oid, i.relname as name, x.indisprimary as "primary", x.indisreplident as replident,
    not x.indimmediate as deferrable, x.indisvalid and x.indisready and x.indpred is null and x.indexprs is null as usable,
    pg_catalog.pg_get_indexdef(x.indexrelid) as definition,
    (select pg_catalog.json_agg(coalesce(a.attname, pg_catalog.pg_get_indexdef(x.indexrelid, k.at, false)) order by k.at)
      from (select s.at, x.indkey[s.at - 1] as attnum from pg_catalog.generate_series(1, x.indnkeyatts) s(at)) k
      left join pg_catalog.pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum and k.attnum <> 0) as columns
  from pg_catalog.pg_index x
  join pg_catalog.pg_class i on i.oid = x.indexrelid
  join pg_catalog.pg_class c on c.oid = x.indrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where x.indisunique and c.relkind in ('r', 'p', 'm') and ${USER_SCHEMA}
  order by x.indrelid, x.indisprimary desc, i.relname`

const names = (relation: string, numbers: string): string => `(
    select pg_catalog.json_agg(a.attname order by u.at)
    from pg_catalog.unnest(${numbers}) with ordinality u(attnum, at)
    join pg_catalog.pg_attribute a on a.attrelid = ${relation} and a.attnum = u.attnum)`

/** Without the copies that Postgres keeps for partitions: the root's constraint says it all. */
const CONSTRAINTS = `
  select k.conrelid::int8 as oid, k.contype as kind, k.conname as name, pg_catalog.pg_get_constraintdef(k.oid) as definition,
    case when k.contype = 'f' then ${names('k.conrelid', 'k.conkey')} end as columns,
    case when k.contype = 'f' then ${names('k.confrelid', 'k.confkey')} end as "targetColumns",
    tn.nspname as "targetSchema", t.relname as "targetTable", k.confdeltype as "onDelete", k.confupdtype as "onUpdate",
    k.condeferrable as deferrable, k.convalidated as validated
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_class t on t.oid = k.confrelid
  left join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
  where k.contype in ('f', 'c') and k.conparentid = 0 and ${USER_SCHEMA}
  order by k.conrelid, k.conname`

/** tgtype bits: 1 row, 2 before, 4 insert, 8 delete, 16 update (pg_trigger.h). */
const TRIGGERS = `
  select g.tgrelid::int8 as oid, g.tgname as name, fn.nspname || '.' || f.proname as function, g.tgtype & 2 <> 0 as before,
    g.tgtype & 1 <> 0 as row, g.tgtype & 4 <> 0 as insert, g.tgtype & 16 <> 0 as update, g.tgtype & 8 <> 0 as delete,
    g.tgenabled as enabled, pg_catalog.pg_get_triggerdef(g.oid) as definition
  from pg_catalog.pg_trigger g
  join pg_catalog.pg_class c on c.oid = g.tgrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_proc f on f.oid = g.tgfoid
  join pg_catalog.pg_namespace fn on fn.oid = f.pronamespace
  where not g.tgisinternal and ${USER_SCHEMA}
  order by g.tgrelid, g.tgname`

const SEQUENCES = `
  select n.nspname as schema, c.relname as table, case when pg_catalog.has_sequence_privilege(c.oid, 'SELECT, USAGE')
    then pg_catalog.pg_sequence_last_value(c.oid)::text end as last, tn.nspname || '.' || t.relname || '.' || a.attname as "ownedBy"
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
    and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjsubid > 0 and d.deptype in ('a', 'i')
  left join pg_catalog.pg_class t on t.oid = d.refobjid
  left join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
  left join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  where c.relkind = 'S' and ${USER_SCHEMA}
  order by 1, 2`

const ENUMS = `
  select pg_catalog.format_type(e.enumtypid, null) as name, pg_catalog.json_agg(e.enumlabel order by e.enumsortorder) as labels
  from pg_catalog.pg_enum e group by e.enumtypid`

const EXTENSIONS = 'select e.extname as name, e.extversion as version from pg_catalog.pg_extension e'

/**
 * Reads what a database says of itself: all tables of user schemas (or of the schemas named), Postgres 14 to 18. `query` must speak to
 * ONE session: its search_path is set to pg_catalog and left so, which makes Postgres print every other name with its schema.
 * Values of the catalog alone are parsed here, sent as JSON text, so the driver's type parsers do not matter.
 */
export async function readCatalog(query: Query, options: { schemas?: string[] } = {}): Promise<Catalog> {
  const rows = async (sql: string, params: unknown[] = []): Promise<any[]> => {
    const answer = await query(`select pg_catalog.row_to_json(q)::text as json from (${sql}\n) q`, params)
    return answer.map((row) => JSON.parse(row['json']))
  }
  const [server] = await rows(SERVER)
  const schemas = [options.schemas ?? null]
  const tables = await rows(TABLES, schemas)
  const equals = new Map((await rows(EQUALS)).map((e) => [e.oid, e.equals]))
  const columns = (await rows(COLUMNS, schemas)).map((c) => (equals.has(c.typeOid) ? { ...c, equals: equals.get(c.typeOid) } : c))
  const parts = {
    columns: group<CatalogColumn>(columns),
    indexes: group<IndexRow>(await rows(INDEXES, schemas)),
    constraints: group<ConstraintRow>(await rows(CONSTRAINTS, schemas)),
    triggers: group<CatalogTrigger>(await rows(TRIGGERS, schemas)),
  }
  return {
    major: Math.floor(Number(server.versionNum) / 10000),
    versionNum: Number(server.versionNum),
    database: server.database,
    systemId: server.systemId,
    timeline: Number(server.timeline),
    encoding: server.encoding,
    collation: server.collation,
    tables: tables.map((table: TableRow) => tableFrom(table, parts)),
    sequences: await rows(SEQUENCES, schemas),
    enums: new Map((await rows(ENUMS)).map((e) => [e.name, e.labels])),
    extensions: new Map((await rows(EXTENSIONS)).map((e) => [e.name, e.version])),
  }
}

type TableRow = Pick<CatalogTable, 'oid' | 'schema' | 'table' | 'kind' | 'persistence' | 'rowSecurity' | 'shape' | 'rowsEstimate' | 'bytes'> & {
  readonly identity: ReplicaIdentity
  readonly parentSchema: string | null
  readonly parentTable: string | null
}
type IndexRow = UniqueKey & { readonly primary: boolean; readonly replident: boolean }
type ConstraintRow = Omit<ForeignKey, 'target'> & {
  readonly kind: 'f' | 'c'
  readonly definition: string
  readonly targetSchema: string
  readonly targetTable: string
}
interface Parts {
  readonly columns: Map<number, CatalogColumn[]>
  readonly indexes: Map<number, IndexRow[]>
  readonly constraints: Map<number, ConstraintRow[]>
  readonly triggers: Map<number, CatalogTrigger[]>
}

/** Rows of a part by the oid of their table, which is then taken off. */
function group<T>(rows: readonly any[]): Map<number, T[]> {
  const groups = new Map<number, T[]>()
  for (const { oid, ...rest } of rows) {
    const found = groups.get(oid)
    if (found) found.push(rest)
    else groups.set(oid, [rest])
  }
  return groups
}

function tableFrom(row: TableRow, parts: Parts): CatalogTable {
  const indexes = parts.indexes.get(row.oid) ?? []
  const constraints = parts.constraints.get(row.oid) ?? []
  const primary = indexes.find((i) => i.primary)
  const { parentSchema, parentTable, ...own } = row
  const parent: TableName | null = parentSchema !== null && parentTable !== null ? { schema: parentSchema, table: parentTable } : null
  return {
    ...own,
    columns: parts.columns.get(row.oid) ?? [],
    primaryKey: primary ? uniqueFrom(primary) : null,
    uniques: indexes.map(uniqueFrom),
    foreignKeys: constraints.filter((c) => c.kind === 'f').map(foreignKeyFrom),
    checks: constraints.filter((c) => c.kind === 'c').map((c) => ({ name: c.name, definition: c.definition })),
    triggers: parts.triggers.get(row.oid) ?? [],
    identityColumns: identityColumns(row.identity, indexes),
    parent,
  }
}

/** A deferrable primary key is no replica identity (manual, ALTER TABLE, REPLICA IDENTITY). FULL sends all: its key names the row best. */
function identityColumns(identity: ReplicaIdentity, indexes: readonly IndexRow[]): readonly string[] {
  const index =
    identity === 'd' ? indexes.find((i) => i.primary && !i.deferrable)
    : identity === 'i' ? indexes.find((i) => i.replident)
    : identity === 'f' ? indexes.find((i) => i.primary)
    : undefined
  return index?.columns ?? []
}

function uniqueFrom({ name, columns, deferrable, usable, definition }: IndexRow): UniqueKey {
  return { name, columns, deferrable, usable, definition }
}

function foreignKeyFrom(c: ConstraintRow): ForeignKey {
  const { name, columns, targetColumns, onDelete, onUpdate, deferrable, validated } = c
  const target = { schema: c.targetSchema, table: c.targetTable }
  return { name, columns, target, targetColumns, onDelete, onUpdate, deferrable, validated }
}
