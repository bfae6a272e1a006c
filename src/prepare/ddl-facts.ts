import type { DdlFacts, TypeFact } from '../core/ddl/facts.ts'

/** A read with parameters: rows as positional text. All reads of one call must go to one session. */
export type TextQuery = (sql: string, params: readonly unknown[]) => Promise<(string | null)[][]>

const USER = String.raw`n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'rekey')`
const TABLE = `n.nspname || '.' || c.relname`
const NOT_OF_EXTENSION = (catalog: string, oid: string): string =>
  `not exists (select from pg_catalog.pg_depend e
    where e.classid = 'pg_catalog.${catalog}'::pg_catalog.regclass and e.objid = ${oid} and e.deptype = 'e')`

const CONSTRAINTS = `
  select ${TABLE} as "table", k.conname as name, k.contype as kind, pg_catalog.pg_get_constraintdef(k.oid) as definition,
    coalesce((select pg_catalog.json_agg(a.attname order by u.at) from pg_catalog.unnest(k.conkey) with ordinality u(attnum, at)
      join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.attnum), '[]') as columns
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where k.contype in ('p', 'u', 'f', 'c', 'x') and not c.relispartition and ${USER}
  order by 1, 2`

const INDEXES = `
  select ${TABLE} as "table", i.relname as name, pg_catalog.pg_get_indexdef(x.indexrelid) as definition,
    coalesce(pg_catalog.pg_get_expr(x.indexprs, x.indrelid), '') || coalesce(' ' || pg_catalog.pg_get_expr(x.indpred, x.indrelid), '') as computes,
    coalesce((select pg_catalog.json_agg(distinct a.attname) from pg_catalog.pg_depend d
      join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
      where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = i.oid and d.refobjid = c.oid
        and d.refobjsubid > 0), '[]') as columns
  from pg_catalog.pg_index x
  join pg_catalog.pg_class i on i.oid = x.indexrelid
  join pg_catalog.pg_class c on c.oid = x.indrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and not c.relispartition and ${USER}
    and not exists (select from pg_catalog.pg_constraint k where k.conindid = i.oid and k.contype in ('p', 'u', 'x'))
  order by 1, 2`

const TYPES = `
  select pg_catalog.format_type(t.oid, null) as name, t.typtype as kind,
    case when t.typtype = 'd' then pg_catalog.format_type(t.typbasetype, t.typtypmod) else '' end as base,
    t.typnotnull as "notNull", t.typdefault as "default",
    coalesce((select pg_catalog.json_agg(pg_catalog.pg_get_constraintdef(k.oid) order by k.conname)
      from pg_catalog.pg_constraint k where k.contypid = t.oid and k.contype = 'c'), '[]') as checks,
    coalesce((select pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, 'type',
      pg_catalog.format_type(a.atttypid, a.atttypmod)) order by a.attnum)
      from pg_catalog.pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped), '[]') as attributes,
    coalesce((select pg_catalog.json_agg(e.enumlabel order by e.enumsortorder) from pg_catalog.pg_enum e
      where e.enumtypid = t.oid), '[]') as labels
  from pg_catalog.pg_type t
  join pg_catalog.pg_namespace n on n.oid = t.typnamespace
  left join pg_catalog.pg_class c on c.oid = t.typrelid
  where (t.typtype in ('e', 'd', 'r') or t.typtype = 'c' and c.relkind = 'c') and ${USER} and ${NOT_OF_EXTENSION('pg_type', 't.oid')}
  order by t.oid`

const SEQUENCES = `
  select n.nspname as schema, c.relname as name, pg_catalog.format('as %s increment by %s minvalue %s maxvalue %s start with %s cache %s%s',
      pg_catalog.format_type(s.seqtypid, null), s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache, case when s.seqcycle
        then ' cycle' else '' end) as options,
    coalesce(d.deptype = 'i', false) as identity, tn.nspname || '.' || t.relname as "table", a.attname as "column"
  from pg_catalog.pg_sequence s
  join pg_catalog.pg_class c on c.oid = s.seqrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
    and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjsubid > 0 and d.deptype in ('a', 'i')
  left join pg_catalog.pg_class t on t.oid = d.refobjid
  left join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
  left join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  where ${USER} and ${NOT_OF_EXTENSION('pg_class', 'c.oid')}
  order by 1, 2`

const GENERATED = `
  select ${TABLE} as "table", a.attname as "column",
    pg_catalog.pg_get_expr(x.adbin, x.adrelid) as expression, a.attgenerated = 's' as stored
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_attrdef x on x.adrelid = a.attrelid and x.adnum = a.attnum
  join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where a.attgenerated <> '' and not a.attisdropped and ${USER}
  order by 1, 2`

const PARTITIONS = `
  select ${TABLE} as "table", case when c.relkind = 'p' then pg_catalog.pg_get_partkeydef(c.oid) end as key,
    coalesce((select pg_catalog.json_agg(a.attname) from pg_catalog.pg_partitioned_table p
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = any (p.partattrs) where p.partrelid = c.oid), '[]') as columns,
    pn.nspname || '.' || pc.relname as parent, pg_catalog.pg_get_expr(c.relpartbound, c.oid) as bound
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_inherits i on i.inhrelid = c.oid and c.relispartition
  left join pg_catalog.pg_class pc on pc.oid = i.inhparent
  left join pg_catalog.pg_namespace pn on pn.oid = pc.relnamespace
  where (c.relkind = 'p' or c.relispartition and c.relkind = 'r') and ${USER}
  order by c.oid`

