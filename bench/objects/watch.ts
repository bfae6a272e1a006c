import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { atExit } from '../../test/support/at-exit.ts'
import { sampleCpu, ticksOf } from '../cpu.ts'
import type { Place } from './servers.ts'

export interface Measured {
  readonly seconds: number
  /** CPU seconds: the contender's process, both S3 servers, rekey's databases. */
  readonly cpu: { readonly contender: number; readonly servers: number; readonly databases: number }
  readonly rssMiB: number
}

export interface Command {
  readonly program: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/**
 * Runs a command from its start until it ends by itself, or until `done` says so: then it is told to end. Rejects with the end of what it
 * said when it fails.
 */
export async function watch(place: Place, command: Command, done: (() => Promise<boolean>) | null): Promise<Measured> {
  const gateways = (): number => place.gateways.reduce((sum, pid) => sum + ticksOf(readFileSync(`/proc/${pid}/stat`, 'latin1')) / 100, 0)
  const { source, destination } = place.databases
  const [began, serversBefore] = [performance.now(), gateways()]
  const sampler = sampleCpu({ source: source.pid, destination: destination.pid, exclude: new Set() })
  const child = spawn(command.program, [...command.args], { env: { ...process.env, ...command.env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const release = atExit(() => void child.kill('SIGKILL'))
  let said = ''
  const hear = (chunk: Buffer): void => { said = (said + chunk.toString()).slice(-4_000) }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', hear)
  const ended = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  sampler.add(child.pid ?? 0)
  let over = false
  void ended.finally(() => (over = true)).catch(() => {})
  if (done) {
    while (!over && !await done()) await new Promise((resolve) => setTimeout(resolve, 100))
    if (over) throw new Error(`${command.program} ended early:\n${said}`)
  } else if (await ended !== 0) {
    throw new Error(`${command.program} failed:\n${said}`)
  }
  const seconds = (performance.now() - began) / 1_000
  const usage = sampler.stop()
  const servers = gateways() - serversBefore
  if (!over) child.kill('SIGTERM')
  await ended
  release()
  const databases = usage === null ? 0 : usage.source + usage.destination + usage.background
  return { seconds, cpu: { contender: usage?.node ?? 0, servers, databases }, rssMiB: usage?.rssMiB ?? 0 }
}
