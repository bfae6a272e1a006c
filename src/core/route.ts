import type { Change, Transaction } from './change.ts'
import { movesKey } from './coalesce.ts'
import { nameOf, type Relation } from './relation.ts'
import { isNull, isUnchanged, rawField, type Row } from './row.ts'
import type { Root, Roots } from './roots.ts'

/**
 * Where the changes of a transaction go: to partitions, in order; or all of them together to the first one, and nothing else anywhere at
 * that time. That is for what has no place in one partition: a truncate, a row that goes from one root to another or changes its key, one that is
 * deleted with one root and comes back with another, one that triggers of the destination make or that makes them do so, and a transaction that is
 * too large to be looked at as a whole.
 */
export type Parts = ReadonlyMap<number, readonly Change[]> | 'alone'

/** Pure: the same transaction goes the same way on every replay. */
export type Route = (transaction: Transaction) => Parts

export function router(roots: Roots, partitions: number): Route {
  const layouts = new WeakMap<Relation, Layout>()
  const layoutOf = (relation: Relation): Layout => {
    let layout = layouts.get(relation)
    if (!layout) layouts.set(relation, (layout = layOut(relation, roots.get(nameOf(relation)))))
    return layout
  }
  const partitionOf = (relation: Relation, row: Row, older: Row | null): number => partitionFor(rootIn(layoutOf(relation), row, older), partitions)
  const goesTo = (change: Change): number | null => {
    const { op, relation, row, old, oldIsFull } = change
    if (op === 'truncate' || layoutOf(relation).alone) return null
    if (op === 'delete') return partitionOf(relation, old!, null)
    const to = partitionOf(relation, row!, oldIsFull ? old : null)
    if (old === null) return to
    return movesKey(change, layoutOf(relation).key) || partitionOf(relation, old, null) !== to ? null : to
  }
  return (transaction) => {
    if (!transaction.last || transaction.first > 0) return 'alone'
    const parts = new Map<number, Change[]>()
    for (const change of transaction.changes) {
      const partition = goesTo(change)
      if (partition === null) return 'alone'
      const part = parts.get(partition)
      if (part) part.push(change)
      else parts.set(partition, [change])
    }
    return parts.size > 1 && tears(parts, layouts) ? 'alone' : parts
  }
}

/** Changes of one row in two partitions: which came first would not be known there. */
function tears(parts: ReadonlyMap<number, readonly Change[]>, layouts: WeakMap<Relation, Layout>): boolean {
  const places = new Map<string, number>()
  for (const [partition, changes] of parts) {
    for (const { relation, row, old } of changes) {
      const { table, root, key } = layouts.get(relation)!
      if (root < 0 || key.includes(root)) continue
      const name = `${table}\n${key.map((i) => rawField((row ?? old)!, i)).join('\t')}`
      const place = places.get(name)
      if (place !== undefined && place !== partition) return true
      places.set(name, partition)
    }
  }
  return false
}

/** FNV-1a over the text, mixed so that neighbouring keys part (the finalizer of MurmurHash3). It must never change: topics hold its answers. */
export function partitionFor(text: string, partitions: number): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) % partitions
}

interface Layout {
  readonly table: string
  readonly of: string
  readonly root: number
  readonly key: readonly number[]
  readonly alone: boolean
}

/** A table that the mapping has no word for is one root: whoever applies it will say so. */
function layOut(relation: Relation, root: Root | undefined): Layout {
  const at = (name: string): number => relation.columns.findIndex((column) => column.name === name)
  const key = (root?.key ?? []).map(at).filter((i) => i >= 0)
  return { table: nameOf(relation), of: root?.of ?? nameOf(relation), root: root?.column == null ? -1 : at(root.column), key, alone: root?.alone ?? false }
}

/** A row without a root is its own. `older`: the whole row as it was, for what was not sent again. */
function rootIn({ table, of, root, key }: Layout, row: Row, older: Row | null): string {
  const field = (i: number): string => rawField(older !== null && isUnchanged(row, i) ? older : row, i)
  if (root >= 0 && !isNull(row, root)) return `${of}\n${field(root)}`
  return `${table}\n${key.map(field).join('\t')}`
}
