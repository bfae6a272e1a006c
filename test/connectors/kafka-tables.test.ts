import { describe, expect, test } from 'vitest'
import type { TableRecord } from '../../connectors/kafka/record.ts'
import { leftOut, tableRecords } from '../../connectors/kafka/table-records.ts'
import { tableTopics } from '../../connectors/kafka/table-topics.ts'
import { wireType } from '../../connectors/kafka/wire-schema.ts'
import type { Change } from '../../src/core/change.ts'
import type { Relation } from '../../src/core/relation.ts'
import { catalog, table } from '../support/catalog-literals.ts'
import { deleteOf, insertOf, relation, transaction, truncateOf, updateOf } from '../support/core-literals.ts'

const enums = new Map([['public.mood', ['sad', 'ok']]])

describe('Debezium\'s wire type and value of', () => {
  test.each([
    ['smallint', 'int16', undefined, '-32768', '-32768'],
    ['integer', 'int32', undefined, '7', '7'],
    ['bigint', 'int64', undefined, '9223372036854775807', '9223372036854775807'],
    ['oid', 'int64', undefined, '4294967295', '4294967295'],
    ['real', 'float', undefined, '1e-45', '1e-45'],
    ['real', 'float', undefined, 'NaN', null],
    ['double precision', 'double', undefined, '-0', '-0'],
    ['double precision', 'double', undefined, '-Infinity', null],
    ['boolean', 'boolean', undefined, 't', 'true'],
    ['bytea', 'bytes', undefined, '\\x00ff5c', '"AP9c"'],
    ['text', 'string', undefined, 'a"b\\\n', '"a\\"b\\\\\\n"'],
    ['character varying(20)', 'string', undefined, 'x', '"x"'],
    ['character(8)', 'string', undefined, 'ab      ', '"ab      "'],
    ['extensions.citext', 'string', undefined, 'Ab', '"Ab"'],
    ['uuid', 'string', 'io.debezium.data.Uuid', 'a0eebc99', '"a0eebc99"'],
    ['json', 'string', 'io.debezium.data.Json', '{"b": 1e400}', '"{\\"b\\": 1e400}"'],
    ['xml', 'string', 'io.debezium.data.Xml', '<a/>', '"<a/>"'],
    ['public.ltree', 'string', 'io.debezium.data.Ltree', 'a.b', '"a.b"'],
    ['public.mood', 'string', 'io.debezium.data.Enum', 'sad', '"sad"'],
    ['date', 'int32', 'io.debezium.time.Date', '1969-12-31', '-1'],
    ['date', 'int32', 'io.debezium.time.Date', '0001-01-01', '-719162'],
    ['date', 'int32', 'io.debezium.time.Date', 'infinity', null],
    ['date', 'int32', 'io.debezium.time.Date', '0044-03-15 BC', null],
    ['time(3) without time zone', 'int32', 'io.debezium.time.Time', '12:34:56.789', '45296789'],
    ['time without time zone', 'int64', 'io.debezium.time.MicroTime', '24:00:00', '86400000000'],
    ['timestamp(3) without time zone', 'int64', 'io.debezium.time.Timestamp', '1969-12-31 23:59:59.999', '-1'],
    ['timestamp without time zone', 'int64', 'io.debezium.time.MicroTimestamp', '9999-12-31 23:59:59.999999', '253402300799999999'],
    ['timestamp without time zone', 'int64', 'io.debezium.time.MicroTimestamp', '-infinity', null],
    ['timestamp with time zone', 'string', 'io.debezium.time.ZonedTimestamp', '2024-01-01 12:00:00.5+00', '"2024-01-01T12:00:00.5Z"'],
    ['timestamp with time zone', 'string', 'io.debezium.time.ZonedTimestamp', '10000-01-01 00:00:00+00', null],
    ['interval', 'string', 'io.debezium.time.Interval', '1 year -2 mons +3 days -04:05:06.7', '"P1Y-2M3DT-04H-05M-06.7S"'],
    ['numeric(5,2)', 'bytes', 'org.apache.kafka.connect.data.Decimal', '-1.10', '"kg=="'],
    ['numeric(10,0)', 'bytes', 'org.apache.kafka.connect.data.Decimal', '128', '"AIA="'],
    ['numeric(5,-2)', 'bytes', 'org.apache.kafka.connect.data.Decimal', '12300', '"ew=="'],
    ['numeric(5,2)', 'bytes', 'org.apache.kafka.connect.data.Decimal', 'NaN', null],
    ['numeric', 'struct', 'io.debezium.data.VariableScaleDecimal', '1.100', '{"scale":3,"value":"BEw="}'],
    ['bit(1)', 'boolean', undefined, '1', 'true'],
    ['bit(9)', 'bytes', 'io.debezium.data.Bits', '100000011', '"AwE="'],
    ['integer[]', 'array', undefined, '{1,NULL,-3}', '[1,null,-3]'],
    ['text[]', 'array', undefined, '{"a,\\"b",NULL,"NULL",ü}', '["a,\\"b",null,"NULL","ü"]'],
    ['integer[]', 'array', undefined, '[2:3]={1,2}', null],
    ['integer[]', 'array', undefined, '{{1},{2}}', null],
  ] as const)('%s', (type, kind, name, value, json) => {
    const wire = wireType({ type }, enums)!
    expect([wire.schema.type, wire.schema.name, wire.toJson(value)]).toEqual([kind, name, json])
  })

  test.each(['money', 'time with time zone', 'bit varying(5)', 'public.hstore', 'point', 'numeric[]', 'public.pair', 'int4multirange'])(
    '%s is none', (type) => expect(wireType({ type }, enums)).toBeNull())
})

