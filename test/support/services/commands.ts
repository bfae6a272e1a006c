import { spawn } from 'node:child_process'
import { statSync } from 'node:fs'
import path from 'node:path'
import { deathSignal } from '../death-signal.ts'

/** The file of a program on the PATH, or null. */
export function onPath(program: string): string | null {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter).filter((folder) => folder !== '')
  return folders.map((folder) => path.join(folder, program)).find((file) => statSync(file, { throwIfNoEntry: false })?.isFile()) ?? null
}

/** Runs a command to its end and resolves with what it said on stdout. Rejects with the end of its output when its exit code is not 0. */
export async function run(command: readonly string[], options: { cwd?: string; env?: Record<string, string> } = {}): Promise<string> {
  const [program, ...args] = [...deathSignal('KILL'), ...command]
  const env = { ...process.env, ...options.env }
  const child = spawn(program, args, { cwd: options.cwd ?? process.cwd(), env, stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let all = ''
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString(); all += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { all += chunk.toString() })
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve))
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${String(code)}:\n${all.split('\n').slice(-20).join('\n')}`)
  return out
}

/** Where a program comes from. */
export interface Need {
  readonly program: string
  /** For people: what it is needed for. */
  readonly title: string
  /** The command that gives it. */
  readonly remedy: string
}

/** The file of a program that must be there. */
export function needed({ program, title, remedy }: Need): string {
  const file = onPath(program)
  if (file === null) throw cannotHave(title, `there is no ${program} on the PATH`, remedy)
  return file
}

/** Its message is one sentence that says what cannot be had, why, and which command would give it. */
export class CannotHave extends Error {}

export function cannotHave(title: string, why: string, remedy: string): CannotHave {
  return new CannotHave(`${title} cannot be had: no container engine is used, and ${why}. Run: ${remedy}`)
}
