import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { crc32c } from './crc32c.ts'

const deflate = promisify(gzip)

/** A record to be written. Headers come in the order of the object. */
export interface BatchRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, Buffer | string>>
}

/** What is known of a batch when it is sent. */
export interface BatchHead {
  readonly compression: 'none' | 'gzip'
  /** Milliseconds since 1970, of all its records. */
  readonly timestamp: number
  /** -1 for a producer without one. */
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly firstSequence: number
}

/** Records in the form that brokers store, format 2 (manual of Kafka, "Record Batch"), one partition's. */
export interface RecordBatch {
  count(): number
  add(record: BatchRecord): void
  /**
   * The whole batch, with its checksum, behind `room` bytes for whoever sends it. It stays as it is until clear(), after which its memory is
   * the next one's; for another head it may be asked for again, and is then another buffer.
   */
  seal(head: BatchHead): Promise<Buffer>
  clear(): void
}

/** Where the fields of a batch are, and its records begin. */
const LENGTH = 8, LEADER_EPOCH = 12, MAGIC = 16, CRC = 17, ATTRIBUTES = 21, LAST_OFFSET = 23, FIRST_TIME = 27, LAST_TIME = 35
const PRODUCER = 43, PRODUCER_EPOCH = 51, SEQUENCE = 53, COUNT = 57, RECORDS = 61
const GZIP = 1
/** A varint's most; lengths are 31 bits. */
const VARINT = 5

/** `bytes`: how much it is expected to hold; it grows. `room`: bytes in front of it that seal() leaves to its caller. */
export function recordBatch(bytes: number, room = 0): RecordBatch {
  const first = room + RECORDS
  let buf = Buffer.allocUnsafeSlow(first + bytes)
  let at = first
  let count = 0
  /** Somebody has its bytes. */
  let lent = false

  const reserve = (more: number): void => {
    if (buf.length - at >= more) return
    const next = Buffer.allocUnsafeSlow(Math.max(2 * buf.length, at + more))
    buf.copy(next, 0, 0, at)
    buf = next
  }
  const putBytes = (bytes: Buffer | null): void => {
    if (bytes === null) return void (buf[at++] = 1)
    at = putVarint(buf, at, bytes.length)
    buf.set(bytes, at)
    at += bytes.length
  }
  const putText = (text: string): void => {
    const length = Buffer.byteLength(text)
    at = putVarint(buf, at, length)
    // ASCII is copied quicker as what it is in memory.
    at += buf.write(text, at, length, length === text.length ? 'latin1' : 'utf8')
  }
  return {
    count: () => count,
    add({ key, value, headers }) {
      const names = Object.keys(headers)
      let size = 2 + sizeOfVarint(count) + sizeOfBytes(key) + sizeOfBytes(value) + sizeOfVarint(names.length)
      for (const name of names) size += sizeOfText(name) + sizeOf(headers[name])
      reserve(VARINT + size)
      at = putVarint(buf, at, size)
      // No attributes, and the time of the batch.
      buf[at++] = 0
      buf[at++] = 0
      at = putVarint(buf, at, count)
      putBytes(key)
      putBytes(value)
      at = putVarint(buf, at, names.length)
      for (const name of names) {
        putText(name)
        const header = headers[name]
        if (typeof header === 'string') putText(header)
        else putBytes(header)
      }
      count++
    },
    async seal(head) {
      let sealed: Buffer
      if (head.compression === 'gzip') sealed = Buffer.concat([Buffer.allocUnsafe(first), await deflate(buf.subarray(first, at))])
      else {
        if (lent) buf = Buffer.from(buf)
        lent = true
        sealed = buf.subarray(0, at)
      }
      finish(sealed.subarray(room), count, head)
      return sealed
    },
    clear() {
      at = first
      count = 0
      lent = false
    },
  }
}

/** Fills in what stands before the records. */
function finish(batch: Buffer, count: number, { compression, timestamp, producerId, producerEpoch, firstSequence }: BatchHead): void {
  batch.fill(0, 0, LENGTH)
  batch.writeInt32BE(batch.length - LEADER_EPOCH, LENGTH)
  batch.writeInt32BE(0, LEADER_EPOCH)
  batch[MAGIC] = 2
  batch.writeInt16BE(compression === 'gzip' ? GZIP : 0, ATTRIBUTES)
  batch.writeInt32BE(count - 1, LAST_OFFSET)
  batch.writeBigInt64BE(BigInt(timestamp), FIRST_TIME)
  batch.writeBigInt64BE(BigInt(timestamp), LAST_TIME)
  batch.writeBigInt64BE(producerId, PRODUCER)
  batch.writeInt16BE(producerEpoch, PRODUCER_EPOCH)
  batch.writeInt32BE(firstSequence, SEQUENCE)
  batch.writeInt32BE(count, COUNT)
  batch.writeUInt32BE(crc32c(batch, ATTRIBUTES, batch.length), CRC)
}

/** Signed, so that small ones of either sign are short (zigzag); ours are never negative, and -1 stands for null. */
function putVarint(buf: Buffer, at: number, value: number): number {
  let rest = value * 2
  while (rest > 127) {
    buf[at++] = (rest & 127) | 128
    rest >>>= 7
  }
  buf[at++] = rest
  return at
}

function sizeOfVarint(value: number): number {
  return value < 64 ? 1 : value < 8_192 ? 2 : value < 1_048_576 ? 3 : value < 134_217_728 ? 4 : VARINT
}

function sizeOfBytes(bytes: Buffer | null): number {
  return bytes === null ? 1 : sizeOfVarint(bytes.length) + bytes.length
}

function sizeOfText(text: string): number {
  const length = Buffer.byteLength(text)
  return sizeOfVarint(length) + length
}

function sizeOf(header: Buffer | string): number {
  return typeof header === 'string' ? sizeOfText(header) : sizeOfBytes(header)
}