const onColumn = (catalog: string, oid: string): string => `d.classid = 'pg_catalog.${catalog}'::pg_catalog.regclass and d.objid = ${oid}
    and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjsubid > 0
  join pg_catalog.pg_class c on c.oid = d.refobjid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = d.refobjsubid`

const DEPENDENTS = `
  select distinct ${TABLE} as "table", a.attname as "column", 'view' as kind, vn.nspname || '.' || v.relname as name,
    pg_catalog.pg_get_viewdef(v.oid) as definition
  from pg_catalog.pg_rewrite r join pg_catalog.pg_class v on v.oid = r.ev_class and v.relkind in ('v', 'm')
  join pg_catalog.pg_namespace vn on vn.oid = v.relnamespace
  join pg_catalog.pg_depend d on ${onColumn('pg_rewrite', 'r.oid')} where c.oid <> v.oid and ${USER}
  union select distinct ${TABLE}, a.attname, 'policy', p.polname, coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '')
  from pg_catalog.pg_policy p join pg_catalog.pg_depend d on ${onColumn('pg_policy', 'p.oid')} where ${USER}
  union select distinct ${TABLE}, a.attname, 'trigger', g.tgname, pg_catalog.pg_get_triggerdef(g.oid)
  from pg_catalog.pg_trigger g join pg_catalog.pg_depend d on ${onColumn('pg_trigger', 'g.oid')} where not g.tgisinternal and ${USER}
  union select distinct ${TABLE}, a.attname, 'generated', ga.attname, pg_catalog.pg_get_expr(x.adbin, x.adrelid)
  from pg_catalog.pg_attrdef x join pg_catalog.pg_attribute ga on ga.attrelid = x.adrelid and ga.attnum = x.adnum and ga.attgenerated <> ''
  join pg_catalog.pg_depend d on ${onColumn('pg_attrdef', 'x.oid')} where a.attnum <> ga.attnum and ${USER}
  order by 1, 2, 3, 4`

const FUNCTIONS = `
  select n.nspname || '.' || f.proname as name, coalesce(f.prosrc, '') as source from pg_catalog.pg_proc f
  join pg_catalog.pg_namespace n on n.oid = f.pronamespace
  where ${USER} and ${NOT_OF_EXTENSION('pg_proc', 'f.oid')} order by 1, f.oid`

const VIEWS = `
  select n.nspname as schema, c.relname as view, c.relkind = 'm' as materialized,
    pg_catalog.rtrim(pg_catalog.pg_get_viewdef(c.oid), ';') as definition,
    coalesce((select pg_catalog.json_agg(o) from pg_catalog.unnest(c.reloptions) o), '[]') as options,
    pg_catalog.pg_get_userbyid(c.relowner) as owner, pg_catalog.obj_description(c.oid, 'pg_class') as comment,
    coalesce((select pg_catalog.json_agg(pg_catalog.json_build_object('privilege', a.privilege_type, 'grantable', a.is_grantable,
      'grantee', case when a.grantee <> 0 then pg_catalog.pg_get_userbyid(a.grantee) end))
      from pg_catalog.aclexplode(c.relacl) a where a.grantee <> c.relowner), '[]') as grants,
    coalesce((select pg_catalog.json_agg(p.sql order by p.sql) from (
      select pg_catalog.pg_get_indexdef(x.indexrelid) from pg_catalog.pg_index x where x.indrelid = c.oid
      union all select pg_catalog.pg_get_triggerdef(g.oid) from pg_catalog.pg_trigger g where g.tgrelid = c.oid and not g.tgisinternal
    ) p(sql)), '[]') as parts
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('v', 'm') and ${USER} and ${NOT_OF_EXTENSION('pg_class', 'c.oid')} order by c.oid`

const EXTENSIONS = `
  select e.extname as name, n.nspname as schema from pg_catalog.pg_extension e
  join pg_catalog.pg_namespace n on n.oid = e.extnamespace where e.extname <> 'plpgsql' order by 1`

const EXTENSION_TABLES = `
  select ${TABLE} as name from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and ${USER} and not (${NOT_OF_EXTENSION('pg_class', 'c.oid')}) order by 1`

/** Reads them. The session's search_path is set to pg_catalog and left so. */
export async function readDdlFacts(query: TextQuery): Promise<DdlFacts> {
  await query("select pg_catalog.set_config('search_path', 'pg_catalog', false)", [])
  const rows = (sql: string): Promise<any[]> => objects(query, sql)
  return {
    constraints: await rows(CONSTRAINTS),
    indexes: await rows(INDEXES),
    types: await rows(TYPES),
    sequences: await rows(SEQUENCES),
    generated: await rows(GENERATED),
    partitions: await rows(PARTITIONS),
    dependents: await rows(DEPENDENTS),
    functions: await rows(FUNCTIONS),
    views: await rows(VIEWS),
    extensions: await rows(EXTENSIONS),
    extensionTables: (await rows(EXTENSION_TABLES)).map((row) => row.name),
  }
}

/** The types of users alone; the session's search_path must be pg_catalog for names to have their schema. */
export function readTypes(query: TextQuery): Promise<TypeFact[]> {
  return objects(query, TYPES)
}

async function objects(query: TextQuery, sql: string): Promise<any[]> {
  return (await query(`select pg_catalog.row_to_json(q)::text from (${sql}\n) q`, [])).map(([json]) => JSON.parse(json!))
}
