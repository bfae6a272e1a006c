import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ALONE, apart } from '../../src/core/alone.ts'
import type { Transaction } from '../../src/core/change.ts'
import { partitionFor } from '../../src/core/route.ts'
import { shareOut } from '../../src/core/share.ts'
import { LONGEST_MS, SHORTEST_MS, stayFor } from '../../src/core/stay.ts'
import { isCrowd, isFirst, turnOf } from '../../src/core/turns.ts'
import { random } from '../support/random.ts'

/** A table with a parent in itself and a unique value; the state of a database; one commit of the source: rows as they are afterwards. */
interface Node { readonly parent: number | null; readonly value: number }
type State = ReadonlyMap<number, Node>
interface Commit { readonly lsn: bigint; readonly rows: ReadonlyMap<number, Node | null> }

function isValid(state: State): boolean {
  const values = new Set([...state.values()].map((row) => row.value))
  return values.size === state.size && [...state.values()].every((row) => row.parent === null || state.has(row.parent))
}

function after(state: State, changes: Iterable<readonly [number, Node | null]>): Map<number, Node> {
  const next = new Map(state)
  for (const [id, row] of changes) {
    if (row === null) next.delete(id)
    else next.set(id, row)
  }
  return next
}

/** What the source may commit: anything that holds at its end. Values swap, circles close, rows go and come back. */
function history(proposals: readonly (readonly [number, Node | null])[][]): { commits: Commit[]; end: State } {
  let end: State = new Map()
  const commits: Commit[] = []
  for (const rows of proposals) {
    const next = after(end, rows)
    if (!isValid(next)) continue
    end = next
    commits.push({ lsn: BigInt(10 * (commits.length + 1)), rows: new Map(rows) })
  }
  return { commits, end }
}

const node = fc.record({ parent: fc.option(fc.nat(11)), value: fc.nat(15) })
const proposals = fc.array(fc.array(fc.tuple(fc.nat(11), fc.option(node, { freq: 3 })), { minLength: 1, maxLength: 4 }), { maxLength: 60 })

interface Lane {
  at: bigint
  readonly left: Commit[]
  seen: readonly bigint[] | null
}

/** Lanes that take turns by chance, each with batches of chance; a commit that the destination refuses changes nothing. */
function simulate(commits: readonly Commit[], partitions: number, chance: () => number): { state: State; gathered: number } {
  let state: State = new Map()
  let gathered = 0
  const last = commits.at(-1)!.lsn
  const lanes: Lane[] = Array.from({ length: partitions }, (_, k) => ({
    at: 0n, seen: null,
    left: commits.map((c) => ({ lsn: c.lsn, rows: new Map([...c.rows].filter(([id]) => partitionFor(String(id), partitions) === k)) })).filter((c) => c.rows.size > 0),
  }))
  const others = (lane: Lane): bigint[] => lanes.filter((one) => one !== lane).map((one) => one.at)
  const gather = (lane: Lane): void => {
    gathered++
    const to = [lane.left[0].lsn, ...lanes.map((one) => one.at)].reduce((a, b) => (a > b ? a : b))
    const due = lanes.flatMap((one) => one.left.filter((c) => c.lsn <= to)).sort((a, b) => Number(a.lsn - b.lsn))
    state = after(state, due.flatMap((c) => [...c.rows]))
    expect(isValid(state)).toBe(true)
    for (const one of lanes) {
      one.left.splice(0, one.left.filter((c) => c.lsn <= to).length)
      one.at = one.at > to ? one.at : to
      one.seen = null
    }
  }
  for (let idle = 0; lanes.some((lane) => lane.left.length > 0); idle++) {
    // Everybody who can move has had many turns by then.
    if (idle > 2_000) throw new Error('nobody moves any more')
    const lane = lanes[Math.floor(chance() * partitions)]
    if (lane.left.length === 0) {
      if (lane.at < last) idle = 0
      lane.at = last
      continue
    }
    const next = lane.left[0].lsn
    if (lane.seen) {
      const turn = turnOf(next, lane.seen, others(lane))
      if (turn === 'wait') continue
      if (turn === 'gather') {
        gather(lane)
        idle = 0
        continue
      }
    }
    const batch = lane.left.slice(0, lane.seen ? 1 : 1 + Math.floor(chance() * 5))
    const tried = after(state, batch.flatMap((c) => [...c.rows]))
    if (isValid(tried)) {
      state = tried
      lane.left.splice(0, batch.length)
      lane.at = batch.at(-1)!.lsn
      lane.seen = null
    } else {
      lane.at = lane.at > next - 1n ? lane.at : next - 1n
      lane.seen = batch.length > 1 ? others(lane).map(() => 0n) : others(lane)
      if (batch.length > 1 && isFirst(next, lane.seen)) lane.seen = null
    }
    idle = 0
  }
  return { state, gathered }
}

const sorted = (state: State): [number, Node][] => [...state].sort(([a], [b]) => a - b)

describe('partitions that wait for each other', () => {
  it('never stand still, and end where the source is', () => {
    fc.assert(fc.property(proposals, fc.integer({ min: 1, max: 5 }), fc.nat(), (given, partitions, seed) => {
      const { commits, end } = history(given)
      fc.pre(commits.length > 3)
      const { state } = simulate(commits, partitions, random({ seed, quiet: true }).next)
      expect(sorted(state)).toEqual(sorted(end))
    }), { numRuns: 300 })
  })

  it('a value that another partition took too early, and a circle, are what has to be gathered', () => {
    const [a, b] = [0, 1].map((wanted) => Array.from({ length: 20 }, (_, id) => id).find((id) => partitionFor(String(id), 2) === wanted)!)
    const { commits, end } = history([
      [[a, { parent: null, value: 1 }]], [[a, { parent: null, value: 2 }]], [[b, { parent: null, value: 1 }]],
      [[a, { parent: b, value: 1 }], [b, { parent: a, value: 2 }]],
    ])
    expect(commits.length).toBe(4)
    // The second partition has every turn that it can use, then the first one.
    let n = 0
    const { state, gathered } = simulate(commits, 2, () => (n++ % 4 === 0 ? 0 : 0.9))
    expect(gathered).toBeGreaterThan(0)
    expect(sorted(state)).toEqual(sorted(end))
  })
})

