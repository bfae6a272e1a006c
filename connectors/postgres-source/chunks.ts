import type { Client } from 'pg'
import { RekeyError } from '../../src/core/errors.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf, type TableName } from '../../src/core/relation.ts'
import { escapeField, unescapeField } from '../../src/core/row.ts'
import type { Chunk } from '../../src/ports.ts'

/** How a table is read: from where, and by which key. */
export interface Layout {
  readonly table: TableName
  /** `only "s"."t"`, so that the rows of inheritance children are not read twice; a partitioned table is read through its root. */
  readonly from: string
  /**
   * Columns of the primary key, in its order; empty without one, or where its operators are not built in (a search path of pg_catalog
   * finds others by a cast, and they may order otherwise than the index).
   */
  readonly key: readonly string[]
  /** The key is one column of smallint, integer or bigint. */
  readonly integer: boolean
  readonly rowsEstimate: number
}

interface LayoutRow {
  readonly kind: string
  readonly estimate: number
  readonly names: string[] | null
  readonly types: string[] | null
  readonly builtin: boolean
}

export async function layoutOf(client: Client, table: TableName): Promise<Layout> {
  const answer = await client.query<LayoutRow>(`
    select c.relkind::text as kind, c.reltuples::float8 as estimate,
      array_agg(a.attname::text order by k.ord) filter (where a.attname is not null) as names,
      array_agg(a.atttypid::regtype::text order by k.ord) filter (where a.attname is not null) as types,
      coalesce(bool_and(b.typtype = 'e' or b.typnamespace = 'pg_catalog'::regnamespace), true) as builtin
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    left join pg_index i on i.indrelid = c.oid and i.indisprimary
    left join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, ord) on k.ord <= i.indnkeyatts
    left join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
    left join pg_type t on t.oid = a.atttypid left join pg_type b on b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
    where n.nspname = ${quoteLiteral(table.schema)} and c.relname = ${quoteLiteral(table.table)}
    group by c.oid`)
  const row = answer.rows.at(0)
  if (!row) throw new RekeyError('PREFLIGHT', `the source has no table ${nameOf(table)}`)
  const key = row.builtin ? row.names ?? [] : []
  const integer = key.length === 1 && ['smallint', 'integer', 'bigint'].includes((row.types ?? [])[0])
  const from = row.kind === 'p' ? quoteName(table) : `only ${quoteName(table)}`
  return { table, from, key, integer, rowsEstimate: row.estimate }
}

/** Chunks of about `rows` rows. The first is open below and the last above, so rows that come later still belong to one. */
export async function chunksOf(client: Client, layout: Layout, rows: number): Promise<Chunk[]> {
  const { table, key, integer, rowsEstimate } = layout
  const find = integer && rowsEstimate > rows ? ranges : steps
  const bounds = key.length === 0 ? [] : await find(client, layout, rows)
  return [...bounds, null].map((upTo, index) => ({ table, index, after: index === 0 ? null : bounds[index - 1], upTo }))
}

/** Equal ranges between the least and the greatest key: two index look-ups whatever the table's size. */
async function ranges(client: Client, layout: Layout, rows: number): Promise<string[][]> {
  const k = quoteIdent(layout.key[0])
  const answer = await client.query<{ low: string | null; high: string | null }>(
    `select min(${k})::text as low, max(${k})::text as high from ${layout.from}`)
  const { low, high } = answer.rows[0]
  if (low === null || high === null) return []
  const from = BigInt(low)
  const span = BigInt(high) - from
  const count = BigInt(Math.ceil(layout.rowsEstimate / rows))
  const bounds: string[][] = []
  for (let i = 1n; i < count && span >= count; i++) bounds.push([String(from + (span * i) / count)])
  return bounds
}

/** Walks the key's index in steps of `rows`. */
async function steps(client: Client, layout: Layout, rows: number): Promise<string[][]> {
  // Qualified: a bare name in ORDER BY would mean the output column, which is text and sorts as text.
  const columns = layout.key.map((name) => `t.${quoteIdent(name)}`)
  const texts = columns.map((c) => `${c}::text`).join(', ')
  const bounds: string[][] = []
  for (;;) {
    const where = keyRange(layout.key, { after: bounds.at(-1) ?? null, upTo: null })
    const answer = await client.query<string[]>({
      text: `select ${texts} from ${layout.from} t${where} order by ${columns.join(', ')} ` +
        `offset ${Math.max(1, rows) - 1} limit 1`,
      rowMode: 'array',
    })
    if (answer.rows.length === 0) return bounds
    bounds.push(answer.rows[0].map((value) => escapeField(Buffer.from(value)).toString()))
  }
}

/**
 * ` where (key) > (…) and (key) <= (…)`, or nothing. Bounds are COPY text fields; COPY takes no parameters, so they become literals.
 */
export function keyRange(key: readonly string[], range: Pick<Chunk, 'after' | 'upTo'>): string {
  const names = `(${key.map(quoteIdent).join(', ')})`
  const values = (bound: readonly string[]): string =>
    `(${bound.map((field) => quoteLiteral(unescapeField(Buffer.from(field)).toString())).join(', ')})`
  const parts = [
    ...(range.after ? [`${names} > ${values(range.after)}`] : []),
    ...(range.upTo ? [`${names} <= ${values(range.upTo)}`] : []),
  ]
  return parts.length > 0 ? ` where ${parts.join(' and ')}` : ''
}
