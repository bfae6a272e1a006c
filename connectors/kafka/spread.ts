import type { Transaction } from '../../src/core/change.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import type { Route } from '../../src/core/route.ts'
import type { Encode } from './encode.ts'
import type { NewRecord } from './record.ts'

export interface SpreadOptions {
  readonly partitions: number
  readonly route: Route
  readonly encode: Encode
  /** The source gives all that was committed from here on. */
  readonly from: Lsn
}

export interface Spread {
  /** Each partition's part of a transaction, each with a chain of its own. What has no change for a partition gives it nothing. */
  records(transaction: Transaction): NewRecord[]
  /** For each partition that has nothing of the newest transactions, an empty one: so everybody learns how far the source is. */
  marks(): NewRecord[]
}

/** How far a partition's records go. */
interface Reached {
  commitLsn: Lsn
  endLsn: Lsn
}

/** Transactions over several partitions. The same ones are spread in the same way by whoever comes after. */
export function spread({ partitions, route, encode, from }: SpreadOptions): Spread {
  const reached: Reached[] = Array.from({ length: partitions }, () => ({ commitLsn: 0n, endLsn: from }))
  let newest: Transaction | null = null

  const put = (partition: number, t: Transaction, alone: boolean): NewRecord[] => {
    const records = encode(t, reached[partition].endLsn, alone).map((record) => ({ ...record, partition }))
    reached[partition] = { commitLsn: t.commitLsn, endLsn: t.last ? t.endLsn : reached[partition].endLsn }
    return records
  }
  return {
    records(t) {
      const all = reached.map((_, partition) => partition)
      const silent = { ...t, changes: [], first: 0, last: true, bytes: 0 }
      if (t.last) newest = { ...silent, messages: [] }
      const parts = route(t)
      if (parts === 'alone') {
        // The others must know of it before its end is known: nobody passes it.
        const others = t.first > 0 ? [] : all.slice(1).flatMap((k) => put(k, { ...silent, endLsn: t.last ? t.endLsn : t.commitLsn + 1n }, true))
        return [...others, ...put(0, t, true)]
      }
      if (t.messages.length > 0) return all.flatMap((k) => put(k, { ...t, changes: parts.get(k) ?? [] }, false))
      return [...parts].flatMap(([k, changes]) => put(k, { ...t, changes }, false))
    },
    marks() {
      if (!newest) return []
      const mark = newest
      return reached.flatMap(({ commitLsn }, k) => (commitLsn < mark.commitLsn ? put(k, mark, false) : []))
    },
  }
}