describe('sharing partitions out', () => {
  type Held = ReadonlyMap<string, ReadonlyMap<number, bigint>>
  const NAMES = ['a', 'b', 'c', 'd', 'e']
  const members = fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 1 })
  /** Any claims, also of two processes that both think they have a partition. */
  const claims = fc.dictionary(fc.constantFrom(...NAMES), fc.dictionary(fc.nat(11).map(String), fc.bigInt({ min: 1n, max: 99n }), { maxKeys: 12 }))
    .map((all): Held => new Map(Object.entries(all).map(([name, held]) => [name, new Map(Object.entries(held).map(([partition, writer]) => [Number(partition), writer]))])))
  const shared = (names: readonly string[], held: Held, partitions: number) => shareOut(names.map((id) => ({ id, held: held.get(id) ?? new Map<number, bigint>() })), partitions)
  const takenBy = (shares: ReadonlyMap<string, readonly number[]>): Held =>
    new Map([...shares].map(([name, mine]) => [name, new Map(mine.map((partition) => [partition, 1n]))]))

  it('gives every partition to one, and nobody two more than another, whatever they claim and however they are named', () => {
    fc.assert(fc.property(members, claims, fc.integer({ min: 1, max: 12 }), (names, held, partitions) => {
      const shares = shared(names, held, partitions)
      expect([...shares.values()].flat().sort((a, b) => a - b)).toEqual(Array.from({ length: partitions }, (_, i) => i))
      const counts = names.map((name) => shares.get(name)!.length)
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
      const again = shared([...names].reverse(), held, partitions)
      for (const name of names) expect(again.get(name)).toEqual(shares.get(name))
    }))
  })

  it('moves nothing when nobody comes or goes, only to whoever comes, and only from whoever goes', () => {
    fc.assert(fc.property(members, members, fc.integer({ min: 1, max: 12 }), (before, after, partitions) => {
      const had = takenBy(shared(before, new Map(), partitions))
      const has = takenBy(shared(after, had, partitions))
      const left = before.some((name) => !after.includes(name))
      const come = after.filter((name) => !before.includes(name))
      for (const name of after.filter((one) => before.includes(one))) {
        const [mine, now] = [[...had.get(name)!.keys()], [...has.get(name)!.keys()]]
        if (!left) expect(now.every((partition) => mine.includes(partition))).toBe(true)
        if (come.length === 0) expect(mine.every((partition) => now.includes(partition))).toBe(true)
      }
    }))
  })

  it('of two who claim a partition, whoever took it last has it', () => {
    const shares = shared(['a', 'b'], new Map([['a', new Map([[0, 4n], [1, 7n]])], ['b', new Map([[0, 5n]])]]), 2)
    expect([shares.get('a'), shares.get('b')]).toEqual([[1], [0]])
  })
})

describe('how long partitions stay together', () => {
  it('is short at first, and when they were apart for long', () => {
    expect(stayFor(null)).toBe(SHORTEST_MS)
    expect(stayFor({ stayMs: 8_000, partedMs: 32_000 })).toBe(SHORTEST_MS)
  })

  it('grows while they come together again at once, so that what it costs to come together becomes a small part', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 3_000 }), (apartMs) => {
      let stayMs = stayFor(null)
      let [together, apart] = [0, 0]
      for (let n = 0; n < 60; n++) {
        together += stayMs
        apart += apartMs
        stayMs = stayFor({ stayMs, partedMs: apartMs })
        expect(stayMs).toBeGreaterThanOrEqual(SHORTEST_MS)
        expect(stayMs).toBeLessThanOrEqual(LONGEST_MS)
      }
      expect(together).toBeGreaterThan(4 * apart)
    }))
  })
})

describe('transactions that stop all others', () => {
  it('are a crowd when several came in two seconds', () => {
    expect(isCrowd([0, 1, 2, 3])).toBe(false)
    expect(isCrowd([0, 500, 1_000, 1_500, 2_000])).toBe(true)
    expect(isCrowd([0, 600, 1_200, 1_800, 2_400])).toBe(false)
    expect(isCrowd([0, 60_000, 60_001, 60_002, 60_003, 60_004])).toBe(true)
  })
})

describe('transactions that have to be done again together', () => {
  const one = (xid: number, isAlone: boolean): Transaction =>
    ({ epoch: 1, xid, commitLsn: BigInt(xid), endLsn: BigInt(xid), commitMicros: 0, changes: [], first: 0, last: true, bytes: 0, messages: isAlone ? [ALONE] : [] })

  it('are kept in their order, and those that go alone by themselves', () => {
    fc.assert(fc.property(fc.array(fc.boolean()), (alone) => {
      const groups = apart(alone.map((isAlone, i) => one(i, isAlone)))
      expect(groups.flat().map(({ xid }) => xid)).toEqual(alone.map((_, i) => i))
      for (const group of groups) expect(group.length === 1 || group.every(({ xid }) => !alone[xid])).toBe(true)
      // No more groups than that takes.
      for (let i = 1; i < groups.length; i++) expect(alone[groups[i - 1].at(-1)!.xid] || alone[groups[i][0].xid]).toBe(true)
    }))
  })
})
