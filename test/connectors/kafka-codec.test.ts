import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { assemble } from '../../connectors/kafka/assemble.ts'
import { encoder } from '../../connectors/kafka/encode.ts'
import { epochOf, formatHeader, type Header, headerReader, parseHeader } from '../../connectors/kafka/header.ts'
import { type NewRecord, type StoredRecord, Unreadable } from '../../connectors/kafka/record.ts'
import type { Change, Transaction } from '../../src/core/change.ts'
import { RekeyError } from '../../src/core/errors.ts'
import { nameOf, type Relation } from '../../src/core/relation.ts'
import { valuesOf } from '../../src/core/row.ts'
import { deleteOf, insertOf, relation, transaction, truncateOf, updateOf } from '../support/core-literals.ts'

const EPOCH = epochOf({ systemId: '7291882139874123777', timeline: 3, pipeline: 'rekey' })
const people = relation('people', ['id', 'name', 'bio'])
const notes: Relation = { ...relation('no"tes', ['a;b', 'ü,%', 'c'], ['a;b', 'ü,%']), schema: 'Über' }
const full: Relation = { ...relation('full', ['x', 'y'], ['x', 'y']), identity: 'f' }
const known = new Map([people, notes, full].map((one) => [nameOf(one), one]))

const encode = (partBytes = 1 << 20) => encoder({
  name: 'src', database: 'app', version: '1.2.3', epoch: EPOCH, primaryKey: (r) => (r === full ? ['x'] : []), partBytes, now: () => 1_700_000_000_123,
})

let offset = 0
const stored = ({ key, value, headers }: NewRecord): StoredRecord => ({ key, value, headers: { rekey: Buffer.from(headers.rekey) }, offset: String(offset++) })
const reader = (more: Partial<Parameters<typeof assemble>[0]> = {}) => assemble({ start: { commitLsn: 0n, endLsn: 1n }, epoch: EPOCH, number: 7, relations: known, ...more })

/** Records of consecutive transactions, each saying from where on nothing is missing. */
function recordsOf(transactions: readonly Transaction[], partBytes?: number): NewRecord[] {
  const write = encode(partBytes)
  let from = 1n
  return transactions.flatMap((t) => {
    const records = write(t, from)
    if (t.last) from = t.endLsn
    return records
  })
}

const plain = (t: Transaction): unknown => ({
  ...t, bytes: 0,
  changes: t.changes.map((c: Change) => ({ ...c, relation: nameOf(c.relation), row: c.row && valuesOf(c.row), old: c.old && valuesOf(c.old) })),
})

/** Fragments of one transaction as one. */
function joined(transactions: readonly Transaction[]): Transaction[] {
  const out: Transaction[] = []
  for (const t of transactions) {
    const open = out.at(-1)
    if (open && !open.last) out[out.length - 1] = { ...t, first: open.first, changes: [...open.changes, ...t.changes], messages: [...open.messages, ...t.messages] }
    else out.push(t)
  }
  return out
}

const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 12 }), fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom('', 'null', '\\N', '\\', '"', '\v', '\t\n\r\b\f', '\u0001\u001f\u007f', '{"a":[1,"x\\"y"]}', '\u2028', '😀', 'a'.repeat(5_000)))
  .filter((t) => !t.includes('\0') && Buffer.from(t).toString() === t)
const sent = fc.oneof({ weight: 5, arbitrary: text }, { weight: 1, arbitrary: fc.constant(null) })
const row = (r: Relation) => fc.tuple(...r.columns.map((c) => (c.key ? text : sent)))
const keyOnly = (r: Relation) => fc.tuple(...r.columns.map((c) => (c.key ? text : fc.constant(null))))
const partly = (r: Relation) => fc.tuple(...r.columns.map((c) => (c.key ? text : fc.oneof(sent, fc.constant(undefined)))))
const change: fc.Arbitrary<Change> = fc.constantFrom(people, notes, full).chain((r) => {
  const isFull = r.identity === 'f'
  const old = isFull ? row(r) : keyOnly(r)
  return fc.oneof(
    row(r).map((values) => insertOf(r, values)),
    fc.tuple(partly(r), fc.option(old)).map(([values, before]) => updateOf(r, values, before, isFull && before !== null)),
    old.map((before) => deleteOf(r, before, isFull)),
    fc.constant(truncateOf(r)),
  )
})
const history = fc.array(fc.record({ changes: fc.array(change, { maxLength: 6 }), messages: fc.array(fc.constantFrom('heartbeat', 'ü "x"'), { maxLength: 2 }) }), { maxLength: 8 })
  .map((list) => list.map(({ changes, messages }, i) => transaction(changes, {
    messages, epoch: 7, xid: 100 + i, commitLsn: BigInt(i * 1_000 + 500), endLsn: BigInt(i * 1_000 + 540), commitMicros: 1_600_000_000_000_000 + i,
  })))

