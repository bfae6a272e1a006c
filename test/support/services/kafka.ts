import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Kafka as Client, logLevel } from 'kafkajs'
import { freePort } from '../free-port.ts'
import { run } from './fetched.ts'
import { javaFor, mavenJars } from './maven.ts'
import { serve, type Served } from './serve.ts'

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

/** Starts a broker (KRaft, no ZooKeeper). `settings` are those of server.properties and go over the defaults. */
export async function startKafka(settings: Readonly<Record<string, string>> = {}): Promise<Kafka> {
  const java = javaFor(TITLE)
  const classPath = path.join(await kafkaJars(), '*')
  const served = await serve(async ({ port, folder }) => {
    const controller = await freePort([port])
    const listeners = `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`
    const places = {
      'listeners': listeners, 'advertised.listeners': listeners,
      'controller.quorum.bootstrap.servers': `127.0.0.1:${controller}`, 'log.dirs': path.join(folder, 'log'),
    }
    const file = path.join(folder, 'server.properties')
    await writeFile(file, Object.entries({ ...SETTINGS, ...settings, ...places }).map(([name, value]) => `${name}=${value}\n`).join(''))
    const cluster = randomBytes(16).toString('base64url')
    await run([java, '-cp', classPath, 'kafka.tools.StorageTool', 'format', '--standalone', '-t', cluster, '-c', file])
    return { name: 'Kafka', command: [java, ...JVM, '-cp', classPath, 'kafka.Kafka', file], folder, ready: () => answers(port) }
  })
  return { ...served, bootstrap: `${served.host}:${served.port}` }
}

export function kafkaJars(): Promise<string> {
  return mavenJars({ title: TITLE, folder: 'kafka-4.3.1', pom: fileURLToPath(new URL('kafka-pom.xml', import.meta.url)) })
}

/** The port opens before the broker has joined its own cluster; then it knows no broker yet. */
async function answers(port: number): Promise<boolean> {
  const client = new Client({ brokers: [`127.0.0.1:${port}`], logLevel: logLevel.NOTHING, connectionTimeout: 1_000, retry: { retries: 0 } })
  const admin = client.admin()
  try {
    await admin.connect()
    return (await admin.describeCluster()).brokers.length > 0
  } finally {
    await admin.disconnect()
  }
}
