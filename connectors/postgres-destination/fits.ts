import type { CatalogTable } from '../../src/core/catalog.ts'
import { CHANGED } from '../../src/core/errors.ts'
import { quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { SHAPE } from '../../src/core/shape.ts'
import { arrayText } from './lookup.ts'

/**
 * Fails with RK005 where a table is not what the plan took it for: a foreign key that came later may cascade to rows of others, or is not
 * proven where triggers are off; a trigger may swallow rows; a stage whose types are those of before rounds what a COPY into the table would
 * refuse. One table at a time, as the plans of such questions are kept.
 */
export const FITS_SQL = `
create or replace function rekey.fits(names text[], oids oid[], shapes text[]) returns void language plpgsql set search_path = pg_catalog as $$
declare
  now_is text;
begin
  for i in 1 .. cardinality(oids) loop
    select ${SHAPE} into now_is from pg_class c where c.oid = oids[i];
    if now_is is distinct from shapes[i] or to_regclass(names[i])::oid is distinct from oids[i] then
      raise exception '% was changed under way', names[i] using errcode = '${CHANGED}';
    end if;
  end loop;
end $$;
`

/** Asked at the end of a transaction, which holds its tables locked against such changes since it wrote to them. */
export function fitsSql(tables: Iterable<CatalogTable>): string {
  const all = [...tables]
  const texts = (values: readonly string[]): string => quoteLiteral(arrayText(values))
  return `select rekey.fits(${texts(all.map((table) => quoteName(table)))}, ${texts(all.map(({ oid }) => String(oid)))}, ${texts(all.map(({ shape }) => shape))})`
}
