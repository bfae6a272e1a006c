import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { assemble } from '../../connectors/postgres-source/assemble.ts'
import { pgoutput } from '../../connectors/postgres-source/pgoutput.ts'
import { valuesOf } from '../../src/core/row.ts'
import type { Transaction } from '../../src/core/change.ts'
import {
  begin, commit, insert, message, relation, remove, truncate, update, type RelationShape, type Value,
} from '../support/pgoutput-bytes.ts'
import { random } from '../support/random.ts'

const T: RelationShape = { oid: 0xfffffff0, columns: [['id', 23, true], ['a', 25, false], ['b', 25, false]] }
const unlimited = { fragmentBytes: Number.MAX_SAFE_INTEGER, fragmentChanges: Number.MAX_SAFE_INTEGER }

/** Each message arrives in the same buffer, as from a socket, and the buffer is spoilt after it. */
function run(messages: readonly Buffer[], options: Partial<Parameters<typeof assemble>[0]> = {}): Transaction[] {
  const assembler = assemble({ epoch: 3, after: 0n, ...options })
  const decode = pgoutput(assembler)
  const receive = Buffer.alloc(Math.max(...messages.map((m) => m.length)) + 7)
  for (const one of messages) {
    one.copy(receive, 7)
    decode(receive, 7, 7 + one.length)
    receive.fill(0xee)
  }
  return assembler.take()
}

const inTransaction = (...messages: Buffer[]): Buffer[] => [begin(100n, 0n, 9), relation(T), ...messages, commit(100n, 108n)]
const changesOf = (...messages: Buffer[]) => run(inTransaction(...messages))[0].changes

describe('golden bytes', () => {
  it('begin, relation, insert, commit', () => {
    const hex = [
      '42' + '00000016b374d848' + '0002b0e0a1c3d400' + 'fffffffe',
      '52' + '00004001' + '7075626c696300' + '757365727300' + '64' + '0002' + '01' + '696400' + '00000017' + 'ffffffff' +
        '00' + '6e616d6500' + '00000019' + 'ffffffff',
      '49' + '00004001' + '4e' + '0002' + '74' + '00000002' + '3432' + '6e',
      '43' + '00' + '00000016b374d848' + '00000016b374d880' + '0002b0e0a1c3d400',
    ]
    const [tx] = run(hex.map((h) => Buffer.from(h, 'hex')))
    expect(tx).toMatchObject({
      epoch: 3, xid: 0xfffffffe, commitLsn: 0x16b374d848n, endLsn: 0x16b374d880n, first: 0, last: true,
      commitMicros: Number(0x2b0e0a1c3d400n) + 946_684_800_000_000,
    })
    expect(tx.changes[0].relation).toEqual({
      oid: 0x4001, schema: 'public', table: 'users', identity: 'd',
      columns: [{ name: 'id', typeOid: 23, typmod: -1, key: true }, { name: 'name', typeOid: 25, typmod: -1, key: false }],
    })
    expect(tx.changes[0]).toMatchObject({ op: 'insert', old: null, oldIsFull: false })
    expect(valuesOf(tx.changes[0].row!)).toEqual(['42', null])
  })

  it('an update without, with a key and with a full old row; unchanged values', () => {
    const [plain, key, full] = changesOf(
      update(T.oid, ['1', undefined, 'x']),
      update(T.oid, ['2', 'y', null], { kind: 'K', row: ['1', null, null] }),
      update(T.oid, ['2', 'y', null], { kind: 'O', row: ['2', 'old', ''] }))
    expect(plain).toMatchObject({ op: 'update', old: null, oldIsFull: false })
    expect(valuesOf(plain.row!)).toEqual(['1', undefined, 'x'])
    expect(key.oldIsFull).toBe(false)
    expect(valuesOf(key.old!)).toEqual(['1', null, null])
    expect(full.oldIsFull).toBe(true)
    expect(valuesOf(full.old!)).toEqual(['2', 'old', ''])
  })

  it('deletes and a truncate of two tables', () => {
    const other = { ...T, oid: 5, table: 'other' }
    const changes = changesOf(remove(T.oid, 'K', ['7', null, null]), remove(T.oid, 'O', ['7', 'a', 'b']), relation(other),
      truncate([T.oid, 5]))
    expect(changes.map((c) => [c.op, c.relation.table, c.oldIsFull])).toEqual(
      [['delete', 't', false], ['delete', 't', true], ['truncate', 't', false], ['truncate', 'other', false]])
    expect(valuesOf(changes[1].old!)).toEqual(['7', 'a', 'b'])
  })

  it('origin and type messages are read and ignored', () => {
    const origin = Buffer.concat([Buffer.from('O'), Buffer.alloc(8), Buffer.from('node\0')])
    const type = Buffer.concat([Buffer.from('Y'), Buffer.alloc(4), Buffer.from('public\0mood\0')])
    expect(changesOf(origin, type, insert(T.oid, ['1', 'a', 'b']))).toHaveLength(1)
  })

  it('a repeated description keeps the object, another shape makes a new one and earlier changes keep theirs', () => {
    const wider: RelationShape = { ...T, columns: [...T.columns, ['c', 25, false]] }
    const [a, b, c] = changesOf(insert(T.oid, ['1', '', '']), relation(T), insert(T.oid, ['2', '', '']), relation(wider),
      insert(T.oid, ['3', '', '', '']))
    expect(b.relation).toBe(a.relation)
    expect(c.relation).not.toBe(a.relation)
    expect([a.relation.columns.length, c.relation.columns.length]).toEqual([3, 4])
  })

  it.each([
    ['a relation that was not described', [begin(1n, 0n, 1), insert(77, ['1'])]],
    ['a binary column', inTransaction(Buffer.from('49fffffff04e000162000000010a', 'hex'))],
    ['a value that is cut off', inTransaction(insert(T.oid, ['1', 'abc', 'd']).subarray(0, -3))],
    ['bytes after the row', inTransaction(Buffer.concat([insert(T.oid, ['1', 'a', 'b']), Buffer.from([0])]))],
    ['an unknown message', [Buffer.from('S1234')]],
  ])('refuses %s', (_name, messages) => {
    expect(() => run(messages)).toThrow(expect.objectContaining({ code: 'INTERNAL' }))
  })
})

