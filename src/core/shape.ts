/**
 * What decides what a write to a table does: its columns, its triggers (those of its foreign keys and of foreign keys that point at it are among
 * them), rules and row security. As one text, for comparing only: SQL over a row `c` of pg_class.
 */
export const SHAPE = `pg_catalog.concat_ws(' ', c.relkind, c.relhasrules, c.relrowsecurity, c.relforcerowsecurity,
      (select pg_catalog.hashtextextended(pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef, a.attidentity, a.attgenerated), ','
         order by a.attnum), 0) from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
      (select pg_catalog.hashtextextended(pg_catalog.string_agg(pg_catalog.concat(g.oid, g.tgenabled), ' ' order by g.oid), 0) from pg_catalog.pg_trigger g where g.tgrelid = c.oid))`