describe('transactions through records', () => {
  test('come back as they were', () => {
    fc.assert(fc.property(history, fc.constantFrom(1 << 20, 300), (transactions, partBytes) => {
      const read = reader()
      for (const record of recordsOf(transactions, partBytes)) read.add(stored(record))
      expect(joined(read.take()).map(plain)).toEqual(transactions.map(plain))
      expect(read.gap()).toBeNull()
    }))
  })

  test('come back once and whole, whatever a producer that crashed repeats', () => {
    fc.assert(fc.property(history, fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 4 }), (transactions, crashes) => {
      const write = (from: number): NewRecord[] => transactions.slice(from).flatMap((t, i) => encode(300)(t, from + i === 0 ? 1n : transactions[from + i - 1].endLsn))
      const read = reader({ fragmentChanges: 2 })
      let certain = 0
      for (const [some, back] of crashes) {
        // It comes some records far; the next begins at a transaction that is certain not to be behind what is there.
        const records = write(certain)
        for (const record of records.slice(0, some % (records.length + 1))) read.add(stored(record))
        const complete = transactions.findIndex((t) => t.commitLsn > read.place().commitLsn)
        certain = Math.max(0, (complete === -1 ? transactions.length : complete) - (back % 3))
      }
      for (const record of write(certain)) read.add(stored(record))
      const joinedUp = joined(read.take()).map(plain) as { messages: string[] }[]
      // A message may come twice: it has no ordinal of its own.
      const once = joinedUp.map((t, i) => ({ ...t, messages: transactions[i].messages.every((m) => t.messages.includes(m)) ? transactions[i].messages : t.messages }))
      expect(once).toEqual(transactions.map(plain))
      expect(read.gap()).toBeNull()
    }))
  })

  test('a record that is left out is noticed, and nothing behind it comes out of order', () => {
    fc.assert(fc.property(history.filter((list) => list.length > 1), fc.nat(), (transactions, n) => {
      const records = recordsOf(transactions)
      const at = n % (records.length - 1)
      const lost = parseHeader(records[at].headers.rekey)
      // One of several messages is no loss that ordinals tell.
      fc.pre(records[at].value.toString().startsWith('{"before"') || lost.last)
      const read = reader()
      for (const [i, record] of records.entries()) if (i !== at) read.add(stored(record))
      expect(read.gap()).not.toBeNull()
      const complete = transactions.slice(0, transactions.findIndex((t) => lost.tx.startsWith(`${t.xid}:`)))
      expect(joined(read.take()).filter((t) => t.last).map(plain)).toEqual(complete.map(plain))
    }))
  })

  test('one history only', () => {
    const [record] = recordsOf([transaction([insertOf(people, ['1', 'a', null])])])
    const other = reader({ epoch: epochOf({ systemId: '7291882139874123777', timeline: 4, pipeline: 'rekey' }) })
    expect(() => other.add(stored(record))).toThrowError(expect.objectContaining({ code: 'TIMELINE' }) as RekeyError)
  })

  test('a large transaction comes as fragments', () => {
    const changes = Array.from({ length: 10 }, (_, i) => insertOf(people, [String(i), 'n', null]))
    const read = reader({ fragmentChanges: 4 })
    for (const record of recordsOf([transaction(changes)])) read.add(stored(record))
    expect(read.take().map((t) => [t.first, t.changes.length, t.last, t.endLsn])).toEqual([[0, 4, false, 0n], [4, 4, false, 0n], [8, 2, true, 11n]])
  })
})

