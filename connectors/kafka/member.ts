import type { Assigner, Kafka, PartitionAssigner } from 'kafkajs'
import { RekeyError } from '../../src/core/errors.ts'
import { type Sharer, shareOut } from '../../src/core/share.ts'
import { kafkaError } from './client.ts'
import { library } from './library.ts'

export interface MemberOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly partitions: number
  readonly group: string
  /** What this process has taken, for the next time that the partitions are shared out. */
  readonly held: () => Sharer['held']
  /** It is to have these partitions and no others. */
  readonly assigned: (partitions: readonly number[]) => void
  /** The group has said that it is a member, and that what it was assigned is still its own. */
  readonly confirmed: () => void
}

/** A process among those of its group. */
export interface Member {
  /** Rejects with RekeyError when the group cannot be reached; until then it is pending. */
  readonly failed: Promise<never>
  /** Tells the group how far partitions are applied, for whoever looks at it. Resolves also when that could not be done. */
  tell(offsets: ReadonlyMap<number, bigint>): Promise<void>
  /** Leaves the group, so that others are given its partitions at once. */
  leave(): Promise<void>
}

/** What brokers allow at the least by default (group.min.session.timeout.ms): a process that is not heard of for so long is taken for dead. */
const SESSION_MS = 6_000
const HEARTBEAT_MS = 1_000
/** How long the others wait for one that is alive and does not join again. */
const REJOIN_MS = 10_000
/** How often it is looked whether a heartbeat is due. */
const LOOK_MS = 250

/**
 * Joins the group of a topic's readers, which shares the partitions out among its members. It only says who is to try: nothing is read here, and
 * who may write is decided where it is written. Resolves when it has joined. Rejects with RekeyError.
 */
export async function joinGroup({ kafka, topic, partitions, group, held, assigned, confirmed }: MemberOptions): Promise<Member> {
  const consumer = kafka.consumer({
    groupId: group, allowAutoTopicCreation: false, partitionAssigners: [sticky({ topic, partitions, held })], maxWaitTimeInMs: LOOK_MS,
    sessionTimeout: SESSION_MS, heartbeatInterval: HEARTBEAT_MS, rebalanceTimeout: REJOIN_MS, retry: { restartOnFailure: async () => false },
  })
  const doing = `be a member of group ${group}`
  const { GROUP_JOIN, HEARTBEAT, CRASH } = consumer.events
  const failed = new Promise<never>((_, reject) => consumer.on(CRASH, ({ payload }) => reject(kafkaError(payload.error, doing))))
  failed.catch(() => {})
  consumer.on(GROUP_JOIN, ({ payload: { memberAssignment } }) => {
    consumer.pause([{ topic }])
    assigned(memberAssignment[topic] ?? [])
    confirmed()
  })
  consumer.on(HEARTBEAT, confirmed)
  const leave = (): Promise<void> => consumer.disconnect().catch(() => {})
  try {
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({ autoCommit: false, eachBatch: async () => {} })
  } catch (error) {
    await leave()
    throw kafkaError(error, doing)
  }
  return {
    failed, leave,
    async tell(offsets) {
      const all = [...offsets].map(([partition, offset]) => ({ topic, partition, offset: String(offset) }))
      if (all.length > 0) await consumer.commitOffsets(all).catch(() => {})
    },
  }
}

/** Members name in their metadata what they have, and whoever leads the group shares out by that: see share.ts. */
function sticky({ topic, partitions, held }: Pick<MemberOptions, 'topic' | 'partitions' | 'held'>): PartitionAssigner {
  const { MemberMetadata, MemberAssignment } = library().AssignerProtocol
  const version = 0
  const sharerOf = ({ memberId, memberMetadata }: Parameters<Assigner['assign']>[0]['members'][number]): Sharer => (
    { id: memberId, held: heldIn(MemberMetadata.decode(memberMetadata)?.userData) })
  return () => ({
    name: GROUP_PROTOCOL, version,
    protocol: ({ topics }) => ({ name: GROUP_PROTOCOL, metadata: MemberMetadata.encode({ version, topics, userData: heldText(held()) }) }),
    assign: async ({ members }) => [...shareOut(members.map(sharerOf), partitions)].map(([memberId, mine]) => (
      { memberId, memberAssignment: MemberAssignment.encode({ version, assignment: { [topic]: mine }, userData: Buffer.alloc(0) }) })),
  })
}

/** What members of one group must have in common: brokers refuse one that knows no protocol of the others. */
export const GROUP_PROTOCOL = 'rekey'

/** `<partition>:<writer>`, separated by commas. */
function heldText(held: Sharer['held']): Buffer {
  return Buffer.from([...held].map(([partition, writer]) => `${partition}:${writer}`).join())
}

function heldIn(data: Buffer | undefined): Map<number, bigint> {
  const text = data?.toString() ?? ''
  if (!/^(\d+:\d+(,|$))*$/.test(text)) throw new RekeyError('INTERNAL', 'a member of the group says what it has in another form')
  return new Map(text.split(',').filter((one) => one !== '').map((one) => one.split(':')).map(([partition, writer]) => [Number(partition), BigInt(writer)]))
}
