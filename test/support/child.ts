import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Config } from '../../src/config/config.ts'
import type { Role } from '../../src/pipeline.ts'
import { atExit } from './at-exit.ts'

/** A bridge that runs as a process of its own, so that it can be killed. */
export interface Child {
  readonly pid: number
  /** Resolves with its end: an exit code, or null and the signal. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
  /** Everything it said, line by line. */
  readonly lines: readonly string[]
  /** The most memory that it said it used, bytes. */
  readonly rss: number
  /** Resolves when it has come this far, or farther; rejects when it ends before. */
  reached(phase: 'snapshot' | 'stream'): Promise<void>
  /** Resolves when it has said something like this; rejects when it ends before. */
  heard(text: RegExp): Promise<void>
  kill(signal: NodeJS.Signals): void
}

const MAIN = fileURLToPath(new URL('child-main.ts', import.meta.url))

export interface ChildOptions {
  readonly failpoints?: string
  readonly takeover?: boolean
  readonly role?: Role
  /** Most that the old generation of its heap may take, MiB. */
  readonly heap?: number
}

export function startChild(config: Config, options: ChildOptions = {}): Child {
  const folder = mkdtempSync(join(tmpdir(), 'rekey-child-'))
  const file = join(folder, 'config.json')
  writeFileSync(file, JSON.stringify(config))
  const env = { ...process.env, REKEY_FAILPOINTS: options.failpoints ?? '' }
  const child = spawn(process.execPath, [...(options.heap ? [`--max-old-space-size=${options.heap}`] : []), '--import', 'tsx', MAIN, file, options.role ?? 'all', ...(options.takeover ? ['--takeover'] : [])],
    { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const release = atExit(() => void child.kill('SIGKILL'))
  const lines: string[] = []
  let rss = 0
  let rest = ''
  const waiting: (() => void)[] = []
  const heard = (): void => waiting.splice(0).forEach((wake) => wake())
  const hear = (text: Buffer): void => {
    const parts = (rest + text.toString()).split('\n')
    rest = parts.pop()!
    for (const line of parts) {
      const used = / rss (\d+)$/.exec(line)
      if (used) rss = Math.max(rss, Number(used[1]))
      lines.push(line)
      if (lines.length > 2_000) lines.shift()
    }
    heard()
  }
  child.stdout.on('data', hear)
  child.stderr.on('data', hear)
  const ended = new Promise<Awaited<Child['ended']>>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      release()
      rmSync(folder, { recursive: true, force: true })
      resolve({ code, signal })
      heard()
    })
  })
  const said = async (is: (line: string) => boolean, what: string): Promise<void> => {
    while (!lines.some(is)) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the bridge ended before ${what}: ${lines.slice(-3).join(' | ')}`)
      await new Promise<void>((resolve) => waiting.push(resolve))
    }
  }
  return {
    pid: child.pid!, ended, lines,
    get rss() { return rss },
    reached: (phase) => said((line) => line.startsWith(`at ${phase} `) || line.startsWith('at stream '), phase),
    heard: (text) => said((line) => text.test(line), String(text)),
    kill: (name) => void child.kill(name),
  }
}
