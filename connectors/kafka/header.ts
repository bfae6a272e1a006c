import { formatLsn, parseLsn, type Lsn } from '../../src/core/lsn.ts'
import { Unreadable } from './record.ts'

/**
 * The `rekey` header: one short ASCII value, because each header costs a client about as much as a small record. Fields are separated by
 * `;`, empty when they say nothing; a reader ignores those behind the ones it knows:
 *
 * | epoch | which history of the source the positions belong to: see epochOf |
 * | tx | `<xid>:<commit lsn>` |
 * | seq | ordinal of the change in its transaction; a message has that of the change behind it |
 * | last | 1 on the last record of a transaction, else 0 |
 * | absent | columns that were not sent (unchanged TOAST), percent-encoded names, separated by `,` |
 * | from | on a transaction's first record: the log holds all that the source committed from this LSN up to this transaction |
 * | end | on its last record: its end LSN |
 * | source | where in the value the `source` block begins, bytes |
 * | before | k: `before` has the key alone; f: it is the whole row |
 * | part | `<i>/<n>`: piece i of n of a value that is larger than a record may be; their values, joined, are the value |
 * | alone | 1: its transaction is applied as a whole while all partitions wait for it: see src/core/route.ts |
 */
export interface Header {
  readonly epoch: string
  /** Its text in the header: equal within a transaction. */
  readonly tx: string
  readonly seq: number
  readonly last: boolean
  readonly absent: string
  readonly from: string
  readonly end: string
  readonly source: number
  readonly before: '' | 'k' | 'f'
  readonly part: string
  readonly alone: boolean
}

/** Positions of two servers, or of two timelines of one, cannot be compared: they are two epochs. So are those of two pipelines. */
export function epochOf(source: { readonly systemId: string; readonly timeline: number; readonly pipeline: string }): string {
  return `${source.timeline}.${BigInt(source.systemId).toString(36)}.${source.pipeline}`
}

export function txOf(xid: number, commitLsn: Lsn): string {
  return `${xid}:${formatLsn(commitLsn)}`
}

export function formatHeader(h: Header): string {
  return `${h.epoch};${h.tx};${h.seq};${h.last ? 1 : 0};${h.absent};${h.from};${h.end};${h.source};${h.before};${h.part}${h.alone ? ';1' : ''}`
}

const FIELDS = 10
const WHOLE = /^\d{1,15}$/

/** Throws Unreadable. */
export function parseHeader(value: Buffer | string): Header {
  const text = typeof value === 'string' ? value : value.toString('latin1')
  const fields = text.split(';')
  if (fields.length < FIELDS) throw new Unreadable('its rekey header is cut off')
  const [epoch, tx, seq, last, absent, from, end, source, before, part, alone] = fields
  if (!WHOLE.test(seq) || !WHOLE.test(source) || (last !== '0' && last !== '1')) {
    throw new Unreadable('its rekey header has no number where one belongs')
  }
  if (before !== '' && before !== 'k' && before !== 'f') throw new Unreadable('its rekey header says an unknown kind of old row')
  return { epoch, tx, seq: Number(seq), last: last === '1', absent, from, end, source: Number(source), before, part, alone: alone === '1' }
}

/** Throws Unreadable. */
export function parseTx(tx: string): { xid: number; commitLsn: Lsn } {
  const colon = tx.indexOf(':')
  const xid = tx.slice(0, colon)
  if (!WHOLE.test(xid)) throw new Unreadable('its rekey header names no transaction')
  return { xid: Number(xid), commitLsn: lsnIn(tx.slice(colon + 1)) }
}

/** Throws Unreadable. */
export function lsnIn(text: string): Lsn {
  try {
    return parseLsn(text)
  } catch {
    throw new Unreadable('its rekey header has no LSN where one belongs')
  }
}

/** Piece number and count; null for a value in one record. Throws Unreadable. */
export function parsePart(part: string): { index: number; count: number } | null {
  if (part === '') return null
  const [, index, count] = /^(\d{1,6})\/(\d{1,6})$/.exec(part) ?? []
  if (index === undefined || Number(index) >= Number(count)) throw new Unreadable('its rekey header says an impossible piece')
  return { index: Number(index), count: Number(count) }
}

export function formatAbsent(columns: readonly string[]): string {
  return columns.map(encodeURIComponent).join(',')
}

/** Throws Unreadable. */
export function parseAbsent(absent: string): string[] {
  try {
    return absent === '' ? [] : absent.split(',').map(decodeURIComponent)
  } catch {
    throw new Unreadable('its rekey header names a column that cannot be one')
  }
}
