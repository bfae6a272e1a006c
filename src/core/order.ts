import type { CatalogTable } from './catalog.ts'
import { nameOf } from './relation.ts'

/** Tables in an order in which parents come before children, and the groups that point at each other. */
export interface TableOrder {
  readonly rank: ReadonlyMap<string, number>
  /** Names of tables that form a cycle (more than one table); a table that only points at itself is not one. */
  readonly cycles: readonly (readonly string[])[]
}

/**
 * Strongly connected components of the foreign-key graph (Tarjan), with a stack of its own so that long chains cannot overflow.
 * Tarjan completes a component only after all that it points at, which is the order in which rows are written.
 */
export function orderTables(tables: readonly CatalogTable[]): TableOrder {
  const edges = new Map<string, string[]>()
  const names = new Set(tables.map(nameOf))
  for (const table of tables) {
    const targets = table.foreignKeys.map((fk) => nameOf(fk.target)).filter((to) => names.has(to) && to !== nameOf(table))
    edges.set(nameOf(table), [...new Set(targets)].sort())
  }
  const components = tarjan([...names].sort(), edges)
  const rank = new Map<string, number>()
  components.forEach((component) => component.forEach((name) => rank.set(name, rank.size)))
  return { rank, cycles: components.filter((component) => component.length > 1) }
}

/** The groups of more than one node that lead to each other. */
export function cyclesOf(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  return tarjan([...edges.keys()].sort(), edges).filter((component) => component.length > 1)
}

function tarjan(nodes: readonly string[], edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const index = new Map<string, number>()
  const low = new Map<string, number>()
  const open: string[] = []
  const onStack = new Set<string>()
  const components: string[][] = []
  for (const root of nodes) {
    if (index.has(root)) continue
    const work: { node: string; next: number }[] = [{ node: root, next: 0 }]
    while (work.length > 0) {
      const frame = work[work.length - 1]
      const { node } = frame
      if (frame.next === 0) {
        index.set(node, index.size)
        low.set(node, index.get(node)!)
        open.push(node)
        onStack.add(node)
      }
      const to = edges.get(node)![frame.next++]
      if (to !== undefined) {
        if (!index.has(to)) work.push({ node: to, next: 0 })
        else if (onStack.has(to)) low.set(node, Math.min(low.get(node)!, index.get(to)!))
        continue
      }
      work.pop()
      const above = work[work.length - 1]
      if (above) low.set(above.node, Math.min(low.get(above.node)!, low.get(node)!))
      if (low.get(node) === index.get(node)) components.push(pop(open, onStack, node))
    }
  }
  return components
}

function pop(open: string[], onStack: Set<string>, until: string): string[] {
  const component: string[] = []
  for (;;) {
    const name = open.pop()!
    onStack.delete(name)
    component.push(name)
    if (name === until) return component.reverse()
  }
}
