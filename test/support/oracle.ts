import type { Catalog, CatalogTable } from '../../src/core/catalog.ts'
import { tableOf } from '../../src/core/catalog.ts'
import type { ColumnRule, Mapping, TableRule, ValueMap } from '../../src/core/mapping.ts'
import type { Minters } from '../../src/core/program.ts'
import { quoteIdent, quoteName } from '../../src/core/quote.ts'
import { rewriteValue } from '../../src/core/value.ts'
import { SESSION } from '../../src/core/session.ts'
import { client } from './database.ts'

/**
 * What the destination must hold, worked out again from the source by the slowest and plainest way: each row by itself, as text, with the
 * ledger only for what cannot be computed. It shares the value rewriting of src/core/value.ts (tested by itself) and nothing else with the
 * engine: no COPY text, no batches, no coalescing.
 */
export interface OracleInput {
  readonly sourceUrl: string
  readonly destinationUrl: string
  readonly mapping: Mapping
  readonly minters: Minters
  readonly source: Catalog
  readonly destination: Catalog
  readonly pipeline?: string
}

export interface Difference {
  readonly table: string
  readonly what: 'missing' | 'extra' | 'different'
  readonly key: string
  readonly detail: string
}

type Record_ = Record<string, string | null>
interface Entry { id: string; kind: string }

export async function compare(input: OracleInput): Promise<Difference[]> {
  const from = await pinned(input.sourceUrl)
  const to = await pinned(input.destinationUrl)
  try {
    const ledger = await readLedger(to, input.pipeline ?? 'rekey')
    const differences: Difference[] = []
    for (const rule of input.mapping.tables.values()) {
      if (rule.verdict !== 'move' && rule.verdict !== 'merge') continue
      differences.push(...(await compareTable(rule, { ...input, from, to, ledger })))
    }
    return differences
  } finally {
    await Promise.all([from.end(), to.end()])
  }
}

type Session = Awaited<ReturnType<typeof client>>
type Context = OracleInput & { from: Session; to: Session; ledger: Map<string, Entry> }

async function pinned(url: string): Promise<Session> {
  const session = await client(url)
  for (const [name, value] of Object.entries(SESSION)) if (name !== 'client_encoding') await session.query(`select set_config($1, $2, false)`, [name, value])
  return session
}

async function readLedger(to: Session, pipeline: string): Promise<Map<string, Entry>> {
  const { rows } = await to.query<{ entity: string; old: string; new: string; kind: string }>('select entity, old, new, kind from rekey.id_map where pipeline = $1', [pipeline])
  return new Map(rows.map((row) => [`${row.entity}\n${row.old}`, { id: row.new, kind: row.kind }]))
}

async function compareTable(rule: TableRule, context: Context): Promise<Difference[]> {
  const source = tableOf(context.source, rule.source)!
  const target = tableOf(context.destination, rule.target)!
  const name = `${rule.source.schema}.${rule.source.table}`
  const expected = new Map<string, Record_>()
  for (const row of await readRows(context.from, source, source.columns.filter((c) => !c.generated).map((c) => c.name))) {
    if (!rule.where.every((condition) => passes(condition, row))) continue
    const entry = rule.ledger && rule.keyed ? context.ledger.get(`${rule.entity ?? name}\n${rule.key.map((k) => escape(row[k]!)).join('\t')}`) : undefined
    if (rule.ledger && entry && !['inserted', 'adopted', 'gone'].includes(entry.kind)) continue
    const mapped = Object.fromEntries(rule.columns.map((column) => [column.target, mapColumn(rule, column, row, context)]))
    expected.set(rule.targetKey.map((k) => mapped[k]).join('\t'), mapped)
  }
  const owned = ownership(rule, context, name)
  const actual = new Map<string, Record_>()
  for (const row of await readRows(context.to, target, rule.columns.map((c) => c.target))) {
    const key = rule.targetKey.map((k) => row[k]).join('\t')
    if (owned(key, row)) actual.set(key, row)
  }
  return diff(name, expected, actual, rule)
}

