import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { serverUser } from './binaries.ts'
import { postmasterFile } from './data-folder.ts'
import { deathSignal } from './death-signal.ts'
import { allGone, childrenOf, killTree, signal } from './processes.ts'

type Settings = Readonly<Record<string, string>>

interface Place {
  readonly binaries: string
  readonly dataDir: string
}

interface Launch extends Place {
  readonly port: number
  readonly settings: Settings
}

/** The server process over one data folder: at most one at a time. */
export interface Postmaster {
  /** 0 when it does not run. */
  readonly pid: number
  /** Resolves when it takes connections; waits first until everything of a killed one is gone. */
  start(port: number, settings: Settings): Promise<void>
  shutDown(): Promise<void>
  kill(): void
}

export function postmasterOf(place: Place): Postmaster {
  let child: ChildProcess | null = null
  let leaving: number[] = []
  const alive = () => (child?.pid !== undefined && child.exitCode === null && child.signalCode === null ? child : null)
  return {
    get pid() { return alive()?.pid ?? 0 },
    async start(port, settings) {
      await allGone(leaving)
      await launch({ ...place, port, settings }, (started) => { child = started })
    },
    async shutDown() {
      const running = alive()
      if (running) await shutDown(running, place)
      await allGone(leaving)
    },
    kill() {
      const running = alive()
      if (running?.pid !== undefined) leaving = killTree(running.pid)
      child = null
    },
  }
}

/** initdb: superuser postgres, trust on the loopback, UTF8. */
export async function initialise(binaries: string, dataDir: string, locale: string): Promise<void> {
  const args = ['-D', dataDir, '-U', 'postgres', '--auth=trust', `--locale=${locale}`, '--encoding=UTF8', '--no-sync']
  const child = spawn(program(binaries, 'initdb'), args, { ...(await serverUser()), cwd: binaries, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve))
  if (code !== 0) throw new Error(`initdb in ${dataDir} ended with ${String(code)}:\n${output}`)
}

/** Ready when postmaster.pid names this very process and says so in line 8: the file of a killed server still says `ready`, too. */
async function launch(to: Launch, started: (child: ChildProcess) => void): Promise<void> {
  const { binaries, dataDir } = to
  const log = path.join(dataDir, 'server.log')
  const settings = Object.entries({ ...to.settings, port: String(to.port) }).flatMap(([key, value]) => ['-c', `${key}=${value}`])
  // SIGQUIT is the immediate shutdown.
  const command = [...deathSignal('QUIT'), program(binaries, 'postgres'), '-D', dataDir, ...settings]
  const user = await serverUser()
  const file = openSync(log, 'a')
  // A session of its own: Ctrl-C in the terminal is for the program, which may still need the server while it ends.
  const detached = process.platform !== 'win32'
  const child = spawn(command[0], command.slice(1), { ...user, detached, cwd: binaries, stdio: ['ignore', file, file] })
  closeSync(file)
  started(child)
  let failure: Error | null = null
  child.on('error', (error) => { failure = error })
  const end = Date.now() + 60_000
  for (;;) {
    const lines = postmasterFile(dataDir)
    if (Number(lines[0]) === child.pid && lines[7] === 'ready') return
    if (failure) throw failure
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > end) {
      const tail = readFileSync(log, 'utf8').split('\n').slice(-20).join('\n')
      throw new Error(`Postgres on port ${to.port} did not start; the end of its log:\n${tail}`)
    }
    await sleep(15)
  }
}

/** SIGINT is the fast shutdown. A walsender whose client does not answer may hold it up, so after 5 s the shutdown is immediate. */
async function shutDown(child: ChildProcess, { binaries, dataDir }: Place): Promise<void> {
  const pid = child.pid
  if (pid === undefined) return
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const family = [pid, ...childrenOf(pid)]
  if (process.platform === 'win32') spawnSync(program(binaries, 'pg_ctl'), ['stop', '-m', 'fast', '-w', '-t', '5', '-D', dataDir])
  else signal(pid, 'SIGINT')
  const within = (ms: number) => Promise.race([exited.then(() => true), sleep(ms, false, { ref: false })])
  if (!(await within(5_000))) {
    signal(pid, 'SIGQUIT')
    if (!(await within(6_000))) family.push(...killTree(pid))
    await exited
  }
  await allGone(family)
}

function program(binaries: string, name: string): string {
  return path.join(binaries, 'bin', process.platform === 'win32' ? `${name}.exe` : name)
}
