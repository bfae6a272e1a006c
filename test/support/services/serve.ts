import { atExit } from '../at-exit.ts'
import { removeFolder, removeFolderNow, temporaryFolder } from '../data-folder.ts'
import { onFreePort } from '../free-port.ts'
import { programRunner, type Program } from './program.ts'

/** A running server of a test. */
export interface Served {
  readonly host: string
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
  /** For the end of our process, when nothing can be awaited. */
  killNow(): void
}

export interface Place {
  readonly port: number
  readonly folder: string
}

/** Starts a server on a free port of the loopback. It ends with this process: on exit, on a signal, and (on Linux) when this is killed. */
export function serve(program: (place: Place) => Promise<Program>): Promise<Served> {
  return onFreePort(async (port) => {
    const folder = await temporaryFolder()
    const runner = programRunner(await program({ port, folder }))
    const release = atExit(() => {
      runner.killNow()
      removeFolderNow(folder)
    })
    const stop = async () => {
      await runner.shutDown()
      release()
      await removeFolder(folder)
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
