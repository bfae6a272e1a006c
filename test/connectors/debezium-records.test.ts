import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { debeziumAssemble, type DebeziumAssembleOptions } from '../../connectors/kafka/debezium-assemble.ts'
import { type StoredRecord, Unreadable } from '../../connectors/kafka/record.ts'
import type { Relation } from '../../src/core/relation.ts'
import { valuesOf } from '../../src/core/row.ts'
import { relation } from '../support/core-literals.ts'
import { NEEDED } from '../support/debezium.ts'

/** Records as a stock connector (3.6.3) with the settings of docs/debezium.md writes them, cut to what is looked at. */
const people: Relation = relation('people', ['id', 'name', 'bio'])
type Field = Readonly<Record<string, unknown>>
const text = (field: string): Field => ({ type: 'string', optional: true, field })
const FIELDS: readonly Field[] = [{ type: 'int64', optional: false, field: 'id' }, text('name'), text('bio')]
let offset = 0

function stored(schema: object, payload: unknown, headers: Record<string, string> = {}): StoredRecord {
  return { offset: String(offset++), key: null, value: Buffer.from(JSON.stringify({ schema, payload })), headers }
}
const boundary = (status: 'BEGIN' | 'END', xid: number, lsn: number, count: number | null = null): StoredRecord => stored(
  { type: 'struct', name: 'io.debezium.connector.common.TransactionMetadataValue' },
  { status, id: `${xid}:${lsn}`, event_count: count, data_collections: null, ts_ms: 5 })
const source = (lsn: number, from: number | null) => ({
  version: '3.6.3.Final', connector: 'postgresql', name: 'src', sequence: JSON.stringify([from === null ? null : String(from), String(lsn)]), ts_us: 7,
  schema: 'public', table: 'people', lsn })

interface At {
  readonly xid: number
  readonly order: number
  readonly lsn: number
  readonly from: number | null
}
interface Change {
  readonly before?: Field | null
  readonly after?: Field | null
  readonly headers?: Record<string, string>
  readonly fields?: readonly Field[]
  readonly transaction?: null
}
function change(op: string, { xid, order, lsn, from }: At, { before = null, after = null, headers, fields = FIELDS, transaction }: Change): StoredRecord {
  const row = (field: string) => ({ type: 'struct', optional: true, name: 'src.public.people.Value', field, fields })
  const within = transaction === null ? null : { id: `${xid}:${lsn}`, total_order: order, data_collection_order: order }
  return stored({ type: 'struct', name: 'src.public.people.Envelope', version: 2, fields: [row('before'), row('after')] },
    { before, after, source: source(lsn, from), transaction: within, op, ts_ms: 9 }, headers)
}
const message = (lsn: number, content: string): StoredRecord => stored({ type: 'struct', name: 'io.debezium.connector.postgresql.MessageValue' },
  { op: 'm', source: source(lsn, lsn), transaction: null, message: { prefix: 'rekey', content: Buffer.from(content).toString('base64') } })
const nobody = (id: number): Field => ({ id, name: 'n', bio: null })
const insert = (at: At): StoredRecord => change('c', at, { after: nobody(at.lsn) })

const reader = (more: Partial<DebeziumAssembleOptions> = {}) => debeziumAssemble({
  start: { commitLsn: 99n, endLsn: 100n }, number: 3, relations: new Map([['public.people', people]]), keepsNulls: false, maxBytes: 1 << 20, ...more })
function read(records: readonly StoredRecord[], more: Partial<DebeziumAssembleOptions> = {}) {
  const assembler = reader(more)
  for (const record of records) assembler.add(record)
  const transactions = assembler.take().map(({ xid, commitLsn, endLsn, changes, messages }) => ({
    xid, commitLsn, endLsn, messages,
    changes: changes.map(({ op, row, old, oldIsFull }) => [op, row && valuesOf(row), old && valuesOf(old), oldIsFull]) }))
  return { transactions, gap: assembler.gap(), place: assembler.place(), offset: assembler.offset() }
}
const one = [boundary('BEGIN', 7, 110), insert({ xid: 7, order: 1, lsn: 110, from: 100 }), insert({ xid: 7, order: 2, lsn: 120, from: 100 }),
  boundary('END', 7, 150, 2)]
const two = [boundary('BEGIN', 8, 150), insert({ xid: 8, order: 1, lsn: 150, from: 150 }), boundary('END', 8, 180, 1)]

