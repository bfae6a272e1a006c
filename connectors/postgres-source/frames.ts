import type { Client, Submittable } from 'pg'
import type { Socket } from 'node:net'

/** One backend message: its kind, and its body in buf[start, end). The header is the 5 bytes before the body. */
export type OnFrame = (kind: number, buf: Buffer, start: number, end: number) => void

const HEADER = 5

/**
 * Cuts a byte stream into backend messages (manual, 55.7). Whole messages are read in place; one that a chunk cuts is put together in a
 * buffer of its own size, so a large value is copied once whatever the number of its chunks.
 */
export function frames(onFrame: OnFrame): (chunk: Buffer) => void {
  let held: Buffer | null = null
  let have = 0

  /** Adds to the held message and returns how much of the chunk that took. */
  function fill(chunk: Buffer, from: number): number {
    let at = from
    while (held) {
      const n = Math.min(held.length - have, chunk.length - at)
      chunk.copy(held, have, at, at + n)
      have += n
      at += n
      if (have < held.length) return at
      const size = 1 + held.readUInt32BE(1)
      if (size === have) {
        const whole = held
        held = null
        onFrame(whole[0], whole, HEADER, size)
      } else {
        const grown = Buffer.allocUnsafeSlow(size)
        held.copy(grown)
        held = grown
      }
    }
    return at
  }

  return (chunk) => {
    let at = held ? fill(chunk, 0) : 0
    const length = chunk.length
    while (length - at >= HEADER) {
      const size = 1 + (((chunk[at + 1] << 24) | (chunk[at + 2] << 16) | (chunk[at + 3] << 8) | chunk[at + 4]) >>> 0)
      if (size > length - at) break
      onFrame(chunk[at], chunk, at + HEADER, at + size)
      at += size
    }
    if (at < length) {
      held = Buffer.allocUnsafe(HEADER)
      have = 0
      fill(chunk, at)
    }
  }
}

/** The parts of a pg connection that are used here and that its types leave out. */
interface Wire {
  stream: Socket
  query(text: string): void
}

export function socketOf(client: Client): Socket {
  return (client as unknown as { connection: Wire }).connection.stream
}

const COPY_DATA = 100
/** CopyOutResponse, CopyBothResponse, CopyDone: of no interest to pg, which would not expect them. */
const COPY_KINDS = new Set([72, 87, 99])
const READY = 90

export interface CopyHooks {
  /** One CopyData body. An exception fails the copy. */
  data(buf: Buffer, start: number, end: number): void
  /** After each chunk of the socket. */
  chunk(bytes: number): void
  /** The server has begun (CopyOutResponse or CopyBothResponse). */
  begun?(): void
}

/**
 * Runs a statement that answers with COPY data, reading the socket itself: pg would make an object and an event of each row. Every
 * message that is not COPY data goes on to pg, so errors, notices and the end of the statement are its business. Resolves at the end of
 * the statement; rejects with pg's error, or with what a hook threw (then the socket is destroyed).
 */
export function copyFrom(client: Client, sql: string, hooks: CopyHooks): Promise<void> {
  const socket = socketOf(client)
  return new Promise((resolve, reject) => {
    let listeners: ((chunk: Buffer) => void)[] = []
    let failed = false
    const toPg = (buf: Buffer): void => listeners.forEach((listener) => listener.call(socket, buf))
    const cut = frames((kind, buf, start, end) => {
      if (kind === COPY_DATA) hooks.data(buf, start, end)
      else if (!COPY_KINDS.has(kind)) {
        if (kind === READY) giveBack()
        toPg(Buffer.from(buf.subarray(start - HEADER, end)))
      } else if (kind !== 99) hooks.begun?.()
    })
    const onData = (chunk: Buffer): void => {
      if (failed) return
      try {
        cut(chunk)
        hooks.chunk(chunk.length)
      } catch (error) {
        failed = true
        reject(error)
        socket.destroy()
      }
    }
    function giveBack(): void {
      socket.removeListener('data', onData)
      for (const listener of listeners) socket.on('data', listener)
    }
    const statement = {
      submit(wire: unknown) {
        listeners = socket.listeners('data') as typeof listeners
        for (const listener of listeners) socket.removeListener('data', listener)
        socket.on('data', onData)
        ;(wire as Wire).query(sql)
      },
      handleError: reject,
      handleCommandComplete() {},
      handleReadyForQuery: () => resolve(),
    }
    client.query(statement as Submittable)
  })
}