describe('any tuple', () => {
  const character = fc.oneof(fc.constantFrom('\\', '\t', '\n', '\r', '\b', '\f', '\v', '\\N', '\\U', 'ß', '漢', '🙂', '\u0001'), fc.string())
  const long = fc.tuple(character, fc.integer({ min: 1, max: 400 })).map(([s, n]) => s + 'x'.repeat(n) + s)
  const value: fc.Arbitrary<Value> = fc.oneof(
    fc.constantFrom<Value>(null, undefined, ''), fc.array(character).map((c) => c.join('')), long, fc.array(long).map((c) => c.join('\t')))

  it('comes out as it went in', () => {
    const { seed } = random()
    fc.assert(fc.property(fc.array(fc.array(value, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 6 }), (rows) => {
      const columns = (n: number): RelationShape => ({ oid: n,
        columns: Array.from({ length: n }, (_, i) => [`c${i}`, 25, false] as const) })
      const messages = rows.flatMap((row) => [relation(columns(row.length)), insert(row.length, row),
        update(row.length, row, { kind: 'O', row })])
      const [tx] = run([begin(1n, 0n, 1), ...messages, commit(1n, 2n)], unlimited)
      expect(tx.changes.map((c) => valuesOf(c.row!))).toEqual(rows.flatMap((row) => [row, row]))
      expect(tx.changes.flatMap((c) => (c.old ? [valuesOf(c.old)] : []))).toEqual(rows)
    }), { seed, numRuns: 300, verbose: true })
  })

  it('also when a value is larger than a block, between rows that are not', () => {
    const big = 'a\\b\n'.repeat(400_000)
    const rows = [['1', 'x', 'y'], ['2', big, 'z'.repeat(70_000)], ['3', null, undefined], ['4', big, big]] as Value[][]
    const all = run(inTransaction(...rows.map((row) => insert(T.oid, row))), unlimited)[0].changes
    expect(all.map((c) => valuesOf(c.row!))).toEqual(rows)
  })
})

