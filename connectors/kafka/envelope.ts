import type { CatalogColumn } from '../../src/core/catalog.ts'
import { sourceParameters, type WireSchema, type WireType } from './wire-schema.ts'

/** A column of a per-table topic. */
export interface WireColumn {
  readonly column: Pick<CatalogColumn, 'name' | 'type'>
  readonly type: WireType
  /** Its place in the rows. */
  readonly at: number
}

type Field = WireSchema & { readonly optional: boolean; readonly field?: string; readonly default?: string }

const field = (name: string, type: string, optional = true): Field => ({ type, optional, field: name })

/** io.debezium.connector.postgresql.Source, as source-block.ts fills it. */
const SOURCE: Field = {
  type: 'struct', optional: false, name: 'io.debezium.connector.postgresql.Source', version: 1, field: 'source',
  fields: [
    field('version', 'string', false), field('connector', 'string', false), field('name', 'string', false), field('ts_ms', 'int64', false),
    {
      type: 'string', optional: true, name: 'io.debezium.data.Enum', version: 1, default: 'false', field: 'snapshot',
      parameters: { allowed: 'true,first,first_in_data_collection,last_in_data_collection,last,false,incremental' },
    },
    field('db', 'string', false), field('sequence', 'string'), field('ts_us', 'int64'), field('ts_ns', 'int64'),
    field('schema', 'string', false), field('table', 'string', false), field('txId', 'int64'), field('lsn', 'int64'),
  ],
}

const TRANSACTION: Field = {
  type: 'struct', optional: true, name: 'event.block', version: 1, field: 'transaction',
  fields: [field('id', 'string', false), field('total_order', 'int64', false), field('data_collection_order', 'int64', false)],
}

function columnField({ column, type }: WireColumn, optional: boolean): Field {
  const { schema } = type
  return { ...schema, parameters: { ...schema.parameters, ...sourceParameters(column) }, optional, field: column.name }
}

/** Schema of a topic's keys (SchemaNameAdjuster and TableSchemaBuilder of Debezium). */
export function keySchema(topic: string, columns: readonly WireColumn[]): object {
  return { type: 'struct', fields: columns.map((one) => columnField(one, false)), optional: false, name: `${topic}.Key` }
}

/**
 * Schema of a topic's values, with these columns. All but those of the key may be null, whatever the table says: what is known of an old row
 * is often its key alone.
 */
export function envelopeSchema(topic: string, columns: readonly WireColumn[], key: ReadonlySet<string>): object {
  const fields = columns.map((one) => columnField(one, !key.has(one.column.name)))
  const row = (name: string): Field => ({ type: 'struct', fields, optional: true, name: `${topic}.Value`, field: name })
  return {
    type: 'struct',
    fields: [row('before'), row('after'), SOURCE, TRANSACTION, field('op', 'string', false), field('ts_ms', 'int64'), field('ts_us', 'int64'),
      field('ts_ns', 'int64')],
    optional: false, name: `${topic}.Envelope`, version: 2,
  }
}
