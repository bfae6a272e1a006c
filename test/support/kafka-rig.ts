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