const oidLess = (of: Relation): Relation => ({ ...of, columns: of.columns.map((one) => ({ ...one, typeOid: 0 })) })
const people = oidLess(relation('people', ['id', 'name', 'bio']))
const full: Relation = { ...people, identity: 'f', columns: people.columns.map((one) => ({ ...one, key: true })) }
const source = catalog([table('people', { columns: { id: 'integer', name: 'text', bio: 'text null' } })])

function recordsOf(changes: readonly Change[], schemas: 'inline' | 'none' = 'none'): TableRecord[] {
  const write = tableRecords({ name: 'src', database: 'app', version: '1.2.3', catalog: source, schemas, limits: new Map([['src.public.people', 5_000]]), now: () => 1_700_000_000_123 })
  return write(transaction(changes, { xid: 77, commitLsn: 500n, endLsn: 540n, commitMicros: 1_600_000_000_123_456 }))
}

const brief = ({ topic, key, value, headers }: TableRecord): unknown => {
  const { before, after, op } = value === null ? {} as Record<string, unknown> : JSON.parse(value.toString())
  return [topic, key?.toString() ?? null, ...(value === null ? ['tombstone'] : [op, before, after]), ...Object.entries(headers).map(([name, of]) => `${name}=${of.toString()}`)]
}

test('two tables have two topics, or are refused', () => {
  const topics = (...tables: readonly (readonly [schema: string, table: string])[]) => tableTopics({ prefix: 'p', tables: tables.map(([schema, name]) => ({ schema, table: name })) })
  expect(topics(['a', 'b_c'], ['a_b', 'c'], ['a', 'b.d'], ['A', 'b_c'])).toEqual(['p.a.b_c', 'p.a_b.c', 'p.a.b.d', 'p.A.b_c'])
  for (const [one, other] of [[['a.b', 'c'], ['a', 'b.c']], [['s', 'a b'], ['s', 'a_b']], [['s', 'ä"'], ['s', '$%']]] as const) {
    expect(() => topics(one, other)).toThrow(expect.objectContaining({ code: 'CONFIG', message: expect.stringMatching(/would both go to topic p\./) }))
  }
})

