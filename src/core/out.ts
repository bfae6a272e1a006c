import { BACKSLASH, ESCAPE, NEWLINE, TAB } from './row.ts'

const POOLED = 64 * 1024
/** Bytes of free buffers that are kept at most. */
const KEPT = 24 * 1024 * 1024
const NOTHING = Buffer.alloc(0)

/**
 * COPY text being written: lines of a table, ready to be sent. Grows by doubling; `buf` is replaced when it does, so it is read
 * only after the last write. The one mutable thing on the way of a row, kept here so that everything else is a value.
 */
export class Lines {
  /** Buffers that are free again, by size: new ones have to be zeroed or paged in by the system, which costs more than filling them. */
  static readonly #free = new Map<number, Buffer[]>()
  static #kept = 0

  buf: Buffer
  at = 0
  rows = 0

  constructor(size = 1024) {
    this.buf = Lines.#take(size)
  }

  static #take(size: number): Buffer {
    if (size < POOLED) return Buffer.allocUnsafe(size)
    const rounded = 2 ** Math.ceil(Math.log2(size))
    const free = Lines.#free.get(rounded)?.pop()
    if (!free) return Buffer.allocUnsafeSlow(rounded)
    Lines.#kept -= rounded
    return free
  }

  /** Gives the buffer back: to be called when its bytes have been sent and nobody reads them any more. */
  release(): void {
    const { buf } = this
    this.buf = NOTHING
    this.at = 0
    if (buf.length < POOLED || Lines.#kept + buf.length > KEPT) return
    Lines.#kept += buf.length
    const free = Lines.#free.get(buf.length)
    if (free) free.push(buf)
    else Lines.#free.set(buf.length, [buf])
  }

  /** Makes room for `more` bytes after `at`. */
  ensure(more: number): void {
    if (this.at + more <= this.buf.length) return
    const grown = Lines.#take(Math.max(this.buf.length * 2, this.at + more))
    const { at, rows } = this
    this.buf.copy(grown, 0, 0, at)
    this.release()
    this.buf = grown
    this.at = at
    this.rows = rows
  }

  tab(): void {
    this.ensure(1)
    this.buf[this.at++] = TAB
  }

  end(): void {
    this.ensure(1)
    this.buf[this.at++] = NEWLINE
    this.rows++
  }

  /** Bytes that are COPY text already. */
  bytes(source: Buffer, start: number, end: number): void {
    const length = end - start
    this.ensure(length)
    if (length > 48) source.copy(this.buf, this.at, start, end)
    else for (let i = start, at = this.at; i < end; i++) this.buf[at++] = source[i]
    this.at += length
  }

  /** ASCII or latin1 text that is COPY text already. */
  raw(text: string): void {
    this.ensure(text.length)
    this.at += this.buf.write(text, this.at, 'latin1')
  }

  null(): void {
    this.ensure(2)
    this.buf[this.at++] = BACKSLASH
    this.buf[this.at++] = 78
  }

  /** Any value: escaped here. */
  value(text: string | Buffer | null): void {
    if (text === null) return this.null()
    const source = typeof text === 'string' ? Buffer.from(text, 'utf8') : text
    this.ensure(source.length * 2)
    const { buf } = this
    let at = this.at
    for (let i = 0; i < source.length; i++) {
      const letter = ESCAPE[source[i]]
      if (letter) {
        buf[at++] = BACKSLASH
        buf[at++] = letter
      } else buf[at++] = source[i]
    }
    this.at = at
  }

  /** A whole line of values. */
  line(values: readonly (string | null)[]): void {
    values.forEach((value, i) => {
      if (i > 0) this.tab()
      this.value(value)
    })
    this.end()
  }

  view(): Buffer {
    return this.buf.subarray(0, this.at)
  }
}
