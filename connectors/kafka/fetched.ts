import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'

const inflate = promisify(gunzip)

/** A batch of records (format 2), as kafkajs tells of it. */
interface BatchContext {
  readonly firstOffset: string
  readonly firstTimestamp: string
  readonly partitionLeaderEpoch: number
  readonly inTransaction: boolean
  readonly isControlBatch: boolean
  readonly lastOffsetDelta: number
  readonly producerId: string
  readonly producerEpoch: number
  readonly firstSequence: number
  readonly maxTimestamp: string
  readonly timestampType: 0 | 1
  readonly magicByte: number
}

/** A record as kafkajs hands it out. Its bytes are parts of the answer that it came in. */
export interface FetchedRecord {
  readonly magicByte: number
  readonly attributes: number
  readonly timestamp: string
  readonly offset: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Record<string, Buffer | null | (Buffer | null)[]>
  readonly isControlRecord: boolean
  readonly batchContext: BatchContext
}

/** Where the fields of a batch are, and its records begin. */
const LENGTH = 8, LEADER_EPOCH = 12, MAGIC = 16, ATTRIBUTES = 21, LAST_OFFSET = 23, FIRST_TIME = 27, LAST_TIME = 35
const PRODUCER = 43, PRODUCER_EPOCH = 51, SEQUENCE = 53, COUNT = 57, RECORDS = 61
const CODEC = 7, GZIP = 1, APPEND_TIME = 8, TRANSACTIONAL = 16, CONTROL = 32

/**
 * Records of ascending offsets, none of which is a control record. kafkajs asks twice which ones are to be kept: those from an offset on,
 * and those that are no control records. So what is kept begins somewhere and goes on to the end.
 */
class Ascending extends Array<FetchedRecord> {
  override filter(keep: (record: FetchedRecord, at: number, all: FetchedRecord[]) => unknown): FetchedRecord[] {
    let first = 0
    while (first < this.length && !keep(this[first], first, this)) first++
    return first === 0 ? this : this.slice(first)
  }
}

/**
 * Records of the batches in these bytes, of which the last one may be cut off: it is then left out. Null for what is not format 2, or
 * compressed otherwise than by gzip. `aborted`: records of transactions that were given up may be among them.
 */
export async function recordsIn(buf: Buffer, aborted: boolean): Promise<FetchedRecord[] | null> {
  const out = new Ascending()
  let plain = !aborted
  for (let at = 0; buf.length - at >= RECORDS;) {
    const end = at + LEADER_EPOCH + buf.readInt32BE(at + LENGTH)
    const codec = buf.readInt16BE(at + ATTRIBUTES) & CODEC
    if (buf[at + MAGIC] !== 2 || codec > GZIP) return null
    if (end > buf.length) break
    const context = contextAt(buf, at)
    if (context.isControlBatch) plain = false
    const count = buf.readInt32BE(at + COUNT)
    if (count > 0 && codec === GZIP) readRecords(await inflate(buf.subarray(at + RECORDS, end)), 0, { count, context, out })
    else readRecords(buf, at + RECORDS, { count, context, out })
    at = end
  }
  return plain ? out : Array.from(out)
}

function contextAt(buf: Buffer, at: number): BatchContext {
  const attributes = buf.readInt16BE(at + ATTRIBUTES)
  return {
    firstOffset: String(buf.readBigInt64BE(at)), firstTimestamp: String(buf.readBigInt64BE(at + FIRST_TIME)),
    partitionLeaderEpoch: buf.readInt32BE(at + LEADER_EPOCH), lastOffsetDelta: buf.readInt32BE(at + LAST_OFFSET),
    inTransaction: (attributes & TRANSACTIONAL) > 0, isControlBatch: (attributes & CONTROL) > 0,
    producerId: String(buf.readBigInt64BE(at + PRODUCER)), producerEpoch: buf.readInt16BE(at + PRODUCER_EPOCH),
    firstSequence: buf.readInt32BE(at + SEQUENCE), maxTimestamp: String(buf.readBigInt64BE(at + LAST_TIME)),
    timestampType: (attributes & APPEND_TIME) > 0 ? 1 : 0, magicByte: buf.readInt8(at + MAGIC),
  }
}

interface Reading {
  readonly count: number
  readonly context: BatchContext
  readonly out: FetchedRecord[]
}

function readRecords(buf: Buffer, from: number, { count, context, out }: Reading): void {
  const firstOffset = Number(context.firstOffset)
  const appendTime = context.timestampType === 1 ? context.maxTimestamp : null
  const { magicByte, isControlBatch: isControlRecord } = context
  const at = { buf, p: from, name: '', nameBytes: Buffer.alloc(0) }
  let delta = 0n
  let timestamp = appendTime ?? context.firstTimestamp
  for (let i = 0; i < count; i++) {
    const length = varint(at)
    const end = at.p + length
    const attributes = buf.readInt8(at.p++)
    const later = buf[at.p] === 0 ? (at.p++, 0n) : varlong(at)
    if (appendTime === null && later !== delta) timestamp = String(BigInt(context.firstTimestamp) + later)
    delta = later
    const offset = String(firstOffset + varint(at))
    const key = bytes(at)
    const value = bytes(at)
    out.push({ magicByte, attributes, timestamp, offset, key, value, headers: headers(at), isControlRecord, batchContext: context })
    at.p = end
  }
  if (at.p > buf.length) throw new RangeError('a batch of records is shorter than it says')
}

interface Cursor {
  readonly buf: Buffer
  p: number
  /** The name of the header that was read last: mostly it is the next one's, too. */
  name: string
  nameBytes: Buffer
}

function headers(at: Cursor): FetchedRecord['headers'] {
  const found: FetchedRecord['headers'] = {}
  for (let left = varint(at); left > 0; left--) {
    const name = nameAt(at)
    const value = bytes(at)
    const before = found[name]
    found[name] = before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]
  }
  return found
}

function nameAt(at: Cursor): string {
  const length = varint(at)
  const begun = at.p
  at.p += Math.max(0, length)
  if (length === at.nameBytes.length && isSame(at.buf, begun, at.nameBytes)) return at.name
  at.nameBytes = at.buf.subarray(begun, at.p)
  return (at.name = at.nameBytes.toString('utf8'))
}

function isSame(buf: Buffer, from: number, wanted: Buffer): boolean {
  for (let i = 0; i < wanted.length; i++) if (buf[from + i] !== wanted[i]) return false
  return true
}

function bytes(at: Cursor): Buffer | null {
  const length = varint(at)
  if (length < 0) return null
  const begun = at.p
  at.p += length
  return at.buf.subarray(begun, at.p)
}

function varint(at: Cursor): number {
  const { buf } = at
  let p = at.p
  let value = 0
  for (let shift = 0; ; shift += 7) {
    const byte = buf[p++]
    value |= (byte & 127) << shift
    // Behind the end there is nothing, which is no number.
    if (!(byte > 127)) break
  }
  at.p = p
  return (value >>> 1) ^ -(value & 1)
}

function varlong(at: Cursor): bigint {
  let value = 0n
  for (let shift = 0n; ; shift += 7n) {
    const byte = at.buf[at.p++]
    value |= BigInt(byte & 127) << shift
    if (!(byte > 127)) break
  }
  return BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n))
}
