import { createRequire } from 'node:module'
import type { Message } from 'kafkajs'
import { RekeyError } from '../../src/core/errors.ts'
import { type RecordBatch, recordBatch } from './record-batch.ts'
import { Framed, HEAD, int16, int32, keepFrames, text } from './frame.ts'
import { installLeanFetch } from './lean-fetch.ts'
import type { Outgoing } from './outgoing.ts'
import type { TableRecord } from './record.ts'

const require = createRequire(import.meta.url)

/** The version whose inside this file knows. */
const PINNED = '2.2.4'

/** A request of the library: it encodes itself when it is sent, and once more when it is sent again. */
interface Request {
  readonly encode: () => Promise<unknown>
}

interface ProduceOptions {
  readonly transactionalId?: string | null
  readonly acks: number
  readonly timeout: number
  readonly compression: number
  readonly producerId: string | number
  readonly producerEpoch: number
  readonly topicData: readonly {
    readonly topic: string
    readonly partitions: readonly PartitionData[]
  }[]
}

interface PartitionData {
  readonly partition: number
  readonly firstSequence: number
  readonly messages: PackedPartition | readonly Message[]
}

/** Of `protocol/requests/produce`: the library looks it up there for each request. */
interface ProduceModule {
  protocol: (of: { readonly version: number }) => (options: ProduceOptions) => { readonly request: Request }
}

/** The version of Produce from which on records have headers, as kafkajs's encoder of batches has them. */
const SINCE = 3
let installed = false

/**
 * Lets the library send batches that are encoded already, see packed(), and decodes what it fetches; everything else goes its own way.
 * Throws RekeyError CONFIG when the library is another version than the one that was looked into.
 */
export function installLean(): void {
  if (installed) return
  checkVersion((require('kafkajs/package.json') as { version: string }).version)
  const produce = require('kafkajs/src/protocol/requests/produce') as ProduceModule
  const { protocol } = produce
  produce.protocol = ({ version: of }) => {
    const make = protocol({ version: of })
    return of < SINCE ? make : (options) => {
      const made = make(options)
      if (!options.topicData.some(({ partitions }) => partitions.some(({ messages }) => messages instanceof PackedPartition))) return made
      return { ...made, request: { ...made.request, encode: () => encodeProduce(options) } }
    }
  }
  installLeanFetch()
  keepFrames()
  installed = true
}

export function checkVersion(version: string): void {
  if (version === PINNED) return
  throw new RekeyError('CONFIG', `kafka.codec: lean is made for kafkajs ${PINNED}, and ${version} is installed`, {
    hint: 'Set kafka.codec: kafkajs, or install the version of package-lock.json.',
  })
}

/** Produce requests of versions 3 to 8 are laid out alike. */
async function encodeProduce({ transactionalId = null, acks, timeout, topicData, ...head }: ProduceOptions): Promise<Framed> {
  const pieces: Buffer[] = []
  let before = Buffer.concat([text(transactionalId), int16(acks), int32(timeout), int32(topicData.length)])
  for (const { topic, partitions } of topicData) {
    before = Buffer.concat([before, text(topic), int32(partitions.length)])
    for (const { partition, firstSequence, messages } of partitions) {
      const sealed = await (messages as PackedPartition).batch.seal({
        compression: head.compression === 1 ? 'gzip' : 'none', timestamp: Date.now(), producerId: BigInt(head.producerId),
        producerEpoch: head.producerEpoch, firstSequence,
      })
      before = Buffer.concat([before, int32(partition), int32(sealed.length - ROOM)])
      pieces.push(before, sealed)
      before = Buffer.alloc(0)
    }
  }
  if (pieces.length > 2) {
    const bare = pieces.map((piece, i) => (i % 2 === 0 ? piece : piece.subarray(ROOM)))
    return new Framed(Buffer.concat([Buffer.alloc(HEAD), ...bare]), HEAD)
  }
  // Mostly it is one batch, and what goes before it has its room there.
  const [start, sealed] = pieces
  sealed.set(start, ROOM - start.length)
  return new Framed(sealed, ROOM - start.length)
}

/** In place of the messages of a partition: what kafkajs asks of them is how many they are. */
class PackedPartition {
  readonly batch: RecordBatch
  constructor(batch: RecordBatch) {
    this.batch = batch
  }
  get length(): number {
    return this.batch.count()
  }
}

type Grouped = Record<string, PackedPartition>
/** kafkajs's own grouping: puts the message into the array of its partition. */
type Group = (into: Record<string, unknown>, message: Message) => Record<string, unknown>

/**
 * In place of the messages of a topic. kafkajs looks for one without a value, of which there is none, and groups them by partition:
 * here they are grouped, and encoded, as they come, or once the partition can be known.
 */
class PackedTopic {
  readonly partitions = new Map<number, RecordBatch>()
  readonly unplaced: TableRecord[] = []
  find(): undefined {
    return undefined
  }
  reduce(group: Group): Grouped {
    for (const { key, value, headers } of this.unplaced) {
      const [partition] = Object.keys(group({}, { key, value }))
      this.batchOf(Number(partition)).add({ key, value, headers })
    }
    this.unplaced.length = 0
    const filled = [...this.partitions].filter(([, batch]) => batch.count() > 0)
    return Object.fromEntries(filled.map(([partition, batch]) => [partition, new PackedPartition(batch)]))
  }
  batchOf(partition: number): RecordBatch {
    let batch = this.partitions.get(partition)
    if (!batch) this.partitions.set(partition, (batch = recordBatch(FIRST_BYTES, ROOM)))
    return batch
  }
}

const FIRST_BYTES = 16 << 10
/** In front of a batch: for the head of a request, and what goes before its only batch, with a topic's name of at most 249 bytes. */
const ROOM = HEAD + 512

/** Encodes records as they come, for a library where installLean() was called. */
export function packed(own: string): Outgoing {
  const topics = new Map<string, PackedTopic>()
  const topicOf = (name: string): PackedTopic => {
    let topic = topics.get(name)
    if (!topic) topics.set(name, (topic = new PackedTopic()))
    return topic
  }
  const isFull = ({ unplaced, partitions }: PackedTopic): boolean =>
    unplaced.length > 0 || [...partitions.values()].some((batch) => batch.count() > 0)
  return {
    add(record) {
      if ('topic' in record) topicOf(record.topic).unplaced.push(record)
      else topicOf(own).batchOf(record.partition ?? 0).add(record)
    },
    topicMessages: () => [...topics].filter(([, topic]) => isFull(topic))
      .map(([topic, messages]) => ({ topic, messages: messages as unknown as Message[] })),
    clear() {
      for (const topic of topics.values()) for (const batch of topic.partitions.values()) batch.clear()
    },
  }
}