describe('a record is as Debezium writes it', () => {
  const at = { xid: 77, commitLsn: 0x16_b374d848n, endLsn: 0x16_b374d880n, commitMicros: 1_600_000_000_123_456 }
  const source = `"source":{"version":"rekey/1.2.3","connector":"postgresql","name":"src","ts_ms":1600000000123,"snapshot":"false","db":"app",` +
    `"sequence":"[\\"97500059720\\",\\"97500059720\\"]","ts_us":1600000000123456,"ts_ns":1600000000123456000,"schema":"public","table":"people","txId":77,"lsn":97500059720}`
  const times = '"ts_ms":1700000000123,"ts_us":1700000000123000,"ts_ns":1700000000123000000'

  test.each<[string, Change, string | null, string, string]>([
    ['insert', insertOf(people, ['1', 'Ä "x"\n', null]), '{"id":"1"}', '{"before":null,"after":{"id":"1","name":"Ä \\"x\\"\\n","bio":null},', 'c'],
    ['update', updateOf(people, ['1', 'b', undefined]), '{"id":"1"}', '{"before":null,"after":{"id":"1","name":"b"},', 'u'],
    ['key change', updateOf(people, ['2', 'b', 'c'], ['1', null, null]), '{"id":"2"}', '{"before":{"id":"1"},"after":{"id":"2","name":"b","bio":"c"},', 'u'],
    ['delete', deleteOf(people, ['1', null, null]), '{"id":"1"}', '{"before":{"id":"1"},"after":null,', 'd'],
    ['truncate', truncateOf(people), null, '{"before":null,"after":null,', 't'],
  ])('%s', (_, one, key, rows, op) => {
    const [record] = encode()(transaction([one], at), 0x16_b374d000n)
    expect(record.key?.toString() ?? null).toBe(key)
    expect(record.value.toString()).toBe(`${rows}${source},"transaction":null,"op":"${op}",${times}}`)
    expect(JSON.parse(record.value.toString())).toBeTypeOf('object')
    const before = one.op === 'delete' || one.old ? 'k' : ''
    const absent = op === 'u' && one.old === null ? 'bio' : ''
    expect(record.headers.rekey).toBe(`${EPOCH};77:16/B374D848;0;1;${absent};16/B374D000;16/B374D880;${Buffer.byteLength(rows) + 9};${before};`)
  })

  test('a message, and a transaction that only moves the position', () => {
    const [beat] = encode()(transaction([], { ...at, messages: ['heartbeat'] }), 1n)
    expect(JSON.parse(beat.value.toString())).toMatchObject({ op: 'm', source: { schema: '', table: '' }, message: { prefix: 'rekey', content: 'aGVhcnRiZWF0' } })
    const [silent] = encode()(transaction([], at), 1n)
    expect(JSON.parse(silent.value.toString())).toMatchObject({ op: 'm', message: { prefix: 'rekey', content: '' } })
  })

  test('the key of a table with REPLICA IDENTITY FULL is its primary key', () => {
    const [record] = encode()(transaction([deleteOf(full, ['1', '2'], true)], at), 1n)
    expect([record.key?.toString(), record.value.toString().slice(0, 36)]).toEqual(['{"x":"1"}', '{"before":{"x":"1","y":"2"},"after":'])
  })

  test('what is no text is refused, and its value is not told', () => {
    const bad = insertOf(people, ['1', 'x', 'y'])
    bad.row!.buf[bad.row!.ends[bad.row!.at + 2] - 1] = 0xff
    expect(() => encode()(transaction([bad], at), 1n)).toThrowError(expect.objectContaining({ code: 'ENCODING', message: 'a value of public.people.name is not valid UTF-8' }) as RekeyError)
    bad.row!.buf[bad.row!.ends[bad.row!.at + 2] - 1] = 0
    expect(() => encode()(transaction([bad], at), 1n)).toThrowError(expect.objectContaining({ code: 'ENCODING' }) as RekeyError)
  })
})

