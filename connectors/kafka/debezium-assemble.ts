import type { Change, Transaction } from '../../src/core/change.ts'
import { RekeyError } from '../../src/core/errors.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import type { Assembler } from './assemble.ts'
import type { Missing, Place } from './chain.ts'
import { debeziumDecoder, type DebeziumOptions, type Event } from './debezium-decode.ts'

export interface DebeziumAssembleOptions extends DebeziumOptions {
  /** What the reader has already. */
  readonly start: Place
  /** What transactions are given as their epoch. */
  readonly number: number
  /** A transaction is known to be whole, and where it ends, by its last record only: it may be this large. */
  readonly maxBytes: number
}

interface Open {
  readonly xid: number
  readonly changes: Change[]
  readonly messages: string[]
  /** Where each event is, by its order. */
  readonly lsns: Lsn[]
  from: Lsn | null
  commitMicros: number
  bytes: number
  /** Two events have the same place in it. */
  broken: boolean
  /** The old row of a key that changes: its record is followed by that of the new one. */
  old: Change | null
}

/**
 * Turns the records of a Debezium connector, all in one topic of one partition, back into transactions: by the BEGIN and END that
 * `provide.transaction.metadata` writes between them. Each row says where the transaction before ended, which is how a hole is noticed.
 * END says where its transaction ends and how many events it has; where its commit record begins is not said, so the last byte of it stands
 * for the commit: the same order, and unique.
 */
export function debeziumAssemble(options: DebeziumAssembleOptions): Assembler {
  const decode = debeziumDecoder(options)
  let out: Transaction[] = []
  let place = options.start
  let open: Open | null = null
  let gap: Missing | null = null
  let offset: string | null = null

  const emit = (t: Pick<Transaction, 'xid' | 'commitLsn' | 'endLsn' | 'commitMicros' | 'changes' | 'messages' | 'bytes'>): void => {
    out.push({ epoch: options.number, first: 0, last: true, ...t })
    place = { commitLsn: t.commitLsn, endLsn: t.endLsn }
    gap = null
  }
  /** False when what belongs before it has not come. */
  const follows = (from: Lsn | null, to: Lsn): boolean => {
    if (from === null || from <= place.endLsn) return true
    gap ??= { from: place.endLsn, to: from < to ? from : to }
    return false
  }
  const end = ({ xid, endLsn, count, commitMicros: at }: Event & { kind: 'end' }): void => {
    const was = open
    open = null
    if (endLsn <= place.endLsn) return
    if (count === 0) return emit({ xid, commitLsn: endLsn - 1n, endLsn, commitMicros: at, changes: [], messages: [], bytes: 0 })
    if (was?.xid !== xid || was.broken || was.lsns.length !== count) {
      gap ??= { from: place.endLsn, to: endLsn }
      return
    }
    if (!follows(was.from, endLsn)) return
    const { changes, messages, commitMicros, bytes } = was
    emit({ xid, commitLsn: endLsn - 1n, endLsn, commitMicros, changes, messages, bytes })
  }
  /** The transaction that an event belongs to, when it is the next of it; null for a repetition. */
  const take = (event: Event & { kind: 'change' | 'message' }, xid: number, order: number): Open | null => {
    if (open?.xid !== xid) open = { xid, changes: [], messages: [], lsns: [], from: event.from, commitMicros: event.commitMicros, bytes: 0, broken: false, old: null }
    const known = open.lsns[order - 1]
    if (known === undefined && order === open.lsns.length + 1) {
      open.lsns.push(event.lsn)
      return open
    }
    // A connector that begins again counts on, or repeats. What it counts anew cannot be put together.
    if (known !== event.lsn) open.broken = true
    return null
  }
  const change = (event: Event & { kind: 'change' }): void => {
    const into = take(event, event.xid, event.order)
    if (!into) return
    const { change: one, keyChange } = event
    into.bytes += event.bytes
    if (into.bytes > options.maxBytes) throw tooLarge(event.xid, options.maxBytes)
    const { old } = into
    if (keyChange === 'first') into.old = one
    else if (keyChange === 'second' && old) into.changes.push({ ...one, op: 'update', old: old.old, oldIsFull: old.oldIsFull })
    else into.changes.push(one)
    if (keyChange !== 'first') into.old = null
  }
  const message = (event: Event & { kind: 'message' }): void => {
    const { content, within, lsn, commitMicros } = event
    const messages = content === '' ? [] : [content]
    if (within) take(event, within.xid, within.order)?.messages.push(...messages)
    else if (lsn > place.commitLsn) emit({ xid: 0, commitLsn: lsn, endLsn: lsn + 1n, commitMicros, changes: [], messages, bytes: content.length })
  }
  return {
    add(record) {
      const event = decode(record)
      const before = place
      if (event.kind === 'begin') open = open?.xid === event.xid ? open : null
      else if (event.kind === 'end') end(event)
      else if (event.kind === 'change') change(event)
      else if (event.kind === 'message') message(event)
      if (place !== before) offset = String(BigInt(record.offset) + 1n)
    },
    take() {
      const taken = out
      out = []
      return taken
    },
    gap: () => gap,
    place: () => place,
    offset: () => offset,
  }
}

function tooLarge(xid: number, most: number): RekeyError {
  return new RekeyError('LOG_RECORD', `transaction ${xid} of the Debezium connector is larger than ${most} bytes`, {
    hint: 'Raise `memory: { queue }`: such a transaction is held in memory until its end has come. `rekey run --role capture` has no such limit.' })
}
