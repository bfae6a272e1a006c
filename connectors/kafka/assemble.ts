import { ALONE } from '../../src/core/alone.ts'
import type { Change, Transaction } from '../../src/core/change.ts'
import { ANEW, RekeyError } from '../../src/core/errors.ts'
import type { Relation } from '../../src/core/relation.ts'
import { chain, type Missing, type Place } from './chain.ts'
import { decoder } from './decode.ts'
import { type Header, headerReader, parsePart, parseTx } from './header.ts'
import { type StoredRecord, Unreadable } from './record.ts'

export interface AssembleOptions {
  /** What the reader has already. */
  readonly start: Place
  /** Which history the records must belong to: see epochOf. */
  readonly epoch: string
  /** What transactions are given as their epoch. */
  readonly number: number
  readonly relations: ReadonlyMap<string, Relation>
  /** An open transaction of this size is given out as a fragment. Default 4 MB, 20,000 changes. */
  readonly fragmentBytes?: number
  readonly fragmentChanges?: number
  /** Only transactions that go alone come in fragments; the others are known to be small. */
  readonly wholes?: boolean
}

export interface Assembler {
  /** Throws Unreadable for a record that is not ours or is damaged, and is then where it was; RekeyError TIMELINE for another history. */
  add(record: StoredRecord): void
  /** Hands over what is complete, and fragments. */
  take(): Transaction[]
  /** What must be there before the record that was added last and is not; null when nothing is missing. */
  gap(): Missing | null
  place(): Place
  /** Offset behind the record that completed the last transaction; null before the first. */
  offset(): string | null
}

/** Turns records back into transactions: each once and whole, whatever was produced twice. */
export function assemble(options: AssembleOptions): Assembler {
  const { fragmentBytes = 4 << 20, fragmentChanges = 20_000 } = options
  const links = chain(options.start)
  const decode = decoder(options.relations)
  const readHeader = headerReader()
  let out: Transaction[] = []
  let changes: Change[] = []
  let messages: string[] = []
  let bytes = 0
  let first = 0
  let alone = false
  let pieces: { readonly tx: string; readonly seq: number; readonly got: Buffer[] } | null = null
  let offset: string | null = null

  const flush = (header: Header, commitMicros: number): void => {
    const { xid, commitLsn } = parseTx(header.tx)
    const { last } = header
    const endLsn = last ? links.place().endLsn : 0n
    out.push({ epoch: options.number, xid, commitLsn, endLsn, commitMicros, changes, first, last, bytes, messages })
    first = last ? 0 : first + changes.length
    changes = []
    messages = []
    bytes = 0
  }
  /** The whole value; null while pieces of it are to come. */
  const whole = (header: Header, value: Buffer): Buffer | null => {
    const part = parsePart(header.part)
    if (part === null) return value
    if (part.index === 0) pieces = { tx: header.tx, seq: header.seq, got: [] }
    // A piece without those before it: the record that should follow will tell that something is missing.
    if (!pieces || pieces.tx !== header.tx || pieces.seq !== header.seq || pieces.got.length !== part.index) return null
    pieces.got.push(value)
    if (part.index + 1 < part.count) return null
    const joined = Buffer.concat(pieces.got)
    pieces = null
    return joined
  }
  return {
    add(record) {
      const header = readHeader(headerBytes(record))
      if (header.epoch !== options.epoch) {
        throw new RekeyError('TIMELINE', 'the change log holds changes of another server, another timeline of the source, or another pipeline', {
          hint: `Delete the topic or set another kafka.prefix; then: ${ANEW}`,
        })
      }
      if (record.value === null) throw new Unreadable('it has no value')
      if (links.judge(header) !== 'take') return
      const value = whole(header, record.value)
      if (value === null) return
      const decoded = decode(value, header)
      if (header.from !== '') alone = header.alone
      if (header.from !== '' && alone) messages.push(ALONE)
      links.advance(header, decoded.kind === 'message')
      if (decoded.kind === 'change') {
        changes.push(decoded.change)
        bytes += decoded.bytes
      } else if (decoded.content !== '') {
        messages.push(decoded.content)
        bytes += decoded.content.length
      }
      if (header.last) {
        flush(header, decoded.commitMicros)
        offset = String(BigInt(record.offset) + 1n)
      } else if ((alone || !options.wholes) && changes.at(-1)?.op !== 'truncate' && (bytes >= fragmentBytes || changes.length >= fragmentChanges)) flush(header, decoded.commitMicros)
    },
    take() {
      const taken = out
      out = []
      return taken
    },
    gap: links.gap, place: links.place,
    offset: () => offset,
  }
}

function headerBytes(record: StoredRecord): Buffer | string {
  const value = record.headers?.['rekey']
  if (value === undefined) throw new Unreadable('it has no rekey header')
  if (Array.isArray(value)) throw new Unreadable('it has several rekey headers')
  return value
}
