import type { Change } from './change.ts'
import type { Relation } from './relation.ts'
import { fieldEnd, fieldStart, isUnchanged, rawField, TAB, type Row } from './row.ts'

/**
 * The net effect of several changes on one key, by column:
 * - insert: the key was not there before. - replace: it may have been there; every column is known.
 * - update: it was there; columns not sent are unchanged. - delete: it is gone, whether it was there or not.
 */
export interface Net {
  readonly kind: 'insert' | 'replace' | 'update' | 'delete'
  /** The new row; for a delete the row that carries the key. */
  readonly row: Row
}

/** Changes of one relation that can be applied as a set: one net effect a key. */
export interface RelationNet {
  readonly relation: Relation
  /** New rows in order, while nothing but inserts was seen; then everything is in `keyed`. */
  inserts: Row[]
  keyed: Map<string, Net> | null
  /** For tables without a key: how many of each whole row come (positive) or go. */
  counted: Map<string, Counted> | null
}

export interface Counted {
  readonly row: Row
  count: number
}

export function emptyNet(relation: Relation): RelationNet {
  return { relation, inserts: [], keyed: null, counted: null }
}

/** Rows that come, and nothing else. */
export function insertsOf(relation: Relation, rows: readonly Row[]): RelationNet {
  return { ...emptyNet(relation), inserts: [...rows] }
}

/** One row that goes. */
export function deleteOf(relation: Relation, key: string, row: Row): RelationNet {
  return { ...emptyNet(relation), keyed: new Map([[key, { kind: 'delete', row }]]) }
}

/** The key's fields as they stand, joined by tabs: equal keys, equal strings. */
export function keyOf(row: Row, columns: readonly number[]): string {
  if (columns.length === 1) return rawField(row, columns[0])
  let key = rawField(row, columns[0])
  for (let i = 1; i < columns.length; i++) key += `\t${rawField(row, columns[i])}`
  return key
}

/** The newer row, with the older one's value wherever the newer was not sent it. */
export function combine(older: Row, newer: Row): Row {
  let missing = false
  for (let i = 0; i < newer.width && !missing; i++) missing = isUnchanged(newer, i)
  if (!missing) return newer
  const ends = new Int32Array(newer.width + 1)
  const parts: Buffer[] = []
  let at = 0
  for (let i = 0; i < newer.width; i++) {
    const from = isUnchanged(newer, i) ? older : newer
    if (i > 0) {
      parts.push(TAB_BYTE)
      at++
    }
    const field = from.buf.subarray(fieldStart(from, i), fieldEnd(from, i))
    parts.push(field)
    at += field.length
    ends[i + 1] = at
  }
  return { buf: Buffer.concat(parts), ends, at: 0, width: newer.width }
}
const TAB_BYTE = Buffer.from([TAB])

/** True when a change moves its row to another key; such changes are not coalesced but applied between sets. */
export function movesKey(change: Change, key: readonly number[]): boolean {
  return change.op === 'update' && change.old !== null && keyOf(change.old, key) !== keyOf(change.row!, key)
}

/**
 * Adds an insert, update or delete (without a key change) of a relation with a key. Under REPLICA IDENTITY FULL a value that was not
 * sent stands in the old row and is taken from there. Returns false when the sequence is impossible (an update after a delete).
 */
export function add(net: RelationNet, change: Change, key: readonly number[]): boolean {
  const { op } = change
  if (op === 'insert' && net.keyed === null) {
    net.inserts.push(change.row!)
    return true
  }
  const keyed = (net.keyed ??= index(net, key))
  const row = op === 'delete' ? change.old! : change.oldIsFull && change.old ? combine(change.old, change.row!) : change.row!
  const id = keyOf(row, key)
  const before = keyed.get(id)
  if (op === 'delete') keyed.set(id, { kind: 'delete', row })
  else if (op === 'insert') keyed.set(id, { kind: before ? 'replace' : 'insert', row })
  else if (before?.kind === 'delete') return false
  else keyed.set(id, { kind: before?.kind ?? 'update', row: before ? combine(before.row, row) : row })
  return true
}

function index(net: RelationNet, key: readonly number[]): Map<string, Net> {
  const keyed = new Map<string, Net>()
  for (const row of net.inserts) keyed.set(keyOf(row, key), { kind: 'insert', row })
  net.inserts = []
  return keyed
}

/**
 * Adds a change of a table without a key: its rows are a multiset, of which equal ones cannot be told apart. REPLICA IDENTITY FULL sends
 * the old row whole. Returns false when it did not.
 */
export function tally(net: RelationNet, change: Change): boolean {
  const counted = (net.counted ??= new Map())
  if (change.op !== 'insert') {
    if (!change.old || !change.oldIsFull) return false
    bump(counted, change.old, -1)
  }
  if (change.row) bump(counted, change.old ? combine(change.old, change.row) : change.row, 1)
  return true
}

function bump(counted: Map<string, Counted>, row: Row, by: 1 | -1): void {
  const line = row.buf.toString('latin1', row.ends[row.at], row.ends[row.at + row.width])
  const entry = counted.get(line)
  if (entry) entry.count += by
  else counted.set(line, { row, count: by })
}

/** True when the bytes of a COPY line hold no field that was not sent: what may be written as a whole row. */
export function isWhole(row: Row): boolean {
  for (let i = 0; i < row.width; i++) if (isUnchanged(row, i)) return false
  return true
}
