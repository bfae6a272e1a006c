import type { Change, Op } from '../../src/core/change.ts'
import { RekeyError } from '../../src/core/errors.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import { nameOf, type Relation } from '../../src/core/relation.ts'
import { type Row, rowOf } from '../../src/core/row.ts'
import { jsonAt, membersAt, rawAt } from './debezium-record.ts'
import { type ColumnReader, columnReaders, type SchemaField } from './debezium-schema.ts'
import { type StoredRecord, Unreadable } from './record.ts'

/** Where a change or a message stands in its transaction. */
export interface InTransaction {
  readonly xid: number
  /** From 1, messages counted. */
  readonly order: number
}

export type Event =
  | { readonly kind: 'begin'; readonly xid: number }
  | { readonly kind: 'end'; readonly xid: number; readonly endLsn: Lsn; readonly count: number; readonly commitMicros: number }
  | (InTransaction & {
    readonly kind: 'change'; readonly change: Change; readonly lsn: Lsn; readonly bytes: number; readonly commitMicros: number
    /** End of the transaction before; null when the connector has begun with this one. */
    readonly from: Lsn | null
    /** first: the delete of a row whose key changed; second: the create that follows, which is the update. */
    readonly keyChange: 'first' | 'second' | null
  })
  | { readonly kind: 'message'; readonly content: string; readonly lsn: Lsn; readonly commitMicros: number; readonly from: Lsn | null
    /** Null: it is in no transaction. */
    readonly within: InTransaction | null }
  /** Heartbeats and tombstones. */
  | { readonly kind: 'nothing' }

export interface DebeziumOptions {
  readonly relations: ReadonlyMap<string, Relation>
  /** The connector writes a null as null, also where a column has a default. */
  readonly keepsNulls: boolean
}

interface Known {
  /** The record up to its payload. */
  readonly prefix: Buffer
  readonly name: string
  /** Schema of `after`. */
  readonly row: SchemaField | null
  layout: Layout | null
}

interface Layout {
  readonly relation: Relation
  readonly readers: readonly ColumnReader[]
}

const OPS: Readonly<Record<string, Op>> = { c: 'insert', u: 'update', d: 'delete', t: 'truncate' }
const CHANGE_BYTES = 128
const REKEY = 'rekey'

/**
 * Reads records of a stock Debezium Postgres connector. Throws Unreadable for what is none, and RekeyError CONFIG for a connector whose
 * settings lose what is needed: see docs/debezium.md.
 */
export function debeziumDecoder(options: DebeziumOptions): (record: StoredRecord) => Event {
  let known: Known[] = []
  const schemaOf = (value: Buffer): Known => {
    const found = known.find(({ prefix }) => prefix.length < value.length && value.compare(prefix, 0, prefix.length, 0, prefix.length) === 0)
    if (found) return found
    const { schema, payload } = Object.fromEntries(membersAt(value, 0))
    if (!schema || !payload) throw setting('value.converter.schemas.enable=true', 'its records have no schema')
    const parsed = jsonAt(value, schema.start, schema.end) as SchemaField
    const row = parsed.fields?.find((one) => one.field === 'after') ?? null
    const made: Known = { prefix: Buffer.from(value.subarray(0, payload.start)), name: parsed.name ?? '', row, layout: null }
    known = [made, ...known.slice(0, 255)]
    return made
  }
  return (record) => {
    const { value } = record
    if (value === null) return { kind: 'nothing' }
    const schema = schemaOf(value)
    const payload = membersAt(value, schema.prefix.length)
    const json = (name: string): unknown => {
      const at = payload.get(name)
      return at ? jsonAt(value, at.start, at.end) : null
    }
    if (schema.name.endsWith('.TransactionMetadataValue')) return boundary(json)
    if (schema.name.endsWith('.Heartbeat')) return { kind: 'nothing' }
    const source = sourceOf(json('source'))
    const within = withinOf(json('transaction'))
    if (schema.name.endsWith('.MessageValue')) return { kind: 'message', ...messageOf(json('message')), ...source.position, within }
    const letter = String(json('op'))
    if (letter === 'r') throw setting('snapshot.mode=no_data', 'it copies rows, which rekey does')
    const op = OPS[letter]
    if (!op || !schema.name.endsWith('.Envelope')) throw new Unreadable('it is no record of a Debezium Postgres connector')
    if (!within) throw setting('provide.transaction.metadata=true', 'its records do not say which transaction they belong to')
    const { relation, readers } = (schema.layout ??= layoutOf(source.table, schema.row, options))
    const full = relation.identity === 'f'
    const row = (name: string, key: boolean): Row | null => {
      const at = payload.get(name)
      return !at || rawAt(value, at) === null ? null : rowAt(value, at.start, { relation, readers, key, strict: options.keepsNulls })
    }
    const change: Change = { op, relation, row: row('after', false), old: row('before', !full), oldIsFull: full && op !== 'insert' }
    const headers = record.headers ?? {}
    const keyChange = op === 'delete' && headers['__debezium.newkey'] ? 'first' : op === 'insert' && headers['__debezium.oldkey'] ? 'second' : null
    return { kind: 'change', ...within, ...source.position, change, keyChange, bytes: CHANGE_BYTES + value.length - schema.prefix.length }
  }
}

