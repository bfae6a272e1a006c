import { ALONE, isAlone } from '../../src/core/alone.ts'
import type { Transaction } from '../../src/core/change.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import type { Part } from './parts.ts'

type Piece = Pick<Part, 'partition' | 'queue' | 'reached'>

/**
 * Takes from the partitions what is complete, in the order of the source's commits, the pieces of a transaction made one again: it is
 * complete when every partition is known to have come as far. Of one that goes alone, the first partition has all.
 */
export function takeInOrder(parts: readonly Piece[]): Transaction[] {
  const out: Transaction[] = []
  for (;;) {
    const next = nextOf(parts)
    if (next === null) return out
    const heads = parts.filter(({ queue }) => queue[0]?.commitLsn === next)
    const first = heads[0].queue[0]
    if (first.first > 0 || !first.last || isAlone(first)) {
      // Those of the others say nothing but that it comes.
      for (const head of heads.slice(heads[0].partition === 0 ? 1 : 0)) head.queue.shift()
      if (heads[0].partition === 0) out.push(inCompany(heads[0].queue.shift()!))
    } else out.push(joined(heads.map(({ queue }) => queue.shift()!)))
  }
}

/** In the order of the source nothing has to be alone. */
function inCompany(t: Transaction): Transaction {
  return isAlone(t) ? { ...t, messages: t.messages.filter((message) => message !== ALONE) } : t
}

/** The lowest commit of which all pieces are there; null when one may be missing. */
function nextOf(parts: readonly Piece[]): Lsn | null {
  let next: Lsn | null = null
  for (const { queue } of parts) if (queue.length > 0 && (next === null || queue[0].commitLsn < next)) next = queue[0].commitLsn
  if (next === null) return null
  const lowest = next
  return parts.every(({ queue, reached }) => queue.length > 0 || reached() >= lowest) ? lowest : null
}

function joined(pieces: readonly Transaction[]): Transaction {
  if (pieces.length === 1) return pieces[0]
  return {
    ...pieces[0], changes: pieces.flatMap((t) => t.changes), messages: [...new Set(pieces.flatMap((t) => t.messages))],
    bytes: pieces.reduce((sum, t) => sum + t.bytes, 0), endLsn: pieces.reduce((end, t) => (t.endLsn > end ? t.endLsn : end), 0n),
  }
}
