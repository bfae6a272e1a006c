import { spawnSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** True while a process exists and is not merely waiting to be collected by its parent. */
export function isAlive(pid: number): boolean {
  if (process.platform === 'linux') {
    const state = procStat(pid)?.state
    return state !== undefined && state !== 'X' && (state !== 'Z' || hasThreads(pid))
  }
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Sends a signal; a process that is gone already is no error. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/**
 * Kills a process and its children at once, as a power cut would, and returns their ids. The parent is stopped first, so that it
 * makes no new child in between. (Children of a postmaster lead sessions of their own: no process group holds them all.)
 */
export function killTree(pid: number): number[] {
  if (process.platform === 'win32') {
    spawnSync('taskkill', ['/pid', String(pid), '/T', '/F'])
    return [pid]
  }
  signal(pid, 'SIGSTOP')
  const all = [pid, ...childrenOf(pid)]
  for (const one of all) signal(one, 'SIGKILL')
  return all
}

/** Resolves when all are gone; rejects after `ms` milliseconds. */
export async function allGone(pids: readonly number[], ms = 10_000): Promise<void> {
  const end = Date.now() + ms
  while (pids.some(isAlive)) {
    if (Date.now() > end) throw new Error(`still there after ${ms} ms: process ${pids.filter(isAlive).join(', ')}`)
    await sleep(10)
  }
}

export function childrenOf(pid: number): number[] {
  if (process.platform === 'linux') {
    return readdirSync('/proc').filter((n) => /^\d+$/.test(n)).map(Number).filter((one) => procStat(one)?.parent === pid)
  }
  const { stdout } = spawnSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' })
  return stdout.split('\n').map((line) => line.trim().split(/\s+/).map(Number)).filter((pair) => pair[1] === pid).map((pair) => pair[0])
}

/** The first thread of a killed process counts as a zombie while others still end, and until the last has, its ports are taken. */
function hasThreads(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).length > 1
  } catch {
    return false
  }
}

/** State and parent from /proc/<pid>/stat: the fields after the name, which is in parentheses and may itself hold some. */
function procStat(pid: number): { state: string; parent: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { state: fields[0], parent: Number(fields[1]) }
  } catch {
    return undefined
  }
}