describe('transactions of a Debezium connector', () => {
  test('are put together from BEGIN to END; heartbeats and tombstones are nothing', () => {
    const heartbeat = stored({ type: 'struct', name: 'io.debezium.connector.common.Heartbeat' }, { ts_ms: 1 })
    const deleted = [boundary('BEGIN', 8, 150), change('u', { xid: 8, order: 1, lsn: 150, from: 150 }, { after: { ...nobody(1), bio: '__debezium_unavailable_value' } }),
      change('d', { xid: 8, order: 2, lsn: 160, from: 150 }, { before: { id: 1, name: null, bio: null } }), { offset: '0', key: null, value: null },
      change('d', { xid: 8, order: 3, lsn: 170, from: 150 }, { before: { id: 2, name: null, bio: null }, headers: { '__debezium.newkey': 'x' } }),
      { offset: '0', key: null, value: null },
      change('c', { xid: 8, order: 4, lsn: 170, from: 150 }, { after: { ...nobody(3), bio: '__debezium_unavailable_value' }, headers: { '__debezium.oldkey': 'x' } }),
      change('t', { xid: 8, order: 5, lsn: 175, from: 150 }, {}), boundary('END', 8, 180, 5)]
    expect(read([...one, heartbeat, ...deleted, message(200, 'marker')])).toMatchObject({
      transactions: [
        { xid: 7, commitLsn: 149n, endLsn: 150n, changes: [['insert', ['110', 'n', null], null, false], ['insert', ['120', 'n', null], null, false]] },
        { xid: 8, commitLsn: 179n, endLsn: 180n, changes: [
          ['update', ['1', 'n', undefined], null, false], ['delete', null, ['1', null, null], false],
          ['update', ['3', 'n', undefined], ['2', null, null], false], ['truncate', null, null, false]] },
        { commitLsn: 200n, endLsn: 201n, messages: ['marker'], changes: [] },
      ],
      gap: null, offset: String(offset),
    })
  })

  test('come once, whatever a connector that was killed repeats', () => {
    const begun = one.slice(0, 2)
    const all = read([...begun, ...one, ...two, ...one, ...two.slice(0, 2), ...two]).transactions
    expect(all.map(({ xid, changes }) => [xid, changes.length])).toEqual([[7, 2], [8, 1]])
    expect(read([...one, ...two], { start: { commitLsn: 149n, endLsn: 150n } }).transactions.map(({ xid }) => xid)).toEqual([8])
  })

  test('are not made of what does not belong together', () => {
    expect(read([...one.slice(0, 2), one[3], ...two])).toMatchObject({ transactions: [], gap: { from: 100n, to: 150n } })
    expect(read([one[0], one[2], one[3]])).toMatchObject({ transactions: [], gap: { from: 100n } })
    // It counts anew, behind what it has written before.
    const anew = [...one.slice(0, 2), insert({ xid: 7, order: 1, lsn: 120, from: 100 }), boundary('END', 7, 150, 1)]
    expect(read(anew)).toMatchObject({ transactions: [], gap: { from: 100n, to: 150n } })
  })

  test('that are missing are noticed, and filled when they come', () => {
    expect(read(two)).toMatchObject({ transactions: [], gap: { from: 100n, to: 150n } })
    expect(read([...two, ...one, ...two])).toMatchObject({ transactions: [{ xid: 7 }, { xid: 8 }], gap: null })
  })

  test('keep their digits', () => {
    const large = one[1].value!.toString().replace('"id":110', '"id":9007199254740993')
    expect(read([one[0], { ...one[1], value: Buffer.from(large) }, one[2], one[3]]).transactions[0].changes[0][1]).toEqual(['9007199254740993', 'n', null])
  })
})

describe('a connector is refused', () => {
  const at: At = { xid: 7, order: 1, lsn: 110, from: 100 }
  const withField = (field: Field): StoredRecord => change('c', at, { after: nobody(1), fields: [FIELDS[0], field, FIELDS[2]] })
  const decimal = { type: 'bytes', name: 'org.apache.kafka.connect.data.Decimal', parameters: { scale: '2' }, field: 'name' }
  test.each([
    ['without schemas', { ...one[1], value: Buffer.from('{"before":null,"after":{"id":1}}') }, /value\.converter\.schemas\.enable=true/],
    ['that copies', change('r', at, { after: nobody(1) }), /snapshot\.mode=no_data/],
    ['without transactions', change('c', at, { after: nobody(1), transaction: null }), /provide\.transaction\.metadata=true/],
    ['with binary decimals', withField(decimal), /public\.people\.name .*decimal\.handling\.mode=string/],
    ['with approximate intervals', withField({ type: 'int64', name: 'io.debezium.time.MicroDuration', field: 'name' }), /interval\.handling\.mode=string/],
    ['with milliseconds', withField({ type: 'int64', name: 'org.apache.kafka.connect.data.Timestamp', field: 'name' }), /time\.precision\.mode=adaptive/],
    ['that takes the zone from a time', withField({ type: 'string', name: 'io.debezium.time.ZonedTime', field: 'name' }), /does not hold every value/],
    ['with arrays', withField({ type: 'array', field: 'name' }), /does not hold every value/],
    ['that leaves out a column', change('c', at, { after: nobody(1), fields: FIELDS.slice(0, 2) }), /public\.people\.bio .*leaves it out/],
    ['that writes defaults for nulls', withField({ ...text('name'), default: 'x' }), /replace\.null\.with\.default=false/],
  ] as const)('%s', (_, record, message) => {
    expect(() => read([record])).toThrow(expect.objectContaining({ code: 'CONFIG', message: expect.stringMatching(message) }))
  })

  test('that says it keeps nulls, and does not', () => {
    const fields = [FIELDS[0], { ...text('name'), default: 'x' }, FIELDS[2]]
    const deleted = (name: string | null) => change('d', at, { before: { id: 1, name, bio: null }, fields })
    expect(read([one[0], deleted(null), boundary('END', 7, 150, 1)], { keepsNulls: true }).transactions).toHaveLength(1)
    expect(() => read([deleted('x')], { keepsNulls: true })).toThrow(expect.objectContaining({ code: 'CONFIG' }))
  })

  test('whose transaction is larger than what may be held', () => {
    expect(() => read(one, { maxBytes: 600 })).toThrow(expect.objectContaining({ code: 'LOG_RECORD' }))
  })
})

test.each([['infinity', -2147472692], ['a year BC', -735160]])('a day that is %s is not made another one', (_, day) => {
  const fields = [FIELDS[0], { type: 'int32', name: 'io.debezium.time.Date', optional: true, field: 'name' }, FIELDS[2]]
  expect(() => read([change('c', { xid: 7, order: 1, lsn: 110, from: 100 }, { after: { id: 1, name: day, bio: null }, fields })])).toThrow(Unreadable)
})

test('the settings in docs/debezium.md are those that the tests use', () => {
  const docs = readFileSync(new URL('../../docs/debezium.md', import.meta.url), 'utf8')
  for (const [name, value] of Object.entries(NEEDED)) expect(docs).toContain(`\n${name}=${value}\n`)
})
