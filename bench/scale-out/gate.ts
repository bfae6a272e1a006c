import { createRequire } from 'node:module'
import type { Assigner, Kafka } from 'kafkajs'
import { GROUP_PROTOCOL } from '../../connectors/kafka/member.ts'

const { AssignerProtocol: { MemberAssignment, MemberMetadata } } = createRequire(import.meta.url)('kafkajs') as typeof import('kafkajs')

export interface Gate {
  /** Members of the group beside the gate. */
  waiting(): Promise<number>
  /** The members share the partitions among them. */
  open(): Promise<void>
}

/**
 * The first member of the group leads it: this one gives all partitions to itself until it leaves. By then the processes are up, and none of them
 * has a head start.
 */
export async function closedGate(kafka: Kafka, { group, topic, partitions }: { readonly group: string; readonly topic: string; readonly partitions: number }): Promise<Gate> {
  const all = { version: 0, assignment: { [topic]: Array.from({ length: partitions }, (_, i) => i) }, userData: Buffer.alloc(0) }
  let me = ''
  const greedy = (): Assigner => ({
    name: GROUP_PROTOCOL, version: 0,
    protocol: ({ topics }) => ({ name: GROUP_PROTOCOL, metadata: MemberMetadata.encode({ version: 0, topics, userData: Buffer.alloc(0) }) }),
    assign: async ({ members }) => members.map(({ memberId }) => ({ memberId, memberAssignment: memberId === gateIn(members) ? MemberAssignment.encode(all) : Buffer.alloc(0) })),
  })
  /** The gate: before it has an id it is alone. */
  const gateIn = (members: readonly { readonly memberId: string }[]): string => (me === '' ? members[0].memberId : me)
  const consumer = kafka.consumer({ groupId: group, partitionAssigners: [greedy], heartbeatInterval: 500, sessionTimeout: 30_000, maxWaitTimeInMs: 250 })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    me = payload.memberId
    consumer.pause([{ topic }])
  })
  const admin = kafka.admin()
  await admin.connect()
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ autoCommit: false, eachBatch: async () => {} })
  return {
    async waiting() {
      const { groups: [{ state, members }] } = await admin.describeGroups([group])
      return state === 'Stable' ? members.length - 1 : 0
    },
    async open() {
      await consumer.disconnect()
      await admin.disconnect()
    },
  }
}
