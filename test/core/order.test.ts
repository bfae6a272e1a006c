import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { orderTables } from '../../src/core/order.ts'
import { table } from '../support/catalog-literals.ts'

const name = (i: number): string => `t${i}`

/** Tables with these references, child to parent. */
function graph(size: number, edges: readonly (readonly [number, number])[]) {
  return Array.from({ length: size }, (_, i) => {
    const refs = Object.fromEntries(edges.filter(([from]) => from === i).map(([, to], n) => [`c${n}`, `${name(to)}.id`]))
    return table(name(i), { columns: { id: 'bigint' }, refs })
  })
}

/** Which tables are reached from which, by the plain closure. */
function reaches(size: number, edges: readonly (readonly [number, number])[]): boolean[][] {
  const reach = Array.from({ length: size }, () => Array.from({ length: size }, () => false))
  for (const [from, to] of edges) reach[from][to] = true
  for (let k = 0; k < size; k++) for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) if (reach[i][k]
    && reach[k][j]) reach[i][j] = true
  return reach
}

const graphs = fc.integer({ min: 1, max: 9 }).chain((size) => {
  const node = fc.integer({ min: 0, max: size - 1 })
  return fc.record({ size: fc.constant(size), edges: fc.array(fc.tuple(node, node), { maxLength: 14 }) })
})

describe('orderTables', () => {
  it('puts parents before children and names exactly the cycles', () => {
    fc.assert(fc.property(graphs, ({ size, edges }) => {
      const { rank, cycles } = orderTables(graph(size, edges))
      const reach = reaches(size, edges)
      const at = (i: number): number => rank.get(`public.${name(i)}`)!
      expect([...rank.values()].sort((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, i) => i))
      for (const [child, parent] of edges) if (!reach[parent][child]) expect(at(parent)).toBeLessThan(at(child))
      const groups = new Set(Array.from({ length: size }, (_, i) =>
        Array.from({ length: size }, (__, j) => j).filter((j) => j === i
          || (reach[i][j] && reach[j][i])).map((j) => `public.${name(j)}`).join())
        .filter((group) => group.includes(',')))
      expect(new Set(cycles.map((cycle) => [...cycle].sort().join()))).toEqual(groups)
    }), { numRuns: 400 })
  })

  it('does not depend on the order in which the tables come', () => {
    fc.assert(fc.property(graphs, ({ size, edges }) => {
      const tables = graph(size, edges)
      expect(orderTables([...tables].reverse())).toEqual(orderTables(tables))
    }))
  })

  it('a table that points at itself is no cycle, and a table outside is no parent', () => {
    expect(orderTables(graph(1, [[0, 0]]))).toEqual({ rank: new Map([['public.t0', 0]]), cycles: [] })
    expect(orderTables([table('a', { columns: { id: 'bigint', b: 'bigint' }, refs: { b: 'elsewhere.id' } })]).cycles).toEqual([])
  })

  it('follows a chain of 100,000 tables', () => {
    const size = 100_000
    const child = table('child', { columns: { id: 'bigint' }, refs: { id: 'parent.id' } })
    const pointing = (from: number, to: number) =>
      ({ ...child, table: name(from), foreignKeys: [{ ...child.foreignKeys[0], target: { schema: 'public', table: name(to) } }] })
    const tables = Array.from({ length: size },
      (_, i) => (i + 1 < size ? pointing(i, i + 1) : { ...child, table: name(i), foreignKeys: [] }))
    const { rank, cycles } = orderTables(tables)
    expect([rank.get('public.t0'), rank.get(`public.${name(size - 1)}`), cycles]).toEqual([size - 1, 0, []])
    const closed = [...tables.slice(0, -1), pointing(size - 1, 0)]
    expect(orderTables(closed).cycles.map((cycle) => cycle.length)).toEqual([size])
  })
})
