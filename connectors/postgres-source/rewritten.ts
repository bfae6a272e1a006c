import type { Client } from 'pg'
import { quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf, type TableName } from '../../src/core/relation.ts'
import { remoteError } from './connect.ts'

/**
 * Whether a table, or a part of a partitioned one, has other files than it had when the snapshot of this transaction was taken. TRUNCATE and
 * the forms of ALTER TABLE that write rows anew leave nothing for older snapshots (manual, 13.6 "Caveats"); others that give new files, as
 * VACUUM FULL, are not told apart. To be asked while the table is locked, behind what was read of it. The catalog's rows are of the snapshot,
 * and what its functions answer is of now. Rejects with RekeyError.
 */
export async function isRewritten(client: Client, table: TableName): Promise<boolean> {
  const { rows: [{ rewritten }] } = await client.query<{ rewritten: boolean }>(`
    with recursive tree as (
      select c.oid, c.relkind, c.relfilenode from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where n.nspname = ${quoteLiteral(table.schema)} and c.relname = ${quoteLiteral(table.table)}
      union all
      select c.oid, c.relkind, c.relfilenode from tree t join pg_inherits i on i.inhparent = t.oid join pg_class c on c.oid = i.inhrelid
       where t.relkind = 'p'
    )
    select to_regclass(${quoteLiteral(quoteName(table))}) is distinct from (select oid from tree limit 1)
        or exists (select from tree where relkind = 'r' and pg_relation_filenode(oid) is distinct from relfilenode) as rewritten`)
    .catch((error: unknown) => { throw remoteError(error, `see whether ${nameOf(table)} was rewritten`) })
  return rewritten
}
