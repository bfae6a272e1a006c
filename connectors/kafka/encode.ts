import type { Change, Op, Transaction } from '../../src/core/change.ts'
import { RekeyError } from '../../src/core/errors.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import { formatLsn } from '../../src/core/lsn.ts'
import { nameOf, type Relation } from '../../src/core/relation.ts'
import { fieldEnd, fieldStart, isNull, isUnchanged, type Row } from '../../src/core/row.ts'
import { formatAbsent, formatHeader, txOf } from './header.ts'
import { type JsonOut, newJsonOut, put, putString, take } from './json-out.ts'
import type { NewRecord } from './record.ts'
import { sourceText, type Origin } from './source-block.ts'

export interface EncodeOptions extends Origin {
  readonly epoch: string
  /** Columns of the primary key, for tables whose replica identity does not say: FULL names every column. */
  readonly primaryKey: (relation: Relation) => readonly string[]
  /** A value larger than this is cut into pieces. */
  readonly partBytes: number
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/**
 * Transactions as Debezium's records of the lossless profile: payload alone, every value as Postgres's text. The records of a transaction
 * without changes or messages is one empty message: it only moves the position. `from`: see Header. Throws RekeyError ENCODING.
 */
export type Encode = (transaction: Transaction, from: Lsn, alone?: boolean) => NewRecord[]

const OPS: Readonly<Record<Op, string>> = { insert: 'c', update: 'u', delete: 'd', truncate: 't' }
const BEFORE = Buffer.from('{"before":')
const AFTER = Buffer.from(',"after":')
const NULL = Buffer.from('null')
const COMMA = Buffer.from(',')
const CLOSE = Buffer.from('}')
const SOURCE = Buffer.from(',"source":')
const OPEN = Buffer.from('{')

/** Names of a table's columns as they stand in front of values, and which of them are the record's key. */
interface Layout {
  readonly names: readonly Buffer[]
  readonly identity: readonly number[]
  readonly key: readonly number[]
}

export function encoder(options: EncodeOptions): Encode {
  const out = newJsonOut()
  const layouts = new WeakMap<Relation, Layout>()
  const ends = new Map<string, Buffer>()
  let endsOf = 0
  let sources = new Map<Relation | null, Buffer>()
  let sourcesOf: Lsn = -1n
  let lastCommit: Lsn = 0n

  const layoutOf = (relation: Relation): Layout => {
    let layout = layouts.get(relation)
    if (!layout) layouts.set(relation, (layout = layOut(relation, options.primaryKey)))
    return layout
  }
  const sourceOf = (t: Transaction, relation: Relation | null): Buffer => {
    if (t.commitLsn !== sourcesOf) {
      lastCommit = sourcesOf > 0n ? sourcesOf : t.commitLsn
      sources = new Map()
      sourcesOf = t.commitLsn
    }
    let block = sources.get(relation)
    if (!block) sources.set(relation, (block = Buffer.from(sourceText(options, t, relation, lastCommit))))
    return block
  }
  const endOf = (op: string): Buffer => {
    const ms = options.now()
    if (ms !== endsOf) ends.clear()
    endsOf = ms
    let end = ends.get(op)
    if (!end) {
      const times = `"ts_ms":${ms},"ts_us":${ms}000,"ts_ns":${ms}000000`
      ends.set(op, (end = Buffer.from(op === 'm' ? `,"op":"m",${times}` : `,"transaction":null,"op":"${op}",${times}}`)))
    }
    return end
  }

  const changeRecord = (t: Transaction, change: Change, header: Parameters<typeof formatHeader>[0]): NewRecord[] => {
    const { relation, row, old, oldIsFull } = change
    const layout = layoutOf(relation)
    const carrier = row ?? old
    const key = carrier && layout.key.length > 0 ? keyBytes(out, carrier, layout, relation) : null
    put(out, BEFORE)
    if (old) putRow(out, old, layout, oldIsFull ? null : layout.identity, relation)
    else put(out, NULL)
    put(out, AFTER)
    if (row) putRow(out, row, layout, null, relation)
    else put(out, NULL)
    put(out, SOURCE)
    const source = out.at - out.start
    put(out, sourceOf(t, relation))
    put(out, endOf(OPS[change.op]))
    const absent = row ? formatAbsent(missing(row, relation)) : ''
    return inParts(key, take(out), { ...header, absent, source, before: old ? (oldIsFull ? 'f' : 'k') : '' }, options.partBytes)
  }
  const messageRecord = (t: Transaction, content: string, header: Parameters<typeof formatHeader>[0]): NewRecord[] => {
    put(out, OPEN)
    put(out, SOURCE.subarray(1))
    const source = out.at - out.start
    put(out, sourceOf(t, null))
    put(out, endOf('m'))
    put(out, Buffer.from(`,"message":{"prefix":"rekey","content":"${Buffer.from(content).toString('base64')}"}}`))
    return inParts(null, take(out), { ...header, source }, options.partBytes)
  }

  return (t, from, alone = false) => {
    const records: NewRecord[] = []
    const { changes, messages, first } = t
    const silent = t.last && changes.length === 0 && messages.length === 0
    const contents = silent ? [''] : messages
    const tx = txOf(t.xid, t.commitLsn)
    const count = changes.length + contents.length
    for (let i = 0; i < count; i++) {
      const last = t.last && i === count - 1
      const header = {
        epoch: options.epoch, tx, seq: first + Math.min(i, changes.length), last, absent: '', from: first === 0 && i === 0 ? formatLsn(from) : '',
        end: last ? formatLsn(t.endLsn) : '', source: 0, before: '' as const, part: '', alone,
      }
      const made = i < changes.length ? changeRecord(t, changes[i], header) : messageRecord(t, contents[i - changes.length], header)
      for (const record of made) records.push(record)
    }
    return records
  }
}

function layOut(relation: Relation, primaryKey: EncodeOptions['primaryKey']): Layout {
  const at = (wanted: (name: string, key: boolean) => boolean): number[] =>
    relation.columns.flatMap((column, i) => (wanted(column.name, column.key) ? [i] : []))
  const identity = at((_, key) => key)
  const primary = new Set(relation.identity === 'f' ? primaryKey(relation) : [])
  return {
    names: relation.columns.map((column) => Buffer.from(`${JSON.stringify(column.name)}:`)),
    identity, key: relation.identity === 'f' ? at((name) => primary.has(name)) : identity,
  }
}

function missing(row: Row, relation: Relation): string[] {
  const names: string[] = []
  for (let i = 0; i < row.width; i++) if (isUnchanged(row, i)) names.push(relation.columns[i].name)
  return names
}

function keyBytes(out: JsonOut, row: Row, layout: Layout, relation: Relation): Buffer {
  putRow(out, row, layout, layout.key, relation)
  return take(out)
}

/** The row as a JSON object; only these columns of it, if not null. What was not sent is not written. */
function putRow(out: JsonOut, row: Row, layout: Layout, only: readonly number[] | null, relation: Relation): void {
  put(out, OPEN)
  let empty = true
  const count = only ? only.length : row.width
  for (let n = 0; n < count; n++) {
    const i = only ? only[n] : n
    if (isUnchanged(row, i)) continue
    if (!empty) put(out, COMMA)
    empty = false
    put(out, layout.names[i])
    if (isNull(row, i)) put(out, NULL)
    else if (!putString(out, row.buf, fieldStart(row, i), fieldEnd(row, i))) throw notText(relation, i)
  }
  put(out, CLOSE)
}

function notText(relation: Relation, i: number): RekeyError {
  return new RekeyError('ENCODING', `a value of ${nameOf(relation)}.${relation.columns[i].name} is not valid UTF-8`)
}

/** A value that is larger than a record may be goes on as several, with one key, in order. */
function inParts(key: Buffer | null, value: Buffer, header: Parameters<typeof formatHeader>[0], most: number): NewRecord[] {
  if (value.length <= most) return [{ key, value, headers: { rekey: formatHeader(header) } }]
  const count = Math.ceil(value.length / most)
  return Array.from({ length: count }, (_, i) => ({
    key, value: value.subarray(i * most, (i + 1) * most), headers: { rekey: formatHeader({ ...header, part: `${i}/${count}` }) },
  }))
}
