import { readFileSync } from 'node:fs'
import { childrenOf } from '../test/support/processes.ts'

/** CPU seconds (user and system) between start and stop; resident memory at its highest. Null where there is no /proc. */
export interface Usage {
  /** Walsenders and other sessions at the source. */
  readonly source: number
  /** Apply workers or sessions at the destination. */
  readonly destination: number
  /** rekey's process. */
  readonly node: number
  /** Checkpointers, WAL writers and the like of both servers. */
  readonly background: number
  /** Of rekey's process; 0 when there is none. */
  readonly rssMiB: number
}

type Role = 'source' | 'destination' | 'node' | 'background'

interface Watched {
  role: Role | null
  first: number
  last: number
}

/** Kernel ticks in a second as /proc counts them (USER_HZ), on every Linux. */
const TICKS = 100
const EVERY_MS = 200

/**
 * Samples the children of both postmasters and the added processes. What a process used after the last sample before its end is
 * lost: at most 200 ms of it. `exclude` are sessions of the benchmark itself.
 */
export function sampleCpu(of: { readonly source: number; readonly destination: number; readonly exclude: ReadonlySet<number> }) {
  const watched = new Map<number, Watched>()
  const added = new Set<number>()
  let rssMiB = 0
  let begun = false

  function look(pid: number, decide: () => Role | null): void {
    if (of.exclude.has(pid)) return
    const ticks = cpuTicks(pid)
    if (ticks === null) return
    const known = watched.get(pid)
    const entry = known ?? { role: null, first: begun ? 0 : ticks, last: ticks }
    entry.last = ticks
    entry.role ??= decide()
    if (!known) watched.set(pid, entry)
  }
  function sample(): void {
    for (const pid of childrenOf(of.source)) look(pid, () => serverRole(titleOf(pid), 'source'))
    for (const pid of childrenOf(of.destination)) look(pid, () => serverRole(titleOf(pid), 'destination'))
    for (const pid of added) {
      look(pid, () => 'node')
      rssMiB = Math.max(rssMiB, peakMiB(pid))
    }
  }
  const total = (role: Role): number => {
    const own = [...watched.values()].filter((one) => (one.role ?? 'background') === role)
    return own.reduce((sum, one) => sum + one.last - one.first, 0) / TICKS
  }
  sample()
  begun = true
  const timer = setInterval(sample, EVERY_MS)
  return {
    add: (pid: number) => void added.add(pid),
    /** What the destination's sessions have used so far, seconds. */
    destination(): number {
      sample()
      return total('destination')
    },
    stop(): Usage | null {
      clearInterval(timer)
      sample()
      if (watched.size === 0) return null
      return {
        source: total('source'), destination: total('destination'), node: total('node'), background: total('background'),
        rssMiB: Math.round(rssMiB),
      }
    },
  }
}

/**
 * By the title that Postgres gives its processes: sessions end with the client's port, workers of a subscription say so. Null while a new
 * process has none yet.
 */
export function serverRole(title: string, side: 'source' | 'destination'): Role | null {
  if (!title.startsWith('postgres: ')) return null
  return /^postgres: walsender |\(\d+\)|logical replication (?!launcher)/.test(title) ? side : 'background'
}

/** Fields 14 and 15 of /proc/<pid>/stat (proc(5)), counted behind the name, which may itself hold blanks and parentheses. */
export function ticksOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}

function cpuTicks(pid: number): number | null {
  const text = readProc(pid, 'stat')
  return text === null ? null : ticksOf(text)
}

function titleOf(pid: number): string {
  return (readProc(pid, 'cmdline') ?? '').replaceAll('\0', ' ').trim()
}

function peakMiB(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(readProc(pid, 'status') ?? '')?.[1] ?? 0) / 1024
}

function readProc(pid: number, file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch {
    return null
  }
}
