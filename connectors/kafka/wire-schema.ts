import type { CatalogColumn } from '../../src/core/catalog.ts'
import * as values from './wire-values.ts'
import type { ToJson } from './wire-values.ts'

/** A schema of Kafka Connect as JSON, without `optional` and `field`. */
export interface WireSchema {
  readonly type: string
  readonly name?: string
  readonly version?: number
  readonly parameters?: Readonly<Record<string, string>>
  readonly fields?: readonly object[]
  readonly items?: object
}

export interface WireType {
  readonly schema: WireSchema
  readonly toJson: ToJson
}

type Enums = ReadonlyMap<string, readonly string[]>

const named = (name: string, schema: Omit<WireSchema, 'name' | 'version'>, toJson: ToJson): WireType =>
  ({ schema: { ...schema, name, version: 1 }, toJson })
const string: WireType = { schema: { type: 'string' }, toJson: values.text }
const data = (name: string): WireType => named(`io.debezium.data.${name}`, { type: 'string' }, values.text)

/** By the name that format_type gives without its modifier. */
const SIMPLE: Readonly<Record<string, WireType>> = {
  'smallint': { schema: { type: 'int16' }, toJson: values.number },
  'integer': { schema: { type: 'int32' }, toJson: values.number },
  'bigint': { schema: { type: 'int64' }, toJson: values.number },
  'oid': { schema: { type: 'int64' }, toJson: values.number },
  'real': { schema: { type: 'float' }, toJson: values.float },
  'double precision': { schema: { type: 'double' }, toJson: values.float },
  'boolean': { schema: { type: 'boolean' }, toJson: values.boolean },
  'bytea': { schema: { type: 'bytes' }, toJson: values.bytes },
  'text': string, 'character varying': string, 'character': string, 'bpchar': string, 'name': string, '"char"': string,
  'inet': string, 'cidr': string, 'macaddr': string, 'macaddr8': string,
  'int4range': string, 'int8range': string, 'numrange': string, 'tsrange': string, 'tstzrange': string, 'daterange': string,
  'uuid': data('Uuid'), 'json': data('Json'), 'jsonb': data('Json'), 'xml': data('Xml'), 'tsvector': data('Tsvector'),
  'date': named('io.debezium.time.Date', { type: 'int32' }, values.date),
  'timestamp with time zone': named('io.debezium.time.ZonedTimestamp', { type: 'string' }, values.zonedTimestamp),
  'interval': named('io.debezium.time.Interval', { type: 'string' }, values.interval),
}

/** Types of extensions, whatever schema they are in. */
const EXTENSION: Readonly<Record<string, WireType>> = { citext: string, ltree: data('Ltree') }

const MODIFIER = /\((\d+)(?:,(-?\d+))?\)/

/**
 * Debezium's wire type of a column, exact for every value that it takes. Null for types that it has none for, or none that is exact: such
 * columns are left out, as Debezium does. (timetz would lose its zone, bit varying its length, hstore and money have no exact form.)
 */
export function wireType(column: Pick<CatalogColumn, 'type'>, enums: Enums): WireType | null {
  const { type } = column
  if (type.endsWith('[]')) {
    const element = wireType({ type: type.slice(0, -2) }, enums)
    if (!element || element.schema.type === 'struct') return null
    return { schema: { type: 'array', items: { ...element.schema, optional: true } }, toJson: values.array(element.toJson) }
  }
  const [, first, second] = MODIFIER.exec(type) ?? []
  const base = type.replace(MODIFIER, '')
  const precision = first === undefined ? null : Number(first)
  const simple = SIMPLE[base] ?? EXTENSION[base.slice(base.lastIndexOf('.') + 1)]
  if (simple) return simple
  const allowed = enums.get(type)
  if (allowed) return named('io.debezium.data.Enum', { type: 'string', parameters: { allowed: allowed.join(',') } }, values.text)
  return withModifier(base, precision, second === undefined ? 0 : Number(second))
}

function withModifier(base: string, precision: number | null, scale: number): WireType | null {
  const coarse = precision !== null && precision <= 3
  switch (base) {
    case 'numeric': {
      if (precision === null) return named('io.debezium.data.VariableScaleDecimal', { type: 'struct', fields: [
        { type: 'int32', optional: false, field: 'scale' }, { type: 'bytes', optional: false, field: 'value' }] }, values.variableDecimal)
      const parameters = { 'scale': String(scale), 'connect.decimal.precision': String(precision) }
      return named('org.apache.kafka.connect.data.Decimal', { type: 'bytes', parameters }, values.decimal(scale))
    }
    case 'time without time zone':
      return coarse ? named('io.debezium.time.Time', { type: 'int32' }, values.time(1_000))
        : named('io.debezium.time.MicroTime', { type: 'int64' }, values.time(1))
    case 'timestamp without time zone':
      return coarse ? named('io.debezium.time.Timestamp', { type: 'int64' }, values.timestamp(1_000))
        : named('io.debezium.time.MicroTimestamp', { type: 'int64' }, values.timestamp(1))
    case 'bit':
      return precision === null || precision === 1 ? { schema: { type: 'boolean' }, toJson: values.boolean }
        : named('io.debezium.data.Bits', { type: 'bytes', parameters: { length: String(precision) } }, values.bits)
    default:
      return null
  }
}

/** What a sink may choose its column types by: Debezium's `column.propagate.source.type`. */
export function sourceParameters(column: Pick<CatalogColumn, 'name' | 'type'>): Record<string, string> {
  const [, length, scale] = MODIFIER.exec(column.type) ?? []
  const base = column.type.replace(MODIFIER, '').replace(/^"?([^."]+)"?\./, '').replaceAll('"', '')
  const type = base.endsWith('[]') ? `_${internalName(base.slice(0, -2))}` : internalName(base)
  return {
    '__debezium.source.column.type': type.toUpperCase(), '__debezium.source.column.name': column.name,
    ...(length === undefined ? {} : { '__debezium.source.column.length': length }),
    ...(scale === undefined ? {} : { '__debezium.source.column.scale': scale }),
  }
}

/** Postgres's own name of a type that SQL spells otherwise. */
const INTERNAL: Readonly<Record<string, string>> = {
  'smallint': 'int2', 'integer': 'int4', 'bigint': 'int8', 'real': 'float4', 'double precision': 'float8', 'boolean': 'bool',
  'character varying': 'varchar', 'character': 'bpchar', 'time without time zone': 'time', 'timestamp without time zone': 'timestamp',
  'timestamp with time zone': 'timestamptz', 'time with time zone': 'timetz',
}

function internalName(type: string): string {
  return INTERNAL[type] ?? type
}
