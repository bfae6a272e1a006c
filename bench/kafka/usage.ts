import { readFileSync } from 'node:fs'
import { ticksOf } from '../cpu.ts'
import { round } from '../stats.ts'

/** CPU seconds since the start of the sampling, and the peak of resident memory since the process began. */
export interface ProcessUsage {
  readonly seconds: number
  readonly peakMiB: number
}

/** Ticks of /proc in a second. */
const TICKS = 100

/** Of processes that live longer than the sampling, by name. Empty where there is no /proc. */
export function sampleProcesses() {
  const first = new Map<string, { readonly pid: number; readonly ticks: number }>()
  return {
    add(pids: Readonly<Record<string, number>>, fresh: boolean): void {
      for (const [name, pid] of Object.entries(pids)) if (!first.has(name)) first.set(name, { pid, ticks: fresh ? 0 : ticks(pid) })
    },
    read(): Record<string, ProcessUsage> {
      return Object.fromEntries([...first].map(([name, { pid, ticks: at }]) => {
        return [name, { seconds: round((ticks(pid) - at) / TICKS, 2), peakMiB: peak(pid) }]
      }))
    },
  }
}

function ticks(pid: number): number {
  const stat = proc(pid, 'stat')
  return stat === null ? 0 : ticksOf(stat)
}

function peak(pid: number): number {
  return Math.round(Number(/^VmHWM:\s+(\d+) kB/m.exec(proc(pid, 'status') ?? '')?.[1] ?? 0) / 1024)
}

function proc(pid: number, file: string): string | null {
  return readIfThere(`/proc/${pid}/${file}`)
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return null
  }
}

/** CPU seconds of all cores that were used since the start of the sampling, by whomever. */
export function sampleMachine(): () => number {
  const used = (): number => {
    // user nice system idle iowait irq softirq steal, in ticks (proc(5)).
    const fields = /^cpu +(.*)$/m.exec(readIfThere('/proc/stat') ?? '')?.[1].split(' ').map(Number) ?? []
    return fields.slice(0, 8).reduce((sum, ticks, i) => (i === 3 || i === 4 ? sum : sum + ticks), 0)
  }
  const first = used()
  return () => (used() - first) / TICKS
}
