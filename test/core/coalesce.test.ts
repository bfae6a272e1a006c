import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Change } from '../../src/core/change.ts'
import { add, combine, emptyNet, insertsOf, isWhole, keyOf, movesKey, tally, type RelationNet } from '../../src/core/coalesce.ts'
import { gather, type Group, type Move } from '../../src/core/gather.ts'
import type { Program } from '../../src/core/program.ts'
import type { Relation } from '../../src/core/relation.ts'
import { rowOf, valuesOf, type Row } from '../../src/core/row.ts'
import { deleteOf, insertOf, programOf, relation, transaction, truncateOf, updateOf, type Values } from '../support/core-literals.ts'

const KEY = [0, 1]
/** Two shapes of one table: a Relation message can come again at any time. */
const shapes = [0, 1].map(() => relation('t', ['k', 'l', 'a', 'big'], ['k', 'l']))
type State = Map<string, Values>

const key = fc.constantFrom(...['1', '2', '3', 'a\tb', '\\'].map((k) => [k, 'x'] as const), ['1', ''] as const)
const text = fc.constantFrom('on', 'off', null, '', '\\N', 'ü\n')
const commands = fc.array(fc.record({
  kind: fc.constantFrom('insert', 'update', 'delete', 'move'), from: key, to: key, a: text, big: text,
  unsent: fc.boolean(), full: fc.boolean(), shape: fc.constantFrom(0, 0, 0, 1), cut: fc.boolean(),
}), { minLength: 1, maxLength: 60 })
type Command = typeof commands extends fc.Arbitrary<(infer C)[]> ? C : never

const nameOfKey = (values: Values): string => JSON.stringify(values.slice(0, 2))

/** The change that a source with these rows would send for a command; null when it cannot be done. The rows are changed. */
function act(c: Command, rows: State): Change | null {
  const shape = shapes[c.shape]
  const before = rows.get(nameOfKey(c.from))
  if (c.kind === 'insert') {
    if (before) return null
    rows.set(nameOfKey(c.from), [...c.from, c.a, c.big])
    return insertOf(shape, [...c.from, c.a, c.big])
  }
  if (!before) return null
  const old: Values = c.full ? before : [...c.from, null, null]
  if (c.kind === 'delete') {
    rows.delete(nameOfKey(c.from))
    return deleteOf(shape, old, c.full)
  }
  const to = c.kind === 'move' ? c.to : c.from
  const moves = nameOfKey(to) !== nameOfKey(c.from)
  if (moves && rows.has(nameOfKey(to))) return null
  rows.delete(nameOfKey(c.from))
  rows.set(nameOfKey(to), [...to, c.a, c.unsent ? before[3] : c.big])
  return updateOf(shape, [...to, c.a, c.unsent ? undefined : c.big], moves || c.full ? old : null, c.full)
}

function applyNet(net: RelationNet, rows: State): void {
  expect(net.inserts.length > 0 && net.keyed !== null).toBe(false)
  const whole = (row: Row): void => {
    expect(isWhole(row)).toBe(true)
    rows.set(nameOfKey(valuesOf(row)), valuesOf(row))
  }
  const fresh = (row: Row): void => {
    expect(rows.has(nameOfKey(valuesOf(row))), 'a new row is not there').toBe(false)
    whole(row)
  }
  net.inserts.forEach(fresh)
  for (const [raw, { kind, row }] of net.keyed ?? []) {
    expect(keyOf(row, KEY)).toBe(raw)
    if (kind === 'insert') fresh(row)
    else if (kind === 'delete') rows.delete(nameOfKey(valuesOf(row)))
    else if (kind === 'replace' || isWhole(row)) whole(row)
    else patch(valuesOf(row), valuesOf(row), rows)
  }
}

function patch(old: Values, row: Values, rows: State): void {
  const before = rows.get(nameOfKey(old))
  expect(before, 'a row that is changed in part is there').toBeDefined()
  rows.delete(nameOfKey(old))
  rows.set(nameOfKey(row), row.map((value, i) => (value === undefined ? before![i] : value)))
}

function applyMoves(moves: readonly Move[], rows: State): void {
  const keys = moves.flatMap((m) => [keyOf(m.old, KEY), keyOf(m.row, KEY)])
  expect(new Set(keys).size, 'no key occurs twice in a run').toBe(keys.length)
  for (const m of moves) patch(valuesOf(m.old), valuesOf(m.row), rows)
}

