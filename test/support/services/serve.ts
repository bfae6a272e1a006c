import { atExit } from '../at-exit.ts'
import { removeFolder, temporaryFolder } from '../data-folder.ts'
import { onFreePort } from '../free-port.ts'
import { containerRunner, type Image } from './container.ts'
import { programRunner, type Program } from './program.ts'
import { way } from './way.ts'

/** A running server of a test. */
export interface Served {
  readonly host: '127.0.0.1'
  readonly port: number
  /** Ends it and removes its data. */
  stop(): Promise<void>
  /** Ends it at once, as a crash would; its data stays for restart(). */
  kill(): Promise<void>
  /** Starts it again on the same port and data, after a clean end if it runs. Resolves when it takes requests. */
  restart(): Promise<void>
}

/** One server, however it runs. What it has stored outlives shutDown() and kill(). */
export interface Runner {
  /** Resolves when it takes requests. */
  start(): Promise<void>
  /** Asks it to end, and resolves when it has. */
  shutDown(): Promise<void>
  /** Resolves when it is gone. */
  kill(): Promise<void>
  /** Ends it and removes what it stored. */
  remove(): Promise<void>
  /** For the end of our process, when nothing can be awaited. */
  killNow(): void
}

export interface Place {
  readonly port: number
  readonly folder: string
}

/** A server in both ways. */
export interface Recipe {
  readonly name: string
  /** True when it takes requests; asked again and again, and an error counts as false. */
  ready(port: number): Promise<boolean>
  /** As a process; what is missing for it is fetched here. */
  program(place: Place): Promise<Program>
  container(port: number): Image
}

/** Starts a server on a free port of the loopback. It ends with this process: on exit, on a signal, and (on Linux) when this is killed. */
export async function serve(recipe: Recipe): Promise<Served> {
  const make = (await way()) === 'containers' ? inContainer : asProcess
  return onFreePort(async (port) => {
    const runner = await make(recipe, port)
    const release = atExit(() => runner.killNow())
    const stop = async () => {
      await runner.shutDown()
      await runner.remove()
      release()
    }
    try {
      await runner.start()
    } catch (error) {
      await stop()
      throw error
    }
    return {
      host: '127.0.0.1', port, stop,
      kill: () => runner.kill(),
      async restart() {
        await runner.shutDown()
        await runner.start()
      },
    }
  })
}

async function asProcess(recipe: Recipe, port: number): Promise<Runner> {
  const folder = await temporaryFolder()
  try {
    const program = await recipe.program({ port, folder })
    return programRunner({ ...program, name: recipe.name, folder, ready: () => recipe.ready(port) })
  } catch (error) {
    await removeFolder(folder)
    throw error
  }
}

async function inContainer(recipe: Recipe, port: number): Promise<Runner> {
  return containerRunner(recipe.container(port), port, () => recipe.ready(port))
}
