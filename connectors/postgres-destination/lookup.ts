import type { CatalogTable } from '../../src/core/catalog.ts'
import type { Decision, MatchQuestion } from '../../src/core/plan.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { escapeField } from '../../src/core/row.ts'
import { equalsOf } from './equal.ts'

/** A read with parameters; rows as text. */
export type Query = (sql: string, params: readonly unknown[]) => Promise<(string | null)[][]>

/** Ledger entries by source key: one bulk read. */
export async function findDecisions(query: Query, pipeline: string, entity: string, keys: readonly string[]): Promise<Map<string, Decision>> {
  const sql = `select entity, old, new, kind, rule, evidence from rekey.id_map where pipeline = $1 and entity = $2 and old = any ($3::text[] collate "C")`
  const rows = await query(sql, [pipeline, entity, keys.map(fromRaw)])
  return new Map(rows.map((row) => decisionOf(row)).map((decision) => [decision.key, decision]))
}

/** Ledger entries by destination id, of any entity. */
export async function findIds(query: Query, pipeline: string, ids: readonly string[]): Promise<Decision[]> {
  const sql = `select entity, old, new, kind, rule, evidence from rekey.id_map where pipeline = $1 and new = any ($2::text[] collate "C")`
  return (await query(sql, [pipeline, ids.map(fromRaw)])).map((row) => decisionOf(row))
}

/** The ledger in the order of its key, from behind an entry on. */
export async function ledgerPage(query: Query, pipeline: string, { after, limit }: { after: Pick<Decision, 'entity' | 'key'> | null; limit: number }): Promise<Decision[]> {
  const behind = after === null ? '' : 'and (entity, old) > ($3, $4)'
  const sql = `select entity, old, new, kind, rule, evidence from rekey.id_map where pipeline = $1 ${behind} order by pipeline, entity, old limit $2`
  return (await query(sql, [pipeline, limit, ...(after === null ? [] : [after.entity, fromRaw(after.key)])])).map((row) => decisionOf(row))
}

/** What tells this ledger from one of the same name that was removed. Null when there is none. */
export async function ledgerLife(query: Query, pipeline: string): Promise<string | null> {
  const [row] = await query('select life::text from rekey.ledger where pipeline = $1', [pipeline])
  return row?.[0] ?? null
}

/** How the source looked when the pipeline last ran: its old ids are understood after it is gone. Null when it never ran. */
export async function rememberedSource(query: Query, pipeline: string): Promise<string | null> {
  const [row] = await query('select source from rekey.ledger where pipeline = $1', [pipeline])
  return row?.[0] ?? null
}

export async function rememberSource(query: Query, pipeline: string, source: string): Promise<void> {
  await query('update rekey.ledger set source = $2 where pipeline = $1 and source is distinct from $2', [pipeline, source])
}

/** What is parked under a key of a table, the latest first. */
export async function parkedUnder(query: Query, pipeline: string, { table, key }: { table: string; key: string }): Promise<ParkedNote[]> {
  const sql = `select state, reason, coalesce(note, '') from rekey.parked where pipeline = $1 and tbl = $2 and key = $3 and state <> 'done' order by id desc`
  return (await query(sql, [pipeline, table, fromRaw(key)])).map(([state, reason, note]) => ({ state: state!, reason: reason!, note: note! }))
}

export interface ParkedNote {
  readonly state: string
  readonly reason: string
  readonly note: string
}

function decisionOf(row: readonly (string | null)[]): Decision {
  const [entity, old, id, kind, rule, evidence] = row as string[]
  return { entity, key: toRaw(old), id: toRaw(id), kind: kind as Decision['kind'], rule, evidence }
}

function fromRaw(raw: string): string {
  return Buffer.from(raw, 'latin1').toString('utf8')
}

function toRaw(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

/**
 * Types whose cast from text is not their input function, or has a length and would cut a value off that an insert refuses: their values
 * come as parameters of the type itself. All others come as text (as parameters, unnest would take arrays and composites apart).
 */
const DIRECT: Readonly<Record<string, string>> = {
  'character varying': 'varchar', character: '"bpchar"', bit: '"bit"', 'bit varying': 'varbit', '"char"': '"char"', name: 'name', regclass: 'regclass',
}

function directType(type: string): string | undefined {
  return DIRECT[type.replace(/\(\d+\)$/, '')]
}

/** Destination keys by natural key, normalised by Postgres on both sides, one bulk read; COPY text fields joined by tabs. */
export async function matchRows(query: Query, question: MatchQuestion, table: CatalogTable | undefined): Promise<string[][]> {
  const values = question.on.map((_, i) => `v${i}`)
  const wrap = (part: MatchQuestion['on'][number], expression: string): string =>
    part.normalise === 'exact' ? expression : part.normalise === 'lower' ? `pg_catalog.lower(${expression})` : `pg_catalog.lower(pg_catalog.btrim(${expression}))`
  const on = question.on.map((part, i) => {
    const value = part.normalise === 'exact' && !directType(question.types[i]) ? `s.${values[i]}::${question.types[i]}` : wrap(part, `s.${values[i]}`)
    const equals = part.normalise === 'exact' && table ? equalsOf(table, part.column) : '='
    return `${wrap(part, `t.${quoteIdent(part.column)}`)} ${equals} ${value}`
  })
  const arrays = question.on.map((part, i) => `$${i + 1}::${(part.normalise === 'exact' && directType(question.types[i])) || 'text'}[]`).join(', ')
  // As the type prints itself and COPY does; a cast to text prints booleans, addresses and padded text in another way.
  const keys = question.key.map((column) => `pg_catalog.format('%s', t.${quoteIdent(column)})`).join(', ')
  const sql = `select s.ord::text, ${keys} from unnest(${arrays}) with ordinality s(${values.join(', ')}, ord) join ${quoteName(question.table)} t on ${on.join(' and ')}`
  const rows = await query(sql, question.on.map((_, i) => question.rows.map((row) => row[i])))
  const answer: string[][] = question.rows.map(() => [])
  for (const [ord, ...key] of rows) {
    answer[Number(ord) - 1].push(key.map((field) => (field === null ? '\\N' : escapeField(Buffer.from(field, 'utf8')).toString('latin1'))).join('\t'))
  }
  return answer
}

/** The wire speaks simple queries, which have no parameters. */
export function inlined(sql: string, params: readonly unknown[]): string {
  const literal = (param: unknown): string => (Array.isArray(param) ? quoteLiteral(arrayText(param as (string | null)[])) : quoteLiteral(String(param)))
  return sql.replace(/"(?:[^"]|"")*"|\$(\d+)/g, (found, n?: string) => (n === undefined ? found : literal(params[Number(n) - 1])))
}

/** The text of an array of text. */
export function arrayText(items: readonly (string | null)[]): string {
  return `{${items.map((item) => (item === null ? 'NULL' : `"${item.replace(/[\\"]/g, '\\$&')}"`)).join(',')}}`
}
