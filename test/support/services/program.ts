import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { removeFolder, removeFolderNow } from '../data-folder.ts'
import { deathSignal } from '../death-signal.ts'
import { allGone, killTree, signal } from '../processes.ts'
import type { Runner } from './serve.ts'

/** A server program in the foreground. */
export interface Program {
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

interface Launch extends Program {
  readonly name: string
  /** Where it runs and keeps its data. Its log, server.log, lies there, too. */
  readonly folder: string
  ready(): Promise<boolean>
}

const READY_WITHIN_MS = 60_000
const ENDS_WITHIN_MS = 10_000

/** Runs a program as a process that dies with ours, at most one at a time. `pid` is 0 while it does not run. */
export function programRunner(program: Launch): Runner & { pid(): number } {
  let child: ChildProcess | null = null
  let leaving: number[] = []
  const pid = () => (child?.pid !== undefined && child.exitCode === null && child.signalCode === null ? child.pid : 0)
  const killNow = () => {
    if (pid() > 0) leaving = killTree(pid())
  }
  return {
    pid,
    async start() {
      await allGone(leaving)
      child = launch(program)
      await becomesReady(program, child)
    },
    async shutDown() {
      const running = pid()
      if (running > 0) {
        signal(running, 'SIGTERM')
        await allGone([running], ENDS_WITHIN_MS).catch(killNow)
      }
      await allGone(leaving)
    },
    async kill() {
      killNow()
      await allGone(leaving)
    },
    remove: () => removeFolder(program.folder),
    killNow() {
      killNow()
      removeFolderNow(program.folder)
    },
  }
}

function launch({ command, env, folder }: Launch): ChildProcess {
  const [file, ...args] = [...deathSignal('KILL'), ...command]
  const log = openSync(path.join(folder, 'server.log'), 'a')
  // A session of its own: Ctrl-C in the terminal is for the test run, which may still need the server while it ends.
  const detached = process.platform !== 'win32'
  const child = spawn(file, args, { cwd: folder, env: { ...process.env, ...env }, detached, stdio: ['ignore', log, log] })
  closeSync(log)
  return child
}

async function becomesReady({ name, folder, ready }: Launch, child: ChildProcess): Promise<void> {
  let failure: Error | null = null
  child.on('error', (error) => { failure = error })
  const end = Date.now() + READY_WITHIN_MS
  for (;;) {
    if (failure) throw failure
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > end) {
      if (child.pid !== undefined) await allGone(killTree(child.pid))
      const tail = readFileSync(path.join(folder, 'server.log'), 'utf8').split('\n').slice(-20).join('\n')
      throw new Error(`${name} did not start; the end of its log:\n${tail}`)
    }
    if (await ready().catch(() => false)) return
    await sleep(20)
  }
}
