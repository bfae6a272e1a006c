import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/** What the head of a request takes at most: its length, its kind and version, a number, and the name of the client. */
export const HEAD = 256

/**
 * A request that is encoded, with room for its head in front of it. For the library it is like one of its encoders, which it would copy
 * into a second and a third one.
 */
export class Framed {
  readonly buf: Buffer
  readonly #start: number
  constructor(buf: Buffer, start: number) {
    this.buf = buf
    this.#start = start
  }
  get buffer(): Buffer {
    return this.buf.subarray(this.#start)
  }
  size(): number {
    return this.buf.length - this.#start
  }
  /** The same with these bytes in front, which take their place in its room. */
  behind(head: Buffer): Framed {
    this.buf.set(head, this.#start - head.length)
    return new Framed(this.buf, this.#start - head.length)
  }
}

interface Sending {
  readonly correlationId: number
  readonly clientId: string
  readonly request: { readonly apiKey: number; readonly apiVersion: number; readonly encode: () => Promise<unknown> }
}

/**
 * Lets `protocol/request` of the library, which puts the head before a request, leave a Framed one where it is. The library's connections take
 * that function when they are loaded: where they were loaded before this, frames are copied, and nothing else differs.
 */
export function keepFrames(): void {
  const module = require.cache[require.resolve('kafkajs/src/protocol/request')] ?? load('kafkajs/src/protocol/request')
  const theirs = module.exports as (of: Sending) => Promise<unknown>
  module.exports = async (of: Sending): Promise<unknown> => {
    const { request: { apiKey, apiVersion, encode }, correlationId, clientId } = of
    const payload = await encode()
    if (!(payload instanceof Framed)) return theirs({ ...of, request: { ...of.request, encode: async () => payload } })
    const head = Buffer.concat([int16(apiKey), int16(apiVersion), int32(correlationId), text(clientId)])
    return payload.behind(Buffer.concat([int32(head.length + payload.size()), head]))
  }
}

function load(name: string): NodeJS.Module {
  require(name)
  return require.cache[require.resolve(name)]!
}

export function int16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2)
  bytes.writeInt16BE(value)
  return bytes
}

export function int32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeInt32BE(value)
  return bytes
}

/** A nullable string of the protocol. */
export function text(value: string | null): Buffer {
  if (value === null) return int16(-1)
  const bytes = Buffer.from(value)
  return Buffer.concat([int16(bytes.length), bytes])
}
