import { setTimeout as sleep } from 'node:timers/promises'
import type { GenericContainer, StartedTestContainer } from 'testcontainers'
import type { Runner } from './serve.ts'

/** What runs in a container. */
export interface Image {
  /** With its version. */
  readonly image: string
  /** The port in the container; outside it is the one of the place. */
  readonly port: number
  readonly env?: Readonly<Record<string, string>>
  readonly entrypoint?: readonly string[]
  readonly command?: readonly string[]
  /** Contents of files by their place in the container. */
  readonly files?: Readonly<Record<string, string>>
  /** Ports of this machine that it calls, as host.testcontainers.internal. */
  readonly calls?: readonly number[]
}

const READY_WITHIN_MS = 120_000

/**
 * Runs an image in a container with a fixed port, so that it comes back there. A container of a process that died is removed by the reaper
 * of testcontainers, which is loaded only here: it must not look for an engine where none answers.
 */
export function containerRunner(image: Image, port: number, ready: () => Promise<boolean>): Runner {
  let container: Awaited<ReturnType<typeof create>> | null = null
  let runs = false
  return {
    async start() {
      if (container === null) container = await create(image, port)
      else if (!runs) await container.engine.start()
      runs = true
      await becomesReady(image.image, ready)
    },
    async shutDown() {
      if (runs) await container?.engine.stop({ t: 10 })
      runs = false
    },
    async kill() {
      if (runs) await container?.engine.kill()
      runs = false
    },
    async remove() {
      await container?.started.stop({ timeout: 0, remove: true, removeVolumes: true })
      container = null
      runs = false
    },
    killNow() {},
  }
}

async function create({ image, port: inside, env = {}, entrypoint, command, files = {}, calls = [] }: Image, port: number) {
  const { GenericContainer, TestContainers, Wait, getContainerRuntimeClient } = await import('testcontainers')
  const content = Object.entries(files).map(([target, text]) => ({ target, content: text }))
  let wanted: GenericContainer = new GenericContainer(image).withExposedPorts({ container: inside, host: port }).withEnvironment({ ...env })
    .withCopyContentToContainer(content).withWaitStrategy(Wait.forAll([]))
  if (entrypoint) wanted = wanted.withEntrypoint([...entrypoint])
  if (command) wanted = wanted.withCommand([...command])
  const started = await begin(image, async () => {
    if (calls.length > 0) await TestContainers.exposeHostPorts(...calls)
    return wanted.start()
  })
  return { started, engine: (await getContainerRuntimeClient()).container.getById(started.getId()) }
}

async function begin(image: string, start: () => Promise<StartedTestContainer>): Promise<StartedTestContainer> {
  try {
    return await start()
  } catch (cause) {
    throw new Error(`${image} cannot be had: the container engine did not start it. Run: docker pull ${image}`, { cause })
  }
}

async function becomesReady(name: string, ready: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + READY_WITHIN_MS
  while (!(await ready().catch(() => false))) {
    if (Date.now() > end) throw new Error(`${name} did not get ready within ${READY_WITHIN_MS / 1_000} s`)
    await sleep(50)
  }
}

/** Runs one command in a fresh container of an image over a copy of a folder. */
export async function runInContainer(image: string, folder: string, command: readonly string[]): Promise<{ code: number; output: string }> {
  const { GenericContainer, Wait } = await import('testcontainers')
  const idle = new GenericContainer(image).withEntrypoint(['sleep']).withCommand(['600']).withWorkingDir('/work')
    .withCopyDirectoriesToContainer([{ source: folder, target: '/work' }]).withWaitStrategy(Wait.forAll([]))
  const container = await begin(image, () => idle.start())
  try {
    const { exitCode, output } = await container.exec([...command])
    return { code: exitCode, output }
  } finally {
    await container.stop({ timeout: 0 })
  }
}
