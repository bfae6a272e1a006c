import { RekeyError } from '../../src/core/errors.ts'
import { quoteIdent, quoteLiteral } from '../../src/core/quote.ts'
import type { TableName } from '../../src/core/relation.ts'
import type { Query } from './lookup.ts'

/**
 * Indexes that only make reading faster: of columns alone (a function in one might not find its way when it is made again), no constraint,
 * no uniqueness, and nothing hangs on them that their definition does not say (a comment, CLUSTER, a tablespace, an extension). Building such an index once is several times cheaper than filling it row by row in random order.
 */
const PLAIN = `
  select n.nspname, t.relname, c.relname as name, pg_get_indexdef(c.oid) as definition
    from pg_index x join pg_class c on c.oid = x.indexrelid join pg_class t on t.oid = x.indrelid join pg_namespace n on n.oid = t.relnamespace
   where not x.indisunique and not x.indisexclusion and not x.indisclustered and not x.indisreplident and x.indisvalid
     and x.indexprs is null and x.indpred is null and c.reltablespace = 0
     and c.relkind = 'i' and t.relkind = 'r' and not c.relispartition
     and not exists (select from pg_description d where d.objoid = c.oid and d.classoid = 'pg_class'::regclass)
     and not exists (select from pg_constraint k where k.conindid = c.oid)
     and not exists (select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype in ('e', 'x', 'i', 'P', 'S'))`

/** Drops the plain indexes of these tables and remembers them in the same transaction. Throws PRIVILEGE unless the role owns the tables. */
export async function dropIndexes(query: Query, pipeline: string, tables: readonly TableName[]): Promise<void> {
  if (tables.length === 0) return
  const names = tables.map((t) => `(${quoteLiteral(t.schema)}, ${quoteLiteral(t.table)})`).join(', ')
  const sql = `do $do$
declare i record;
begin
  perform set_config('lock_timeout', '10s', true);
  for i in ${PLAIN} and (n.nspname, t.relname) in (${names}) loop
    insert into rekey.dropped_index values (${quoteLiteral(pipeline)}, i.nspname, i.relname, i.name, i.definition)
      on conflict (pipeline, schema_name, index_name) do update set table_name = excluded.table_name, definition = excluded.definition;
    execute format('drop index %I.%I', i.nspname, i.name);
  end loop;
end $do$`
  await query(sql, []).catch((cause: unknown) => {
    if (!(cause instanceof RekeyError) || cause.sqlstate !== '42501') throw cause
    const hint = 'Let rekey connect as the owner of the tables, or leave the indexes alone: snapshot.indexes: keep.'
    throw new RekeyError('PRIVILEGE', 'snapshot.indexes: rebuild needs the ownership of the tables of the destination', { cause, hint })
  })
}

/** One remembered index. */
export interface DroppedIndex {
  readonly table: TableName
  readonly name: string
}

export async function droppedIndexes(query: Query, pipeline: string): Promise<DroppedIndex[]> {
  const rows = await query('select schema_name, table_name, index_name from rekey.dropped_index where pipeline = $1 order by 1, 2, 3', [pipeline])
  return rows.map(([schema, table, name]) => ({ table: { schema: schema!, table: table! }, name: name! }))
}

/** Makes a remembered index again and forgets it, in one transaction; writers of its table wait meanwhile. */
export async function makeIndex(query: Query, pipeline: string, index: DroppedIndex): Promise<void> {
  await query(makeIndexSql(pipeline, `schema_name = ${quoteLiteral(index.table.schema)} and index_name = ${quoteLiteral(index.name)}`), [])
}

/** What a build may use to sort: with the default of the server two processes cannot share it, and the sort goes to disk. */
const BUILD_BYTES = 256 << 20

/** The block that makes again what is remembered: of one pipeline, and of it what the condition says. A table that is gone needs none. */
export function makeIndexSql(pipeline: string, condition = 'true'): string {
  return `do $do$
declare i record;
begin
  if pg_size_bytes(current_setting('maintenance_work_mem')) < ${BUILD_BYTES} then
    perform set_config('maintenance_work_mem', '${BUILD_BYTES >> 10}', true);
  end if;
  for i in delete from rekey.dropped_index where pipeline = ${quoteLiteral(pipeline)} and ${condition} returning * loop
    if to_regclass(format('%I.%I', i.schema_name, i.table_name)) is not null
       and to_regclass(format('%I.%I', i.schema_name, i.index_name)) is null then
      execute i.definition;
    end if;
  end loop;
end $do$`
}

/** For people: schema.table.index. */
export function indexName({ table, name }: DroppedIndex): string {
  return [table.schema, table.table, name].map(quoteIdent).join('.')
}
