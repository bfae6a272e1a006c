import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Kafka as Client, type KafkaConfig, logLevel } from 'kafkajs'
import { freePort } from '../free-port.ts'
import { run } from './commands.ts'
import { javaFor, mavenJars } from './maven.ts'
import type { Image } from './container.ts'
import type { Program } from './program.ts'
import { serve, type Place, type Served } from './serve.ts'

export interface Kafka extends Served {
  /** `127.0.0.1:<port>`; plaintext. */
  readonly bootstrap: string
}

const TITLE = 'Apache Kafka 4.3.1'

/** The serial collector and the first compiler only: a broker for tests is small and short-lived. */
const JVM = ['-Xms256m', '-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']

/** One broker that is its own controller; topics are made on purpose only, and a group need not wait for more members. */
const SETTINGS: Readonly<Record<string, string>> = {
  'process.roles': 'broker,controller',
  'node.id': '1',
  'controller.listener.names': 'CONTROLLER',
  'inter.broker.listener.name': 'PLAINTEXT',
  'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
  'auto.create.topics.enable': 'false',
  'group.initial.rebalance.delay.ms': '0',
  'num.partitions': '1',
  'default.replication.factor': '1',
  'offsets.topic.replication.factor': '1',
  'offsets.topic.num.partitions': '1',
  'transaction.state.log.replication.factor': '1',
  'transaction.state.log.min.isr': '1',
  'transaction.state.log.num.partitions': '1',
  'share.coordinator.state.topic.replication.factor': '1',
  'share.coordinator.state.topic.min.isr': '1',
  // A broker that was killed may come back only when the controller has given up its former session: 9 s by default.
  'broker.session.timeout.ms': '3000',
  'broker.heartbeat.interval.ms': '500',
  'log.cleaner.dedupe.buffer.size': '4194304',
}

type Settings = Readonly<Record<string, string>>

/**
 * Starts a broker (KRaft, no ZooKeeper). `settings` are those of server.properties and go over the defaults; `client` says how a client of
 * it has to connect, where that is not plainly.
 */
export async function startKafka(settings: Settings = {}, client: Pick<KafkaConfig, 'ssl' | 'sasl'> = {}): Promise<Kafka> {
  const all = { ...SETTINGS, ...settings }
  const served = await serve({
    name: 'Kafka', ready: (port) => answers(port, client), program: (place) => broker(place, all), container: (port) => brokerImage(port, all),
  })
  return { ...served, bootstrap: `${served.host}:${served.port}` }
}

async function broker({ port, folder }: Place, settings: Settings): Promise<Program> {
  const java = javaFor(TITLE)
  const classPath = path.join(await kafkaJars(), '*')
  const controller = await freePort()
  const listeners = `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`
  const own = {
    'listeners': listeners, 'advertised.listeners': listeners,
    'controller.quorum.bootstrap.servers': `127.0.0.1:${controller}`, 'log.dirs': path.join(folder, 'log'),
  }
  const file = path.join(folder, 'server.properties')
  await writeFile(file, Object.entries({ ...settings, ...own }).map(([name, value]) => `${name}=${value}\n`).join(''))
  // In one word, as an id that begins with a hyphen is taken for an option.
  const cluster = `--cluster-id=${randomBytes(16).toString('base64url')}`
  await run([java, '-cp', classPath, 'kafka.tools.StorageTool', 'format', '--standalone', cluster, '-c', file])
  return { command: [java, ...JVM, '-cp', classPath, 'kafka.Kafka', file] }
}

/** The port is the same inside, because a broker tells its clients its own address. The image reads settings from its environment. */
function brokerImage(port: number, settings: Settings): Image {
  const own = {
    'listeners': `PLAINTEXT://0.0.0.0:${port},CONTROLLER://localhost:9093`, 'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.quorum.voters': '1@localhost:9093',
  }
  const variable = (name: string) => `KAFKA_${name.toUpperCase().replaceAll('_', '__').replaceAll('-', '___').replaceAll('.', '_')}`
  const env = Object.fromEntries(Object.entries({ ...settings, ...own }).map(([name, value]) => [variable(name), value]))
  return { image: 'apache/kafka:4.3.1', port, env }
}

/** Resolves with the folder of its jars; there is a java, too. */
export async function kafkaJars(): Promise<string> {
  javaFor(TITLE)
  return mavenJars({ title: TITLE, folder: 'kafka-4.3.1', pom: fileURLToPath(new URL('kafka-pom.xml', import.meta.url)) })
}

/**
 * The port opens before the broker has joined its own cluster, and the first question for a group's coordinator makes the topic of the
 * offsets; a client that comes earlier is sent away, and waits seconds before it asks again.
 */
async function answers(port: number, how: Pick<KafkaConfig, 'ssl' | 'sasl'>): Promise<boolean> {
  const client = new Client({ ...how, brokers: [`127.0.0.1:${port}`], logLevel: logLevel.NOTHING, connectionTimeout: 1_000, retry: { retries: 0 } })
  const admin = client.admin()
  try {
    await admin.connect()
    if ((await admin.describeCluster()).brokers.length === 0) return false
    await admin.fetchOffsets({ groupId: 'ready', topics: [] })
    return true
  } finally {
    await admin.disconnect()
  }
}