describe('transactions', () => {
  const row = insert(T.oid, ['1', 'a', 'b'])

  it('large ones are given out in fragments that keep count', () => {
    const out = run(inTransaction(...Array.from({ length: 25 }, () => row)), { fragmentChanges: 10 })
    expect(out.map((t) => [t.first, t.changes.length, t.last, t.endLsn])).toEqual([[0, 10, false, 0n], [10, 10, false, 0n],
      [20, 5, true, 108n]])
    expect(new Set(out.map((t) => t.commitLsn))).toEqual(new Set([100n]))
    const other = { ...T, oid: 5, name: 'other' }
    const truncated = run([begin(100n, 0n, 9), relation(T), relation(other), row, truncate([T.oid, other.oid]), row, commit(100n, 108n)], { fragmentChanges: 2 })
    expect(truncated.map((t) => t.changes.map(({ op }) => op))).toEqual([['insert', 'truncate', 'truncate', 'insert'], []])
    const bySize = run(inTransaction(row, row, row), { fragmentBytes: 400 })
    expect(bySize.map((t) => t.changes.length)).toEqual([2, 1])
  })

  it('replays are dropped, rows and messages', () => {
    const out = run([...inTransaction(row, message(90n, 'x', { transactional: true })), begin(200n, 0n, 2), row, commit(200n, 208n)],
      { after: 100n })
    expect(out.map((t) => t.commitLsn)).toEqual([200n])
    expect(out[0].messages).toEqual([])
  })

  it('messages of ours: in their transaction, or as one of their own; others are not ours', () => {
    const out = run([
      message(50n, 'beat'), ...inTransaction(message(90n, 'mark', { transactional: true }), message(91n, 'no', { prefix: 'other' })),
      message(120n, 'late', { prefix: 'elsewhere' }),
    ])
    expect(out.map((t) => [t.commitLsn, t.endLsn, t.xid, t.messages])).toEqual([[49n, 50n, 0, ['beat']], [100n, 108n, 9, ['mark']]])
  })

  it('a message stays below the commit that begins where it ends', () => {
    const out = run([message(100n, 'beat'), ...inTransaction(row)])
    expect(out.map((t) => [t.commitLsn, t.endLsn])).toEqual([[99n, 100n], [100n, 108n]])
    expect(run([message(100n, 'beat'), ...inTransaction(row)], { after: 99n }).map((t) => t.commitLsn)).toEqual([100n])
  })

  it('empty ones move the position and are folded', () => {
    const empty = (at: bigint): Buffer[] => [begin(at, 0n, Number(at)), commit(at, at + 8n)]
    const out = run([...empty(10n), ...empty(20n), message(30n, 'beat'), ...empty(40n), ...empty(50n), begin(60n, 0n, 60), relation(T),
      row, commit(60n, 68n)])
    expect(out.map((t) => [t.commitLsn, t.endLsn])).toEqual([[20n, 28n], [29n, 30n], [50n, 58n], [60n, 68n]])
  })

  it('an address that the server has reached becomes an empty one below it, never inside a transaction or backward', () => {
    const assembler = assemble({ epoch: 1, after: 100n })
    const decode = pgoutput(assembler)
    const feed = (m: Buffer): void => decode(m, 0, m.length)
    assembler.reached(90n, 0)
    assembler.reached(101n, 0)
    expect(assembler.take()).toEqual([])
    assembler.reached(150n, 7)
    feed(begin(150n, 0n, 1))
    assembler.reached(400n, 0)
    feed(commit(150n, 158n))
    assembler.reached(151n, 0)
    const out = assembler.take()
    expect(out.map((t) => [t.commitLsn, t.endLsn])).toEqual([[150n, 158n]])
    expect(assembler.bytes()).toBe(0)
  })
})
