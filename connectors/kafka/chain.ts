import type { Lsn } from '../../src/core/lsn.ts'
import { type Header, lsnIn, parseTx } from './header.ts'
import { Unreadable } from './record.ts'

/** Where a reader is: everything up to a transaction's end, and perhaps a part of the next one. */
export interface Place {
  readonly commitLsn: Lsn
  readonly endLsn: Lsn
}

export interface Missing {
  readonly from: Lsn
  readonly to: Lsn
}

/**
 * - take: the very next record. - repeat: it was read before, for a producer that crashed begins again where it is certain.
 * - gap: something that belongs before it has not come.
 */
export type Verdict = 'take' | 'repeat' | 'gap'

/**
 * Proves that a log has no hole, by what its records say, whatever their offsets: the first record of a transaction says from where on
 * the log holds everything that was committed, and the ordinals within a transaction are consecutive. So a topic that was deleted, made
 * anew, emptied by its retention or read from a wrong offset cannot go unnoticed, and one that was read twice does no harm.
 */
export interface Chain {
  judge(header: Header): Verdict
  /** The record that was judged last was taken. */
  advance(header: Header, isMessage: boolean): void
  place(): Place
  /** What is missing before the record that was read last; null when nothing is. */
  gap(): Missing | null
}

interface Open {
  readonly tx: string
  readonly commitLsn: Lsn
  next: number
}

export function chain(start: Place): Chain {
  let place = start
  let open: Open | null = null
  let gap: Missing | null = null
  /** The transaction that was looked at last: its records follow each other. */
  let seen: { readonly tx: string; readonly commitLsn: Lsn } = { tx: '', commitLsn: 0n }

  const commitOf = (tx: string): Lsn => {
    if (seen.tx !== tx) seen = { tx, commitLsn: parseTx(tx).commitLsn }
    return seen.commitLsn
  }
  const isNext = (header: Header, commitLsn: Lsn): boolean => {
    if (open !== null) return open.tx === header.tx && header.seq === open.next
    return header.seq === 0 && header.from !== '' && commitLsn > place.commitLsn && lsnIn(header.from) <= place.endLsn
  }
  return {
    judge(header) {
      const commitLsn = commitOf(header.tx)
      if (isNext(header, commitLsn)) {
        gap = null
        return 'take'
      }
      if (commitLsn <= place.commitLsn || (open?.tx === header.tx && header.seq < open.next)) return 'repeat'
      gap ??= { from: place.endLsn, to: header.from === '' ? commitLsn : lsnIn(header.from) }
      return 'gap'
    },
    advance(header, isMessage) {
      const commitLsn = commitOf(header.tx)
      if (header.last) {
        const endLsn = lsnIn(header.end)
        if (endLsn <= commitLsn) throw new Unreadable('its transaction ends before its commit')
        place = { commitLsn, endLsn }
        open = null
      } else open = { tx: header.tx, commitLsn, next: header.seq + (isMessage ? 0 : 1) }
    },
    place: () => place,
    gap: () => gap,
  }
}
