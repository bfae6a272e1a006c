import { setTimeout as sleep } from 'node:timers/promises'
import { type Admin, Kafka as Client, logLevel, Partitioners } from 'kafkajs'
import { parentsRig } from './accident.ts'
import type { Rig, RigOptions, Running } from './rig.ts'
import type { Kafka } from './services/kafka.ts'

/** A rig whose changes go through a topic of this broker. `kafka`: further keys of that block. */
export function kafkaRig(servers: RigOptions['servers'], broker: Kafka, more: { readonly kafka?: string; readonly config?: string } = {}): Promise<Rig> {
  return parentsRig(servers, { config: `log: kafka\nkafka: { brokers: ['${broker.bootstrap}'], ${more.kafka ?? ''} }\n${more.config ?? ''}` })
}

export function topicOf(rig: Rig): string {
  return `${rig.config.pipeline}.changes`
}

export function clientOf(broker: Kafka): Client {
  return new Client({ brokers: [broker.bootstrap], logLevel: logLevel.NOTHING })
}

export async function administered<T>(broker: Kafka, work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = clientOf(broker).admin()
  await admin.connect()
  try {
    return await work(admin)
  } finally {
    await admin.disconnect()
  }
}

/** Writes records as somebody else would. */
export async function intrude(broker: Kafka, topic: string, messages: { key?: string; value: Buffer | string | null; headers?: Record<string, Buffer | string> }[]): Promise<void> {
  const producer = clientOf(broker).producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  await producer.send({ topic, messages: messages.map((message) => ({ ...message, partition: 0 })) })
  await producer.disconnect()
}

/** Capture and delivery as two runs of this process. */
export function startBoth(rig: Rig): { readonly capture: Running; readonly deliver: Running; readonly running: Running } {
  const capture = rig.start({ role: 'capture' })
  const deliver = rig.start({ role: 'deliver' })
  const ended = Promise.race([capture.ended, deliver.ended])
  ended.catch(() => {})
  const stop = async (): Promise<void> => void (await Promise.all([capture.stop(), deliver.stop()]))
  return { capture, deliver, running: { ...deliver, ended, stop } }
}

/** Every row of the destination, and what was decided. */
export async function everything(rig: Rig): Promise<unknown> {
  return [await rig.destination.query('select * from parents order by id'), await rig.destination.query('select * from children order by id'),
    await rig.destination.query('select entity, old, new from rekey.id_map order by 1, 2')]
}

/** Offset behind the newest record. */
export async function highOf(broker: Kafka, rig: Rig): Promise<number> {
  const [{ high }] = await administered(broker, (admin) => admin.fetchTopicOffsets(topicOf(rig)))
  return Number(high)
}

/** Caught up and stopped; then changes that capture alone has brought to the topic. */
export async function withUnread(broker: Kafka, rig: Rig): Promise<void> {
  const { running } = startBoth(rig)
  await rig.caughtUp(running)
  await running.stop()
  const capture = rig.start({ role: 'capture' })
  const before = await highOf(broker, rig)
  await rig.source.query("update parents set name = 'missed'")
  while ((await highOf(broker, rig)) < before + 20) await sleep(20)
  // What is in the topic is let go of at the source.
  const [{ lsn }] = await rig.source.query('select pg_current_wal_lsn()::text as lsn')
  const slot = `select confirmed_flush_lsn >= '${lsn}' as there from pg_replication_slots where slot_name = 'rekey_${rig.config.pipeline}'`
  await rig.source.query("select pg_logical_emit_message(false, 'rekey', 'heartbeat')")
  while ((await rig.source.query(slot))[0].there !== 't') await sleep(20)
  await capture.stop()
}