/** Is this destination row one that we put there? By the id itself, or by the ledger. */
function ownership(rule: TableRule, context: Context, name: string): (key: string, row: Record_) => boolean {
  // Rows without a key are told from nobody's.
  if (!rule.keyed && rule.entity === null && rule.adopt === null) return () => true
  if (!rule.ledger) {
    const minter = context.minters.get(rule.entity!)!
    const { strategy } = context.mapping.entities.get(rule.entity!)!
    const opaque = strategy.kind === 'prefixed' && strategy.form === 'opaque' ? new RegExp(`^${strategy.prefix}_.{10}[ab].{15}$`) : null
    return (key) => (opaque ? opaque.test(key) : minter.unmint(key) !== null)
  }
  const ids = new Set([...context.ledger].filter(([at, entry]) => at.startsWith(`${rule.entity ?? name}\n`) && (entry.kind === 'inserted' || entry.kind === 'adopted')).map(([, entry]) => entry.id))
  return (key) => ids.has(key.split('\t').map(escape).join('\t'))
}

async function readRows(session: Session, table: CatalogTable, columns: readonly string[]): Promise<Record_[]> {
  const list = columns.map((c) => `${quoteIdent(c)}::text as ${quoteIdent(c)}`).join(', ')
  return (await session.query<Record_>(`select ${list} from ${table.kind === 'p' ? '' : 'only '}${quoteName(table)}`)).rows
}

function passes(condition: TableRule['where'][number], row: Record_): boolean {
  const value = row[condition.column]
  if (condition.test === 'null') return value === null
  if (condition.test === 'notNull') return value !== null
  const listed = value !== null && condition.values.includes(value)
  return condition.test === 'not' ? value !== null && !listed : listed
}

function mapColumn(rule: TableRule, column: ColumnRule, row: Record_, context: Context): string | null {
  const value = column.source === null ? null : row[column.source]
  if (column.map.kind === 'copy' && value !== null && rule.rename.some((rename) => rename.column === column.target)) {
    const name = `${rule.source.schema}.${rule.source.table}.${column.target}`
    return unescape(context.ledger.get(`${name}\n${rule.key.map((k) => escape(row[k]!)).join('\t')}\t${escape(value)}`)?.id ?? escape(value))
  }
  const map: ValueMap = column.map
  const raw = value === null ? null : Buffer.from(value, 'utf8')
  const result = rewriteValue(map, raw, {
    column: (other) => row[other],
    idOf: (entity, key) => {
      const minted = context.minters.get(entity)!.mint(key)
      if (!context.mapping.entities.get(entity)!.decided) return minted
      const entry = context.ledger.get(`${entity}\n${escape(key)}`)
      return entry ? unescape(entry.id) : minted
    },
  })
  return result === null ? null : result.toString('utf8')
}

const LETTERS: Record<string, string> = { '\b': 'b', '\t': 't', '\n': 'n', '\v': 'v', '\f': 'f', '\r': 'r', '\\': '\\' }
function escape(text: string): string {
  return text.replace(/[\b\t\n\v\f\r\\]/g, (c) => `\\${LETTERS[c]}`)
}
function unescape(text: string): string {
  const back = Object.fromEntries(Object.entries(LETTERS).map(([c, letter]) => [letter, c]))
  return text.replace(/\\(.)/g, (_, letter: string) => back[letter])
}

/** jsonb prints members in an order of its own, by length and bytes of the key, so values are compared as the destination prints them. */
function same(a: string | null, b: string | null, type: string): boolean {
  if (a === b) return true
  if (type !== 'jsonb' || a === null || b === null) return false
  return JSON.stringify(sorted(JSON.parse(a))) === JSON.stringify(sorted(JSON.parse(b)))
}
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, sorted(v)]))
}

function diff(table: string, expected: Map<string, Record_>, actual: Map<string, Record_>, rule: TableRule): Difference[] {
  const differences: Difference[] = []
  for (const [key, row] of expected) {
    const found = actual.get(key)
    if (!found) differences.push({ table, what: 'missing', key, detail: '' })
    else {
      const columns = rule.columns.filter((c) => !same(row[c.target], found[c.target], c.type)).map((c) => `${c.target}: ${row[c.target]} is ${found[c.target]}`)
      if (columns.length > 0) differences.push({ table, what: 'different', key, detail: columns.join('; ') })
    }
  }
  for (const key of actual.keys()) if (!expected.has(key)) differences.push({ table, what: 'extra', key, detail: '' })
  return differences
}