function applyGroups(groups: readonly Group[], rows: State): void {
  for (const { nets, moves } of groups) {
    expect(nets.size > 0 && moves.length > 0).toBe(false)
    expect(new Set([...nets.keys()].map((r) => r.oid)).size).toBe(nets.size)
    for (const net of nets.values()) applyNet(net, rows)
    applyMoves(moves, rows)
  }
}

/** A program a shape. */
function programs(rule: Partial<Program['rule']> = {}): (of: Relation) => Program {
  const made = new Map(shapes.map((shape) => [shape, programOf(shape, rule)]))
  return (of) => made.get(of)!
}

/** The changes in transactions, cut where the commands say so. */
function transactionsOf(list: readonly Command[], rows: State) {
  const cuts: Change[][] = [[]]
  for (const command of list) {
    const change = act(command, rows)
    if (change) cuts.at(-1)!.push(change)
    if (command.cut) cuts.push([])
  }
  return cuts.map((changes) => transaction(changes))
}

const started = (): State => new Map([['1', 'x'], ['2', 'x']].map((k) => [JSON.stringify(k), [...k, 'on', 'was there']]))

describe('gathered changes', () => {
  it('do to a table what the changes did one by one', () => {
    const plain = programs()
    fc.assert(fc.property(commands, (list) => {
      const source = started()
      const destination = started()
      const transactions = transactionsOf(list, source)
      const gathered = gather(transactions, plain, new Map())
      applyGroups(gathered.groups, destination)
      expect(destination).toEqual(source)
      const all = transactions.flatMap((t) => t.changes)
      expect([gathered.rows, gathered.inserts]).toEqual([all.length, all.filter((c) => c.op === 'insert').length])
    }), { numRuns: 400 })
  })

  it('carry the rows that pass a filter, and take back those that no longer do', () => {
    const filtering = programs({ where: [{ column: 'a', test: 'in', values: ['on', ''] }] })
    const passing = (rows: State): State => new Map([...rows].filter(([, row]) => row[2] === 'on' || row[2] === ''))
    fc.assert(fc.property(commands, (list) => {
      const source = started()
      const destination = passing(started())
      // A row that enters by a change of its key, or with values that were not sent, is read from the source: not the matter of a set.
      const sent = list.filter((c) => c.kind !== 'move').map((c) => ({ ...c, unsent: false }))
      applyGroups(gather(transactionsOf(sent, source), filtering, new Map()).groups, destination)
      expect(destination).toEqual(passing(source))
    }), { numRuns: 300 })
  })

  it('without a key are a multiset', () => {
    const keyless = programs({ keyed: false })
    const row = fc.tuple(fc.constantFrom('1', '2'), fc.constant('x'), fc.constantFrom('on', null), fc.constantFrom('b', '\\N'))
    const step = fc.record({ kind: fc.constantFrom('insert', 'update', 'delete'), old: row, row, unsent: fc.boolean() })
    const steps = fc.array(step, { maxLength: 40 })
    fc.assert(fc.property(steps, (list) => {
      const bag = new Map<string, number>()
      const bump = (values: Values, by: number) => bag.set(JSON.stringify(values), (bag.get(JSON.stringify(values)) ?? 0) + by)
      const changes = list.flatMap((s): Change[] => {
        if (s.kind !== 'insert' && !bag.get(JSON.stringify(s.old))) return []
        const next = s.unsent && s.kind === 'update' ? [...s.row.slice(0, 3), s.old[3]] : s.row
        if (s.kind !== 'insert') bump(s.old, -1)
        if (s.kind !== 'delete') bump(next, 1)
        if (s.kind === 'insert') return [insertOf(shapes[0], s.row)]
        if (s.kind === 'delete') return [deleteOf(shapes[0], s.old, true)]
        return [updateOf(shapes[0], s.unsent ? [...s.row.slice(0, 3), undefined] : s.row, s.old, true)]
      })
      const { groups } = gather([transaction(changes)], keyless, new Map())
      const counted = [...groups].flatMap((g) => [...g.nets.values()]).flatMap((net) => [...net.counted!.values()])
      const net = new Map(counted.map((c) => [JSON.stringify(valuesOf(c.row)), c.count]))
      const some = (counts: ReadonlyMap<string, number>) => new Map([...counts].filter(([, n]) => n !== 0))
      expect(some(net)).toEqual(some(bag))
    }), { numRuns: 300 })
  })
})

