import { createRequire } from 'node:module'
import type { Kafka } from 'kafkajs'
import { RekeyError } from '../../src/core/errors.ts'
import { kafkaError, mayLookInside } from './client.ts'

const require = createRequire(import.meta.url)

/** A request and its answer as kafkajs's connections take them: `decode` is given what is behind the answer's number. */
interface Exchange<T> {
  readonly request: { readonly apiKey: number; readonly apiVersion: number; readonly apiName: string; readonly encode: () => Promise<{ readonly buffer: Buffer }> }
  readonly response: { readonly decode: (raw: Buffer) => Promise<Metadata>; readonly parse: (data: Metadata) => Promise<T> }
}

interface Broker {
  readonly versions: Readonly<Record<number, { readonly minVersion: number; readonly maxVersion: number } | undefined>>
  readonly connectionPool: { send<T>(exchange: Exchange<T>): Promise<T> }
}

/** Connections of kafkajs, with TLS and SASL. Any broker tells of all topics, so the first that is reached will do. */
interface Cluster {
  connect(): Promise<void>
  disconnect(): Promise<void>
  readonly brokerPool: { readonly seedBroker: Broker }
}

const METADATA = 3
/** The first version that tells ids of topics (KIP-516, brokers since 2.8). The library knows those up to 6. */
const VERSION = 10
const UNKNOWN_TOPIC = 3

/**
 * The id that brokers gave a topic when it was made, as Kafka's own tools write it: a topic of the same name that is made anew has another.
 * Null when there is no such topic, when the brokers know of no ids, or when the library is not to be looked into. Rejects with RekeyError.
 */
export async function topicId(kafka: Kafka, topic: string): Promise<string | null> {
  if (!mayLookInside(kafka)) return null
  const cluster = clusterOf(kafka)
  try {
    await cluster.connect()
    const { versions, connectionPool } = cluster.brokerPool.seedBroker
    const known = versions[METADATA]
    if (!known || known.maxVersion < VERSION || known.minVersion > VERSION) return null
    return await connectionPool.send(metadataExchange(topic))
  } catch (error) {
    throw kafkaError(error, `read the id of topic ${topic}`)
  } finally {
    await cluster.disconnect().catch(() => {})
  }
}

/** The library gives each client one of its own, by a method without a public name. */
function clusterOf(kafka: Kafka): Cluster {
  const name = Object.getOwnPropertySymbols(kafka).find(({ description }) => description === 'private:Kafka:createCluster')
  const create = name && (kafka as unknown as Record<symbol, (of: object) => Cluster>)[name]
  if (!create) throw new RekeyError('INTERNAL', 'kafkajs has no method that makes connections')
  return create({ allowAutoTopicCreation: false })
}

interface Metadata {
  readonly clientSideThrottleTime: number
  readonly errorCode: number
  readonly id: string
}

export function metadataExchange(topic: string): Exchange<string | null> {
  return {
    request: { apiKey: METADATA, apiVersion: VERSION, apiName: 'Metadata', encode: async () => encoded(askFor(topic)) },
    response: {
      decode: async (raw) => answered(raw),
      async parse({ errorCode, id }) {
        if (errorCode === UNKNOWN_TOPIC) return null
        if (errorCode !== 0) throw protocolError(errorCode)
        return id
      },
    },
  }
}

/**
 * MetadataRequest.json, version 10. It is a flexible one: lengths are unsigned varints of one more, and structures end with tagged fields,
 * as does the head of the request (version 2), whose other fields the library writes. A topic is asked for by its name; versions 10 and 11
 * want an id of zeros then.
 */
function askFor(topic: string): Buffer {
  const name = Buffer.from(topic)
  const [createIt, clusterOperations, topicOperations] = [0, 0, 0]
  return Buffer.concat([
    NO_TAGS, uvarint(2), Buffer.alloc(16), uvarint(name.length + 1), name, NO_TAGS, Buffer.from([createIt, clusterOperations, topicOperations]), NO_TAGS,
  ])
}

const NO_TAGS = Buffer.from([0])

/** MetadataResponse.json, version 10, behind an answer's head of version 1, up to what is asked: the first topic's id. */
function answered(buf: Buffer): Metadata {
  const at = { buf, p: 0 }
  skipTags(at)
  const clientSideThrottleTime = int32At(at)
  for (let brokers = lengthAt(at); brokers > 0; brokers--) {
    at.p += 4
    skipText(at)
    at.p += 4
    skipText(at)
    skipTags(at)
  }
  skipText(at)
  at.p += 4
  if (lengthAt(at) < 1) return { clientSideThrottleTime, errorCode: UNKNOWN_TOPIC, id: '' }
  const errorCode = buf.readInt16BE(at.p)
  at.p += 2
  skipText(at)
  return { clientSideThrottleTime, errorCode, id: buf.toString('base64url', at.p, at.p + 16) }
}

interface Cursor {
  readonly buf: Buffer
  p: number
}

function int32At(at: Cursor): number {
  at.p += 4
  return at.buf.readInt32BE(at.p - 4)
}

function uvarintAt(at: Cursor): number {
  let value = 0
  for (let shift = 0; ; shift += 7) {
    const byte = at.buf.readUInt8(at.p++)
    value |= (byte & 127) << shift
    if (byte < 128) return value >>> 0
  }
}

/** Of an array or a text: one less than what stands there; 0 of one that is null. */
function lengthAt(at: Cursor): number {
  return Math.max(0, uvarintAt(at) - 1)
}

function skipText(at: Cursor): void {
  const length = lengthAt(at)
  at.p += length
}

function skipTags(at: Cursor): void {
  for (let left = uvarintAt(at); left > 0; left--) {
    uvarintAt(at)
    const size = uvarintAt(at)
    at.p += size
  }
}

function uvarint(value: number): Buffer {
  const bytes: number[] = []
  for (let left = value; ; left >>>= 7) {
    if (left < 128) return Buffer.from([...bytes, left])
    bytes.push((left & 127) | 128)
  }
}

/** The library puts its head in front of one of its own encoders. */
function encoded(body: Buffer): { readonly buffer: Buffer } {
  const Encoder = require('kafkajs/src/protocol/encoder') as new () => { writeBuffer(of: Buffer): { readonly buffer: Buffer } }
  return new Encoder().writeBuffer(body)
}

function protocolError(code: number): Error {
  const { createErrorFromCode } = require('kafkajs/src/protocol/error') as { createErrorFromCode: (of: number) => Error }
  return createErrorFromCode(code)
}
