import { type Catalog, tableOf } from '../../src/core/catalog.ts'
import type { Change, Op, Transaction } from '../../src/core/change.ts'
import { RekeyError } from '../../src/core/errors.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import { nameOf, type Relation, type TableName } from '../../src/core/relation.ts'
import { isUnchanged, type Row, textField } from '../../src/core/row.ts'
import { envelopeSchema, keySchema, type WireColumn } from './envelope.ts'
import type { TableRecord } from './record.ts'
import { sourceText, type Origin } from './source-block.ts'
import { topicName } from './topics.ts'
import { wireType } from './wire-schema.ts'

export interface TableRecordsOptions extends Origin {
  readonly catalog: Pick<Catalog, 'tables' | 'enums'>
  /** inline: each record with its schema, as Connect's JSON converter writes it; none: the payload alone. */
  readonly schemas: 'inline' | 'none'
  /** The largest record that each topic takes, bytes. */
  readonly limits: ReadonlyMap<string, number>
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/**
 * Transactions as Debezium's records, one topic a table, for consumers that know nothing of rekey: values by Debezium's mapping of types, a
 * delete with its tombstone, a changed key as a delete and a create that name each other. An unchanged TOAST value is taken from the old row
 * where that is whole, else its column is left out of the record and of its schema.
 * Throws RekeyError LOG_VALUE for a value that the mapping cannot hold, SCHEMA_CHANGED for a table that is not as the catalog has it.
 */
export type TableRecords = (transaction: Transaction) => TableRecord[]

export function tableTopic(prefix: string, table: TableName): string {
  return topicName(prefix, table.schema, table.table)
}

/** Columns that have no place in per-table topics: `schema.table.column (type)`. */
export function leftOut({ tables, enums }: Pick<Catalog, 'tables' | 'enums'>, of: readonly TableName[]): string[] {
  return of.flatMap((name) => (tableOf({ tables }, name)?.columns ?? []).filter((column) => !column.generated && wireType(column, enums) === null)
    .map((column) => `${nameOf(name)}.${column.name} (${column.type})`))
}

interface Layout {
  readonly topic: string
  readonly relation: Relation
  readonly columns: readonly WireColumn[]
  readonly key: readonly WireColumn[]
  readonly keyPrefix: string
  /** What stands before a payload, by the columns that it lacks. */
  readonly valuePrefixes: Map<string, string>
}

const OPS: Readonly<Record<Op, string>> = { insert: 'c', update: 'u', delete: 'd', truncate: 't' }

export function tableRecords(options: TableRecordsOptions): TableRecords {
  const layouts = new WeakMap<Relation, Layout>()
  let lastCommit: Lsn = 0n
  const layoutOf = (relation: Relation): Layout => {
    let layout = layouts.get(relation)
    if (!layout) layouts.set(relation, (layout = layOut(relation, options)))
    return layout
  }
  const inline = options.schemas === 'inline'

  const changeRecords = (t: Transaction, change: Change): TableRecord[] => {
    const layout = layoutOf(change.relation)
    const ms = options.now()
    const source = sourceText(options, t, change.relation, lastCommit || t.commitLsn)
    const value = (op: string, before: Row | null, after: Row | null): Buffer => {
      const absent = after ? absentOf(after, layout, change.oldIsFull ? change.old : null) : []
      const fill = change.oldIsFull ? change.old : null
      const columns = absent.length === 0 ? layout.columns : layout.columns.filter((one) => !absent.includes(one))
      const old = before && rowJson(before, columns, { layout, only: change.oldIsFull ? null : layout.key, fill: null })
      const row = after && rowJson(after, columns, { layout, only: null, fill })
      const payload = `{"before":${old ?? 'null'},"after":${row ?? 'null'},"source":${source},"transaction":null,"op":"${op}"` +
        `,"ts_ms":${ms},"ts_us":${ms}000,"ts_ns":${ms}000000}`
      return Buffer.from(inline ? `${prefixOf(layout, columns)}${payload}}` : payload)
    }
    const keyOf = (row: Row | null): Buffer | null => {
      if (!row || layout.key.length === 0) return null
      const payload = rowJson(row, layout.key, { layout, only: null, fill: null })
      return Buffer.from(inline ? `${layout.keyPrefix}${payload}}` : payload)
    }
    const record = (key: Buffer | null, of: Buffer | null, headers: Record<string, Buffer> = {}): TableRecord => {
      const limit = options.limits.get(layout.topic) ?? 0
      if (of && of.length > limit) {
        throw new RekeyError('LOG_VALUE', `a change of ${nameOf(change.relation)} takes ${of.length} bytes, and its topic takes ${limit}`)
      }
      return { topic: layout.topic, key, value: of, headers }
    }
    const { op, row, old } = change
    const [was, is] = [keyOf(old), keyOf(row)]
    if (op === 'delete') return [record(was, value('d', old, null)), ...(was ? [record(was, null)] : [])]
    if (op === 'update' && was && is && !was.equals(is)) {
      if (absentOf(row!, layout, change.oldIsFull ? old : null).length > 0) throw lost(change.relation)
      return [record(was, value('d', old, null), { '__debezium.newkey': structText(row!, layout) }), record(was, null),
        record(is, value('c', null, row), { '__debezium.oldkey': structText(old!, layout) })]
    }
    return [record(is, value(OPS[op], old, row))]
  }
  return (t) => {
    const records = t.changes.flatMap((change) => changeRecords(t, change))
    if (t.last) lastCommit = t.commitLsn
    return records
  }
}

/** The key as Connect's default header converter writes a struct; readers of Connect fail at a header that looks like JSON. */
function structText(row: Row, { key }: Layout): Buffer {
  return Buffer.from(`Struct{${key.map(({ column, at }) => `${column.name}=${textField(row, at)}`).join(',')}}`)
}

function lost(relation: Relation): RekeyError {
  const what = 'changed and a large value did not: readers, which delete and create it, would lose that value'
  return new RekeyError('LOG_VALUE', `the key of a row of ${nameOf(relation)} ${what}`,
    { hint: 'Give the table REPLICA IDENTITY FULL; to pass this row, run without `topics: per-table`.' })
}

function layOut(relation: Relation, { name, catalog }: TableRecordsOptions): Layout {
  const table = tableOf(catalog, relation)
  const columns: WireColumn[] = []
  for (const [at, { name: columnName, typeOid }] of relation.columns.entries()) {
    const column = table?.columns.find((one) => one.name === columnName && one.typeOid === typeOid)
    if (!column) throw new RekeyError('SCHEMA_CHANGED', `${nameOf(relation)}.${columnName} is not as it was when capture began`, {
      hint: 'Start capture again: it then reads the columns as they are now.' })
    const type = wireType(column, catalog.enums)
    if (type) columns.push({ column, type, at })
  }
  const names = new Set(relation.identity === 'f' ? (table?.primaryKey?.columns ?? []) : relation.columns.filter((c) => c.key).map((c) => c.name))
  const key = columns.filter((one) => names.has(one.column.name))
  const topic = tableTopic(name, relation)
  return {
    // A key of which a column is left out is none.
    topic, relation, columns, key: key.length === names.size ? key : [], valuePrefixes: new Map(),
    keyPrefix: `{"schema":${JSON.stringify(keySchema(topic, key))},"payload":`,
  }
}

function prefixOf({ topic, key, valuePrefixes }: Layout, columns: readonly WireColumn[]): string {
  const which = columns.map((one) => one.at).join()
  let prefix = valuePrefixes.get(which)
  if (prefix === undefined) {
    const names = new Set(key.map((one) => one.column.name))
    valuePrefixes.set(which, (prefix = `{"schema":${JSON.stringify(envelopeSchema(topic, columns, names))},"payload":`))
  }
  return prefix
}

function absentOf(row: Row, { columns }: Layout, fill: Row | null): WireColumn[] {
  return columns.filter(({ at }) => isUnchanged(row, at) && (fill === null || isUnchanged(fill, at)))
}

interface RowOptions {
  readonly layout: Layout
  /** The others are unknown, and null. */
  readonly only: readonly WireColumn[] | null
  /** Where values are that the row has not. */
  readonly fill: Row | null
}

function rowJson(row: Row, columns: readonly WireColumn[], { layout, only, fill }: RowOptions): string {
  const parts = columns.map((one) => {
    const { column, type, at } = one
    const name = JSON.stringify(column.name)
    if (only && !only.includes(one)) return `${name}:null`
    const from = isUnchanged(row, at) && fill ? fill : row
    const text = isUnchanged(from, at) ? null : textField(from, at)
    const json = text === null ? 'null' : type.toJson(text)
    if (json === null) {
      const where = `${nameOf(layout.relation)}.${column.name} (${column.type})`
      throw new RekeyError('LOG_VALUE', `a value of ${where} has no exact form in Debezium's records`)
    }
    return `${name}:${json}`
  })
  return `{${parts.join(',')}}`
}