function boundary(json: (name: string) => unknown): Event {
  const [, xid, lsn] = /^(\d+):(\d+)$/.exec(String(json('id'))) ?? []
  if (xid === undefined) throw new Unreadable('it names no transaction')
  if (json('status') === 'BEGIN') return { kind: 'begin', xid: Number(xid) }
  return { kind: 'end', xid: Number(xid), endLsn: BigInt(lsn), count: Number(json('event_count')), commitMicros: Number(json('ts_ms')) * 1_000 }
}

function sourceOf(source: unknown): { table: { schema: string; table: string }; position: { lsn: Lsn; from: Lsn | null; commitMicros: number } } {
  const { connector, schema, table, sequence, ts_us: commitMicros } = (source ?? {}) as Record<string, unknown>
  const [, last, lsn] = /^\[(null|"\d+"),"(\d+)"\]$/.exec(String(sequence)) ?? []
  if (connector !== 'postgresql' || lsn === undefined || typeof commitMicros !== 'number') {
    throw new Unreadable('it is no record of a Debezium Postgres connector')
  }
  const from = last === 'null' ? null : BigInt(last.slice(1, -1))
  return { table: { schema: String(schema), table: String(table) }, position: { lsn: BigInt(lsn), from, commitMicros } }
}

function withinOf(transaction: unknown): InTransaction | null {
  if (transaction === null) return null
  const { id, total_order: order } = transaction as Record<string, unknown>
  const xid = /^(\d+):/.exec(String(id))?.[1]
  if (xid === undefined || typeof order !== 'number') throw new Unreadable('it names no transaction')
  return { xid: Number(xid), order }
}

function messageOf(message: unknown): { content: string } {
  const { prefix, content } = (message ?? {}) as Record<string, unknown>
  return { content: prefix === REKEY ? Buffer.from(String(content), 'base64').toString('utf8') : '' }
}

function layoutOf(table: Relation | { schema: string; table: string }, row: SchemaField | null, { relations, keepsNulls }: DebeziumOptions): Layout {
  const relation = relations.get(nameOf(table))
  if (!relation) throw new Unreadable('it is of a table that the mapping does not carry')
  if (!row) throw new Unreadable('it is no record of a Debezium Postgres connector')
  const readers = columnReaders(relation, row)
  const [ambiguous] = [...readers].find(([, one]) => one.ambiguous) ?? []
  if (ambiguous !== undefined && !keepsNulls) {
    const why = `${nameOf(relation)}.${ambiguous} may be null and has a default, which is else written in its place`
    throw setting('value.converter.replace.null.with.default=false', why,
      'Set it, let the connector write a new topic, and say so in rekey.yaml: `kafka: { keepsNulls: true }`. Records do not show it.')
  }
  const more = [...readers.keys()].filter((name) => !relation.columns.some((column) => column.name === name))
  const columns = [...relation.columns, ...more.map((name) => ({ name, typeOid: 0, key: false }))]
  return { relation: more.length === 0 ? relation : { ...relation, columns }, readers: columns.map(({ name }) => readers.get(name)!) }
}

interface RowOptions extends Layout {
  /** It has the key's columns alone. */
  readonly key: boolean
  readonly strict: boolean
}

function rowAt(value: Buffer, p: number, { relation, readers, key, strict }: RowOptions): Row {
  const members = membersAt(value, p)
  return rowOf(relation.columns.map((column, i) => {
    const at = members.get(column.name)
    const raw = at ? rawAt(value, at) : null
    if (key && !column.key) {
      if (raw !== null && strict && readers[i].ambiguous) {
        throw setting('value.converter.replace.null.with.default=false', `a null of ${nameOf(relation)}.${column.name} is written as its default`)
      }
      return null
    }
    if (raw === null) return null
    return !key && raw === readers[i].unavailable ? undefined : readers[i].read(raw)
  }))
}

const HINT = 'Correct the connector and let it write a new topic, or capture with `rekey run --role capture`.'

function setting(name: string, why: string, hint = HINT): RekeyError {
  return new RekeyError('CONFIG', `the Debezium connector needs ${name}: ${why}`, { hint })
}