describe('what is not as expected', () => {
  test('a table with other columns than it is known with keeps them', () => {
    const changed = relation('people', ['id', 'name', 'added'])
    const read = reader()
    for (const record of recordsOf([transaction([insertOf(changed, ['1', 'a', 'b']), updateOf(changed, ['1', 'a', undefined], ['2', null, null]), deleteOf(changed, ['3', null, null])])])) read.add(stored(record))
    const [{ changes }] = read.take()
    expect(changes.map((c) => c.relation.columns.map((column) => column.name))).toEqual([['id', 'name', 'added'], ['id', 'name', 'added'], ['id', 'name', 'added']])
    expect(changes.map((c) => [c.row && valuesOf(c.row), c.old && valuesOf(c.old)])).toEqual([[['1', 'a', 'b'], null], [['1', 'a', undefined], ['2', null, null]], [null, ['3', null, null]]])
    expect(changes[0].relation.columns[0].key).toBe(true)
  })

  test.each<[string, Partial<StoredRecord>]>([
    ['no header', { headers: {} }], ['no value', { value: null }], ['an empty value', { value: Buffer.alloc(0) }], ['text', { value: Buffer.from('hello') }],
    ['other JSON', { value: Buffer.from('{"before":1}') }], ['a header of others', { headers: { rekey: Buffer.from('yes') } }],
    ['two headers', { headers: { rekey: [Buffer.from('a'), Buffer.from('b')] } }],
  ])('%s is unreadable', (_, more) => {
    const [record] = recordsOf([transaction([insertOf(people, ['1', 'a', 'b'])])])
    expect(() => reader().add({ ...stored(record), ...more })).toThrow(Unreadable)
  })

  test('any damage to a record is noticed as such, or leaves something that is a row', () => {
    const [record] = recordsOf([transaction([updateOf(notes, ['1', 'a\t"', 'ü'.repeat(20)], ['2', 'x', null])])])
    fc.assert(fc.property(fc.nat(record.value.length - 1), fc.nat(255), fc.constantFrom('set', 'cut', 'drop'), (at, byte, how) => {
      const value = Buffer.from(record.value)
      value[at] = byte
      const damaged = how === 'set' ? value : how === 'cut' ? value.subarray(0, at) : Buffer.concat([value.subarray(0, at), value.subarray(at + 1)])
      const read = reader()
      try {
        read.add(stored({ ...record, value: damaged }))
      } catch (error) {
        expect(error).toBeInstanceOf(Unreadable)
        expect(read.take()).toEqual([])
        return
      }
      for (const { row: one, old, relation: of } of read.take().flatMap((t) => t.changes)) {
        for (const given of [one, old]) if (given) expect(valuesOf(given)).toHaveLength(of.columns.length)
      }
    }), { numRuns: 2_000 })
  })
})

test('headers that are read one after the other are what each of them says', () => {
  const text = fc.string({ maxLength: 12 }).map((of) => of.replace(/[^ -:<-~]/g, ''))
  const header: fc.Arbitrary<Header> = fc.record({
    epoch: fc.constantFrom('1.abc', '1.abcd', ''), tx: fc.constantFrom('7:0/1', '7:0/11', '8:0/1'), seq: fc.nat(), last: fc.boolean(), absent: text, from: text, end: text,
    source: fc.nat(), before: fc.constantFrom('', 'k', 'f'), part: text, alone: fc.boolean(),
  })
  fc.assert(fc.property(fc.array(header, { maxLength: 20 }), (headers) => {
    const read = headerReader()
    expect(headers.map((one) => read(Buffer.from(formatHeader(one), 'latin1')))).toEqual(headers)
  }))
  for (const damaged of ['1.a;7:0/1;x;0;;;;9;;', '1.a;7:0/1;1;2;;;;9;;', '1.a;7:0/1;1;0;;;;;;', '1.a;7:0/1;1;0;;;;9;z;', '1.a;7:0/1;1;0;;;;9', '1.a', '']) {
    expect(() => parseHeader(damaged), damaged).toThrow(Unreadable)
  }
})