describe('records of a table\'s topic', () => {
  test('say what Debezium\'s say', () => {
    const written = recordsOf([
      insertOf(people, ['1', 'a', null]), updateOf(people, ['1', 'b', undefined]), deleteOf(people, ['1', null, null]),
      updateOf(people, ['3', 'c', 'x'], ['2', null, null]), truncateOf(people)])
    expect(written.map(brief)).toEqual([
      ['src.public.people', '{"id":1}', 'c', null, { id: 1, name: 'a', bio: null }],
      ['src.public.people', '{"id":1}', 'u', null, { id: 1, name: 'b' }],
      ['src.public.people', '{"id":1}', 'd', { id: 1, name: null, bio: null }, null],
      ['src.public.people', '{"id":1}', 'tombstone'],
      ['src.public.people', '{"id":2}', 'd', { id: 2, name: null, bio: null }, null, '__debezium.newkey=Struct{id=3}'],
      ['src.public.people', '{"id":2}', 'tombstone'],
      ['src.public.people', '{"id":3}', 'c', null, { id: 3, name: 'c', bio: 'x' }, '__debezium.oldkey=Struct{id=2}'],
      ['src.public.people', null, 't', null, null],
    ])
  })

  test('take an unchanged value from an old row that is whole', () => {
    const old = ['1', 'a', 'long']
    expect(recordsOf([updateOf(full, ['1', 'b', undefined], old, true), updateOf(full, ['2', 'b', undefined], old, true)]).map(brief)).toEqual([
      ['src.public.people', '{"id":1}', 'u', { id: 1, name: 'a', bio: 'long' }, { id: 1, name: 'b', bio: 'long' }],
      ['src.public.people', '{"id":1}', 'd', { id: 1, name: 'a', bio: 'long' }, null, '__debezium.newkey=Struct{id=2}'],
      ['src.public.people', '{"id":1}', 'tombstone'],
      ['src.public.people', '{"id":2}', 'c', null, { id: 2, name: 'b', bio: 'long' }, '__debezium.oldkey=Struct{id=1}'],
    ])
  })

  test('carry their schema, without the columns that were not sent', () => {
    const [create, update] = recordsOf([insertOf(people, ['1', 'a', null]), updateOf(people, ['1', 'b', undefined])], 'inline')
      .map(({ key, value }) => ({ key: JSON.parse(String(key)), value: JSON.parse(String(value)) }))
    const parameters = (type: string, name: string) => ({ '__debezium.source.column.type': type, '__debezium.source.column.name': name })
    const id = { type: 'int32', parameters: parameters('INT4', 'id'), optional: false, field: 'id' }
    const name = { type: 'string', parameters: parameters('TEXT', 'name'), optional: true, field: 'name' }
    const bio = { type: 'string', parameters: parameters('TEXT', 'bio'), optional: true, field: 'bio' }
    expect(create.key).toEqual({ schema: { type: 'struct', fields: [id], optional: false, name: 'src.public.people.Key' }, payload: { id: 1 } })
    const { schema } = create.value
    expect([schema.name, schema.version, schema.optional]).toEqual(['src.public.people.Envelope', 2, false])
    expect(schema.fields.map((one: { field: string }) => one.field)).toEqual(['before', 'after', 'source', 'transaction', 'op', 'ts_ms', 'ts_us', 'ts_ns'])
    expect(schema.fields[1]).toEqual({ type: 'struct', fields: [id, name, bio], optional: true, name: 'src.public.people.Value', field: 'after' })
    expect(update.value.schema.fields[1].fields).toEqual([id, name])
    expect(create.value.payload.source).toMatchObject({ connector: 'postgresql', name: 'src', schema: 'public', table: 'people', txId: 77, lsn: 500 })
  })

  test('refuse what they cannot hold, and a table that is not as it was', () => {
    expect(() => recordsOf([insertOf(people, ['NaN', 'a', null])])).toThrow(expect.objectContaining({ code: 'LOG_VALUE' }))
    expect(() => recordsOf([updateOf(people, ['2', 'b', undefined], ['1', null, null])])).toThrow(expect.objectContaining({ code: 'LOG_VALUE' }))
    expect(() => recordsOf([insertOf(people, ['1', 'x'.repeat(5_000), null])])).toThrow(expect.objectContaining({ code: 'LOG_VALUE' }))
    const grown = { ...people, columns: [...people.columns, { name: 'more', typeOid: 0, key: false }] }
    expect(() => recordsOf([insertOf(grown, ['1', 'a', null, 'x'])])).toThrow(expect.objectContaining({ code: 'SCHEMA_CHANGED' }))
  })

  test('leave out columns of types that they have no exact form for', () => {
    const odd = catalog([table('odd', { columns: { id: 'integer', price: 'money', at: 'time with time zone' } })])
    expect(leftOut(odd, [{ schema: 'public', table: 'odd' }])).toEqual(['public.odd.price (money)', 'public.odd.at (time with time zone)'])
  })
})
