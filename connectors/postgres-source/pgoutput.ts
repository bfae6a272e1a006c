import { RekeyError } from '../../src/core/errors.ts'
import { sameShape, type Column, type Relation, type ReplicaIdentity } from '../../src/core/relation.ts'
import { BACKSLASH, ESCAPE, TAB, type Row } from '../../src/core/row.ts'
import type { Change, Op } from '../../src/core/change.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import { newArena, putEscaped, reserve } from './arena.ts'

/** What the decoder tells, in the order of the stream. */
export interface Sink {
  /** False when the changes of this transaction are not wanted: they are then not decoded. */
  begin(commitLsn: Lsn, commitMicros: number, xid: number): boolean
  change(change: Change, bytes: number): void
  message(lsn: Lsn, transactional: boolean, prefix: string, content: Buffer): void
  commit(commitLsn: Lsn, endLsn: Lsn): void
}

/** Decodes one pgoutput message in buf[start, end). Nothing of buf is kept. Throws RekeyError INTERNAL on what it does not know. */
export type Decode = (buf: Buffer, start: number, end: number) => void

/** Microseconds from the Unix epoch to Postgres's, 2000-01-01. */
export const POSTGRES_EPOCH_MICROS = 946_684_800_000_000
/** Above this, a message's rows are measured before room is made, so that a large row is not given three times its size. */
const MEASURE_ABOVE = 1 << 16

const B = 66, C = 67, D = 68, I = 73, K = 75, M = 77, N = 78, O = 79, R = 82, T = 84, U = 85, Y = 89
const LOWER_N = 110, LOWER_T = 116, LOWER_U = 117

/**
 * The logical replication protocol, version 1 (manual, 55.9 "Logical Replication Message Formats"). A row's values go once from the
 * receive buffer to the arena, escaped as COPY text on the way.
 */
export function pgoutput(sink: Sink): Decode {
  const relations = new Map<number, Relation>()
  const arena = newArena()
  let wanted = false
  let pos = 0
  let limit = 0

  /** Reads the tuple at pos into the arena and moves pos behind it. */
  function tuple(src: Buffer): Row {
    const width = u16(src, pos)
    let p = pos + 2
    reserve(arena, limit - pos > MEASURE_ABOVE ? measure(src, p, width, limit) : 3 * (limit - pos), width)
    const { buf, ends, endsAt } = arena
    let o = arena.at
    let e = endsAt
    ends[e++] = o
    for (let i = 0; i < width; i++) {
      if (i > 0) buf[o++] = TAB
      const kind = src[p++]
      if (kind === LOWER_T) {
        const stop = p + 4 + u32(src, p)
        if (stop > limit) throw broken('a value runs past the end of its message')
        o = putEscaped(arena, o, src, p + 4, stop)
        p = stop
      } else {
        buf[o++] = BACKSLASH
        buf[o++] = mark(kind)
      }
      ends[e++] = o
    }
    arena.at = o
    arena.endsAt = e
    pos = p
    return { buf, ends, at: endsAt, width }
  }

  function relationAt(src: Buffer, at: number): Relation {
    const relation = relations.get(u32(src, at))
    if (!relation) throw broken('a change names a relation that was not described')
    return relation
  }

  function rows(op: Op, src: Buffer): void {
    const relation = relationAt(src, pos)
    const from = limit - pos
    pos += 4
    let old: Row | null = null
    let row: Row | null = null
    let oldIsFull = false
    if (src[pos] === K || src[pos] === O) {
      oldIsFull = src[pos++] === O
      old = tuple(src)
    }
    if (op !== 'delete') {
      if (src[pos++] !== N) throw broken('a new row was expected')
      row = tuple(src)
    }
    if (pos !== limit) throw broken('a message is longer than its rows')
    sink.change({ op, relation, row, old, oldIsFull }, from)
  }

  function truncate(src: Buffer): void {
    const count = u32(src, pos)
    for (let i = 0; i < count; i++) {
      sink.change({ op: 'truncate', relation: relationAt(src, pos + 5 + 4 * i), row: null, old: null, oldIsFull: false }, 0)
    }
  }

  function describe(src: Buffer): void {
    const next = relationOf(src, pos)
    const known = relations.get(next.oid)
    if (!known || !sameShape(known, next)) relations.set(next.oid, next)
  }

  function message(src: Buffer): void {
    const prefixEnd = src.indexOf(0, pos + 9)
    const length = u32(src, prefixEnd + 1)
    const content = src.subarray(prefixEnd + 5, prefixEnd + 5 + length)
    sink.message(src.readBigUInt64BE(pos + 1), (src[pos] & 1) === 1, src.toString('utf8', pos + 9, prefixEnd), content)
  }

  return (buf, start, end) => {
    pos = start + 1
    limit = end
    switch (buf[start]) {
      case I: return wanted ? rows('insert', buf) : undefined
      case U: return wanted ? rows('update', buf) : undefined
      case D: return wanted ? rows('delete', buf) : undefined
      case T: return wanted ? truncate(buf) : undefined
      case R: return describe(buf)
      case B:
        wanted = sink.begin(buf.readBigUInt64BE(pos), micros(buf, pos + 8), u32(buf, pos + 16))
        return
      case C:
        wanted = false
        return sink.commit(buf.readBigUInt64BE(pos + 1), buf.readBigUInt64BE(pos + 9))
      case M: return message(buf)
      case O:
      case Y: return
      default: throw broken(`unknown message kind ${buf[start]}`)
    }
  }
}

function u16(buf: Buffer, at: number): number {
  return (buf[at] << 8) | buf[at + 1]
}

/** Unsigned: oids and transaction ids use all 32 bits. */
function u32(buf: Buffer, at: number): number {
  return ((buf[at] << 24) | (buf[at + 1] << 16) | (buf[at + 2] << 8) | buf[at + 3]) >>> 0
}

/** A Postgres timestamp as microseconds since the Unix epoch; exact until the year 2255. */
export function micros(buf: Buffer, at: number): number {
  return Number(buf.readBigInt64BE(at)) + POSTGRES_EPOCH_MICROS
}

function mark(kind: number): number {
  if (kind === LOWER_N) return N
  if (kind === LOWER_U) return U
  throw broken(`a column of kind ${kind} in a stream that was asked for in text`)
}

/** The exact size of a tuple as COPY text. */
function measure(src: Buffer, at: number, width: number, limit: number): number {
  let size = width
  let p = at
  for (let i = 0; i < width; i++) {
    if (src[p++] !== LOWER_T) {
      size += 2
      continue
    }
    const stop = Math.min(p + 4 + u32(src, p), limit)
    for (p += 4; p < stop; p++) size += ESCAPE[src[p]] !== 0 ? 2 : 1
  }
  return size
}

function relationOf(src: Buffer, at: number): Relation {
  let pos = at + 4
  const text = (): string => {
    const stop = src.indexOf(0, pos)
    const value = src.toString('utf8', pos, stop)
    pos = stop + 1
    return value
  }
  const schema = text() || 'pg_catalog'
  const table = text()
  const identity = String.fromCharCode(src[pos]) as ReplicaIdentity
  const width = u16(src, pos + 1)
  pos += 3
  const columns: Column[] = []
  for (let i = 0; i < width; i++) {
    const key = (src[pos++] & 1) === 1
    const name = text()
    columns.push({ name, typeOid: u32(src, pos), typmod: src.readInt32BE(pos + 4), key })
    pos += 8
  }
  return { oid: u32(src, at), schema, table, identity, columns }
}

function broken(what: string): RekeyError {
  return new RekeyError('INTERNAL', `replication stream: ${what}`)
}
