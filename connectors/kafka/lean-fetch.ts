import { createRequire } from 'node:module'
import { type FetchedRecord, recordsIn } from './fetched.ts'

const require = createRequire(import.meta.url)

interface Partition {
  readonly partition: number
  readonly errorCode: number
  readonly highWatermark: string
  readonly lastStableOffset: string
  readonly lastStartOffset: string
  readonly abortedTransactions: readonly { readonly producerId: string; readonly firstOffset: string }[]
  readonly preferredReadReplica: number
  readonly messages: readonly FetchedRecord[]
}

/** An answer to Fetch as kafkajs's own decoder gives it. */
export interface Fetched {
  readonly throttleTime: number
  readonly clientSideThrottleTime: number
  readonly errorCode: number
  readonly sessionId: number
  readonly responses: readonly { readonly topicName: string; readonly partitions: readonly Partition[] }[]
}

interface Response {
  readonly decode: (raw: Buffer) => Promise<unknown>
}

/** Of `protocol/requests/fetch`: the library looks it up there for each request. */
interface FetchModule {
  protocol: (of: { readonly version: number }) => (options: object) => { readonly response: Response }
}

/** The version that the library speaks with brokers since 2.3, as of which the answer is known here. */
const VERSION = 11
let installed = false

/**
 * Lets the library decode what it fetched by recordsIn(). What that does not know, the library decodes by itself. Only for the version that
 * lean.ts has checked.
 */
export function installLeanFetch(): void {
  if (installed) return
  const fetch = require('kafkajs/src/protocol/requests/fetch') as FetchModule
  const { protocol } = fetch
  fetch.protocol = ({ version }) => {
    const make = protocol({ version })
    return version !== VERSION ? make : (options) => {
      const made = make(options)
      return { ...made, response: { ...made.response, decode: async (raw) => (await decodeFetch(raw)) ?? made.response.decode(raw) } }
    }
  }
  installed = true
}

/** Null when a partition of it holds what recordsIn() does not know. */
async function decodeFetch(raw: Buffer): Promise<Fetched | null> {
  const at = { buf: raw, p: 0 }
  const head = { throttleTime: 0, clientSideThrottleTime: int32(at), errorCode: int16(at), sessionId: int32(at) }
  const responses: { topicName: string; partitions: Partition[] }[] = []
  for (let topics = int32(at); topics > 0; topics--) {
    const topicName = text(at)
    const partitions: Partition[] = []
    for (let left = int32(at); left > 0; left--) {
      const one = await partitionAt(at)
      if (one === null) return null
      partitions.push(one)
    }
    responses.push({ topicName, partitions })
  }
  return { ...head, responses }
}

async function partitionAt(at: Cursor): Promise<Partition | null> {
  const [partition, errorCode] = [int32(at), int16(at)]
  const [highWatermark, lastStableOffset, lastStartOffset] = [int64(at), int64(at), int64(at)]
  const abortedTransactions: { producerId: string; firstOffset: string }[] = []
  for (let left = int32(at); left > 0; left--) abortedTransactions.push({ producerId: int64(at), firstOffset: int64(at) })
  const preferredReadReplica = int32(at)
  const size = int32(at)
  const messages = size <= 0 ? [] : await recordsIn(at.buf.subarray(at.p, at.p + size), abortedTransactions.length > 0)
  if (messages === null) return null
  at.p += Math.max(0, size)
  return { partition, errorCode, highWatermark, lastStableOffset, lastStartOffset, abortedTransactions, preferredReadReplica, messages }
}

interface Cursor {
  readonly buf: Buffer
  p: number
}

function int16(at: Cursor): number {
  at.p += 2
  return at.buf.readInt16BE(at.p - 2)
}

function int32(at: Cursor): number {
  at.p += 4
  return at.buf.readInt32BE(at.p - 4)
}

function int64(at: Cursor): string {
  at.p += 8
  return String(at.buf.readBigInt64BE(at.p - 8))
}

function text(at: Cursor): string {
  const length = int16(at)
  at.p += length
  return at.buf.toString('utf8', at.p - length, at.p)
}
