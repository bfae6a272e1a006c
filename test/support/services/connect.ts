import { rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { atExit } from '../at-exit.ts'
import { removeFolder, temporaryFolder } from '../data-folder.ts'
import { onFreePort } from '../free-port.ts'
import { needed, run } from './commands.ts'
import { fetched } from './fetched.ts'
import type { Kafka } from './kafka.ts'
import { javaFor, mavenJars } from './maven.ts'
import { programRunner } from './program.ts'

/** A standalone Kafka Connect worker that has Debezium's stock Postgres source and JDBC sink. */
export interface Connect {
  /** Of the worker's java. */
  readonly pid: number
  /** Adds a connector; resolves when it and its tasks run. */
  add(name: string, settings: Readonly<Record<string, string>>): Promise<void>
  /** Takes it away; resolves when its tasks have ended and committed what they did. */
  remove(name: string): Promise<void>
  /** Resolves with how a connector or one of its tasks has failed; null while none has. */
  failure(name: string): Promise<string | null>
  /** Kills it and starts it again, without connectors; what they have noted of their offsets is there. */
  crash(): Promise<void>
  stop(): Promise<void>
}

export interface ConnectOptions {
  readonly kafka: Kafka
  /** Settings of the worker over the defaults. Records are JSON with their schema unless these say otherwise. */
  readonly settings?: Readonly<Record<string, string>>
  /** Arguments of java; default: a small heap. */
  readonly jvm?: readonly string[]
}

const TITLE = 'Kafka Connect 4.3.1'
const DEBEZIUM = 'Debezium 3.6'
const PLUGINS = ['io.debezium:debezium-connector-postgres:3.6.3.Final', 'io.debezium:debezium-connector-jdbc:3.6.0.Final']
const REMEDY = 'apt-get install -y default-jre-headless maven'
const JVM = ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
const WITHIN_MS = 60_000

/**
 * Starts a worker without connectors. It is a process of this machine even where other services run in containers: it must reach databases
 * and brokers that listen on the loopback alone.
 */
export async function startConnect({ kafka, settings = {}, jvm = JVM }: ConnectOptions): Promise<Connect> {
  const { jars, plugins } = await connectJars()
  return onFreePort(async (port) => {
    const folder = await temporaryFolder()
    const own = {
      'bootstrap.servers': kafka.bootstrap, 'listeners': `http://127.0.0.1:${port}`, 'plugin.path': plugins,
      'offset.storage.file.filename': path.join(folder, 'offsets'), 'offset.flush.interval.ms': '500', 'plugin.discovery': 'service_load',
      'key.converter': 'org.apache.kafka.connect.json.JsonConverter', 'value.converter': 'org.apache.kafka.connect.json.JsonConverter',
      ...settings,
    }
    const file = path.join(folder, 'worker.properties')
    await writeFile(file, Object.entries(own).map(([name, value]) => `${name}=${value}\n`).join(''))
    const main = 'org.apache.kafka.connect.cli.ConnectStandalone'
    const command = [javaFor(TITLE), ...jvm, '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn', '-cp', path.join(jars, '*'), main, file]
    const url = `http://127.0.0.1:${port}`
    const runner = programRunner({ name: TITLE, folder, command, ready: async () => (await fetch(`${url}/connectors`)).ok })
    const release = atExit(() => runner.killNow())
    const stop = async (): Promise<void> => {
      await runner.shutDown()
      await removeFolder(folder)
      release()
    }
    try {
      await runner.start()
    } catch (error) {
      await stop()
      throw error
    }
    const crash = async (): Promise<void> => {
      await runner.kill()
      await runner.start()
    }
    return { ...rest(url), crash, stop, get pid() { return runner.pid() } }
  })
}

/** Resolves with the folder of its jars and that of the plugins; there is a java, too. */
export async function connectJars(): Promise<{ jars: string; plugins: string }> {
  javaFor(TITLE)
  const jars = await mavenJars({ title: TITLE, folder: 'connect-4.3.1', pom: fileURLToPath(new URL('connect-pom.xml', import.meta.url)) })
  const plugins = await fetched({
    title: `${DEBEZIUM} (Postgres source, JDBC sink) from Maven Central`, folder: 'debezium-3.6.3-3.6.0', remedy: REMEDY,
    async fill(to) {
      const maven = needed({ program: 'mvn', title: DEBEZIUM, remedy: REMEDY })
      for (const plugin of PLUGINS) {
        await run([maven, '-q', '-B', 'dependency:unpack', `-Dartifact=${plugin}:tar.gz:plugin`, `-DoutputDirectory=${to}`], { cwd: to })
      }
      // What the archiver makes of extended headers has names like jars, and would be taken for a plugin; `target` is Maven's own.
      for (const rubbish of ['PaxHeaders.X', 'target']) await rm(path.join(to, rubbish), { recursive: true, force: true })
    },
  })
  return { jars, plugins }
}

interface Status {
  readonly connector: { readonly state: string; readonly trace?: string }
  readonly tasks: readonly { readonly state: string; readonly trace?: string }[]
}

/** The worker's REST interface. */
function rest(url: string): Pick<Connect, 'add' | 'remove' | 'failure'> {
  const ask = async (at: string, init?: RequestInit): Promise<Response> => {
    const answer = await fetch(`${url}/connectors/${at}`, { ...init, headers: { 'content-type': 'application/json' } })
    if (!answer.ok && answer.status !== 404) throw new Error(`${TITLE}: ${answer.status} ${await answer.text()}`)
    return answer
  }
  const status = async (name: string): Promise<Status | null> => {
    const answer = await ask(`${name}/status`)
    return answer.ok ? (await answer.json()) as Status : null
  }
  const failure = async (name: string): Promise<string | null> => {
    const now = await status(name)
    const failed = now && [now.connector, ...now.tasks].find((one) => one.state === 'FAILED')
    return failed ? failed.trace ?? 'failed without a trace' : null
  }
  const until = async (what: string, done: () => Promise<boolean>): Promise<void> => {
    for (const end = Date.now() + WITHIN_MS; !(await done()); await sleep(50)) {
      if (Date.now() > end) throw new Error(`${TITLE}: ${what}: not within ${WITHIN_MS / 1_000} s`)
    }
  }
  return {
    failure,
    async add(name, settings) {
      await ask(`${name}/config`, { method: 'PUT', body: JSON.stringify({ name, ...settings }) })
      await until(`${name} runs`, async () => {
        const failed = await failure(name)
        if (failed !== null) throw new Error(`${name} failed: ${failed}`)
        const now = await status(name)
        return now !== null && now.tasks.length > 0 && [now.connector, ...now.tasks].every((one) => one.state === 'RUNNING')
      })
    },
    async remove(name) {
      await ask(name, { method: 'DELETE' })
      await until(`${name} is gone`, async () => (await status(name)) === null)
    },
  }
}
