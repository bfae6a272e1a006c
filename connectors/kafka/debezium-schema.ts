import { RekeyError } from '../../src/core/errors.ts'
import type { Column, Relation } from '../../src/core/relation.ts'
import * as values from './debezium-values.ts'
import type { FromJson } from './debezium-values.ts'

/** A field of a Connect schema, as far as it is looked at. */
export interface SchemaField {
  readonly type: string
  readonly field?: string
  readonly name?: string
  readonly optional?: boolean
  readonly default?: unknown
  readonly parameters?: Readonly<Record<string, string>>
  readonly fields?: readonly SchemaField[]
}

export interface ColumnReader {
  readonly read: FromJson
  /** What stands for an unchanged TOAST value. */
  readonly unavailable: string
  /** It may be null and has a default, which Connect's converter writes in its place unless it is told not to. */
  readonly ambiguous: boolean
}

/** Debezium's `unavailable.value.placeholder`. */
const UNAVAILABLE = '__debezium_unavailable_value'

/** Column types (pg_type.oid) that wire types do not tell apart. */
const BYTEA = 17, JSON_TYPE = 114, XID8 = 5069, JSONB = 3802, MONEY = 790, NUMERIC = 1700, BIT = 1560

/**
 * How the columns of a relation are read from rows of this schema. Throws RekeyError CONFIG that names the connector's setting, or the column
 * that such a connector cannot carry exactly.
 */
export function columnReaders(relation: Relation, row: SchemaField): Map<string, ColumnReader> {
  const fields = new Map((row.fields ?? []).map((one) => [one.field ?? '', one]))
  const readers = new Map<string, ColumnReader>()
  for (const column of relation.columns) {
    const where = `${relation.schema}.${relation.table}.${column.name}`
    const field = fields.get(column.name)
    if (!field) throw refused(where, 'the connector leaves it out: Debezium does not know its type, or a column filter is set')
    readers.set(column.name, { read: readerOf(where, column, field), ...marksOf(field) })
  }
  for (const [name, field] of fields) {
    if (!readers.has(name)) readers.set(name, { read: readerOf(name, { typeOid: 0 }, field), ...marksOf(field) })
  }
  return readers
}

function marksOf({ type, optional = false, default: inPlace }: SchemaField): Omit<ColumnReader, 'read'> {
  const unavailable = type === 'bytes' ? Buffer.from(UNAVAILABLE).toString('base64') : UNAVAILABLE
  return { unavailable, ambiguous: optional && inPlace !== undefined }
}

/** By the name of a schema; null: the setting that gives another one. */
const NAMED: Readonly<Record<string, FromJson | { readonly setting: string }>> = {
  'io.debezium.data.Uuid': values.asIs, 'io.debezium.data.Xml': values.asIs, 'io.debezium.data.Enum': values.asIs,
  'io.debezium.data.Ltree': values.asIs, 'io.debezium.data.Tsvector': values.asIs,
  'io.debezium.time.Date': values.date, 'io.debezium.time.Time': values.time(1_000n), 'io.debezium.time.MicroTime': values.time(1n),
  'io.debezium.time.Timestamp': values.timestamp(1_000n), 'io.debezium.time.MicroTimestamp': values.timestamp(1n),
  'io.debezium.time.ZonedTimestamp': values.zonedTimestamp, 'io.debezium.time.Interval': values.interval,
  'io.debezium.time.MicroDuration': { setting: 'interval.handling.mode=string' },
  'io.debezium.time.NanoDuration': { setting: 'interval.handling.mode=string' },
  'org.apache.kafka.connect.data.Decimal': { setting: 'decimal.handling.mode=string' },
  'io.debezium.data.VariableScaleDecimal': { setting: 'decimal.handling.mode=string' },
  'org.apache.kafka.connect.data.Date': { setting: 'time.precision.mode=adaptive' },
  'org.apache.kafka.connect.data.Time': { setting: 'time.precision.mode=adaptive' },
  'org.apache.kafka.connect.data.Timestamp': { setting: 'time.precision.mode=adaptive' },
}

const PLAIN: Readonly<Record<string, FromJson>> = {
  int16: values.integer, int32: values.integer, int64: values.integer, float: values.float, double: values.float, boolean: values.boolean,
  string: values.asIs, bytes: values.bytes,
}

function readerOf(where: string, { typeOid }: Pick<Column, 'typeOid'>, field: SchemaField): FromJson {
  const { type, name, parameters } = field
  if (name === 'io.debezium.data.Bits' && typeOid === BIT) return values.bits(Number(parameters?.['length']))
  if (name === 'io.debezium.data.Json' && (typeOid === JSON_TYPE || typeOid === JSONB)) return values.asIs
  const known = name === undefined ? undefined : NAMED[name]
  if (typeof known === 'function') return known
  if (known) throw refused(where, `the connector needs ${known.setting}`)
  if (name === undefined) {
    if (typeOid === NUMERIC && type !== 'string') throw refused(where, 'the connector needs decimal.handling.mode=string')
    if (typeOid === NUMERIC) return values.numeric
    if (typeOid === BYTEA && type !== 'bytes') throw refused(where, 'the connector needs binary.handling.mode=bytes')
    if (typeOid === BIT && type === 'boolean') return values.oneBit
    const plain = PLAIN[type]
    // Money is written with another number of digits, and unknown types as bytes of their text.
    if (plain && typeOid !== MONEY && typeOid !== XID8 && (type !== 'bytes' || typeOid === BYTEA)) return plain
  }
  throw refused(where, `Debezium's form of it (${name ?? type}) does not hold every value of its type exactly`)
}

function refused(where: string, why: string): RekeyError {
  return new RekeyError('CONFIG', `${where} cannot be taken from a Debezium connector's records: ${why}`, {
    hint: 'Correct the connector and let it write a new topic, or capture with `rekey run --role capture`.' })
}
