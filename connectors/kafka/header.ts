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

const WHOLE = /^\d{1,15}$/
const SEMICOLON = 59, ZERO = 48, NINE = 57
const DIGITS = 15

/** Reads one header after the other: what those of one transaction have in common is taken from the one before. Throws Unreadable. */
export function headerReader(): (value: Buffer | string) => Header {
  const at: Cursor = { buf: Buffer.alloc(0), p: 0 }
  let common = Buffer.alloc(0)
  let epoch = ''
  let tx = ''
  return (value) => {
    const buf = typeof value === 'string' ? Buffer.from(value, 'latin1') : value
    at.buf = buf
    at.p = beginsWith(buf, common) ? common.length : 0
    if (at.p === 0) {
      epoch = field(at)
      tx = field(at)
      common = Buffer.from(buf.subarray(0, at.p))
    }
    const seq = number(at)
    const last = number(at)
    const absent = field(at)
    const from = field(at)
    const end = field(at)
    const source = number(at)
    const before = field(at)
    const part = field(at)
    const alone = at.p <= buf.length && field(at) === '1'
    if (last > 1) throw noNumber()
    if (before !== '' && before !== 'k' && before !== 'f') throw new Unreadable('its rekey header says an unknown kind of old row')
    return { epoch, tx, seq, last: last === 1, absent, from, end, source, before, part, alone }
  }
}

/** Throws Unreadable. */
export function parseHeader(value: Buffer | string): Header {
  return headerReader()(value)
}

interface Cursor {
  buf: Buffer
  /** Where the next field begins; behind the end by more than one where there is none. */
  p: number
}

function beginsWith(buf: Buffer, wanted: Buffer): boolean {
  for (let i = 0; i < wanted.length; i++) if (buf[i] !== wanted[i]) return false
  return wanted.length > 0
}

function field(at: Cursor): string {
  const { buf, p } = at
  if (p > buf.length) throw new Unreadable('its rekey header is cut off')
  let end = p
  while (end < buf.length && buf[end] !== SEMICOLON) end++
  at.p = end + 1
  return end === p ? '' : buf.toString('latin1', p, end)
}

function number(at: Cursor): number {
  const { buf } = at
  const begun = at.p
  if (begun > buf.length) throw new Unreadable('its rekey header is cut off')
  let value = 0
  let p = begun
  for (; p < buf.length && buf[p] >= ZERO && buf[p] <= NINE; p++) value = value * 10 + buf[p] - ZERO
  if (p === begun || p - begun > DIGITS || (p < buf.length && buf[p] !== SEMICOLON)) throw noNumber()
  at.p = p + 1
  return value
}

function noNumber(): Unreadable {
  return new Unreadable('its rekey header has no number where one belongs')
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