describe('sequences that cannot be', () => {
  const [shape] = shapes
  const from = (changes: readonly Change[], rule: Partial<Program['rule']> = {}) => () => gather([transaction(changes)], programs(rule),
    new Map())

  it('an update of a deleted row is refused', () => {
    const net = emptyNet(shape)
    expect(add(net, deleteOf(shape, ['1', 'x', null, null]), KEY)).toBe(true)
    expect(add(net, updateOf(shape, ['1', 'x', 'on', 'b']), KEY)).toBe(false)
    expect(from([deleteOf(shape, ['1', 'x', null, null]), updateOf(shape, ['1', 'x', 'on', 'b'])]))
      .toThrow(expect.objectContaining({ code: 'INTERNAL' }))
  })

  it('a table without a key has to send its old rows whole', () => {
    expect(tally(emptyNet(shape), deleteOf(shape, ['1', 'x', null, null]))).toBe(false)
    expect(tally(emptyNet(shape), updateOf(shape, ['1', 'x', 'on', 'b']))).toBe(false)
    expect(from([deleteOf(shape, ['1', 'x', null, null])], { keyed: false }))
      .toThrow(expect.objectContaining({ code: 'NO_KEY' }))
  })

  it('a truncate is refused, ignored or stands between sets', () => {
    const changes = [insertOf(shape, ['1', 'x', 'on', 'b']), truncateOf(shape), truncateOf(shape), insertOf(shape, ['1', 'x', 'off', 'c'])]
    expect(from(changes, { truncate: 'refuse' })).toThrow(expect.objectContaining({ code: 'TRUNCATE' }))
    expect(from(changes.slice(0, 3), { truncate: 'ignore' })().groups.map((g) => [g.nets.size, g.truncated.length])).toEqual([[1, 0]])
    expect(from(changes, { truncate: 'owned' })().groups.map((g) => [g.nets.size, g.truncated.length])).toEqual([[1, 0], [0, 2], [1, 0]])
  })

  it('a filter on a column that is gone stops', () => {
    const where = [{ column: 'gone', test: 'null', values: [] }] as const
    expect(from([insertOf(shape, ['1', 'x', 'on', 'b'])], { where })).toThrow(expect.objectContaining({ code: 'SCHEMA_CHANGED' }))
  })
})

describe('changes that are not carried', () => {
  const [shape] = shapes
  const changes = [insertOf(shape, ['1', 'x', 'on', 'b'])]

  it('are those that the copy holds already', () => {
    const at = (commitLsn: bigint, since: bigint) => gather([transaction(changes, { commitLsn })], programs(),
      new Map([['public.t', since]])).rows
    expect([at(9n, 10n), at(10n, 10n), at(11n, 10n), at(0n, 10n)]).toEqual([0, 1, 1, 1])
  })

  it.each(['skip', 'assert'] as const)('are those of a table to %s', (verdict) => {
    expect(gather([transaction([...changes, truncateOf(shape)])], programs({ verdict }), new Map()))
      .toMatchObject({ rows: 0, inserts: 0 })
  })
})

describe('rows', () => {
  it('combine: the newer value, or the older where it was not sent', () => {
    expect(valuesOf(combine(rowOf(['1', null, 'a']), rowOf(['2', undefined, undefined])))).toEqual(['2', null, 'a'])
    expect(valuesOf(combine(rowOf(['1', undefined]), rowOf(['2', undefined])))).toEqual(['2', undefined])
    const newer = rowOf(['2', null])
    expect(combine(rowOf(['1', 'a']), newer)).toBe(newer)
  })

  it('keys are equal exactly when all their values are', () => {
    const some = fc.tuple(fc.constantFrom('a', 'a\tb', '', '\\', 'b'), fc.constantFrom('a', 'b', 'b\t', '', '\\t'))
    fc.assert(fc.property(some, some, (a, b) => (keyOf(rowOf(a), [0, 1]) === keyOf(rowOf(b), [0, 1])) === (a[0] === b[0] && a[1] === b[1])))
  })

  it('a change moves its key only when the key differs, not when the old row was sent for another reason', () => {
    const [shape] = shapes
    expect(movesKey(updateOf(shape, ['1', 'x', 'on', 'b'], ['1', 'x', 'off', 'b'], true), KEY)).toBe(false)
    expect(movesKey(updateOf(shape, ['1', 'y', 'on', 'b'], ['1', 'x', null, null]), KEY)).toBe(true)
    expect(movesKey(updateOf(shape, ['1', 'x', 'on', 'b']), KEY)).toBe(false)
    expect(insertsOf(shape, [rowOf(['1'])]).inserts).toHaveLength(1)
  })
})
