import { existsSync, readFileSync } from 'node:fs'
import { Kafka, logLevel } from 'kafkajs'
import { client } from '../../test/support/database.ts'
import { startProxy } from '../../test/support/proxy.ts'
import { sampleCpu } from '../cpu.ts'
import { sampleProcesses, type ProcessUsage } from '../kafka/usage.ts'
import { settle } from '../servers.ts'
import { copyDatabase, dropDatabase, rowsOf, until } from '../sql.ts'
import { round } from '../stats.ts'
import { OWN } from '../tables.ts'
import { slowed } from './slowed.ts'
import { closedGate } from './gate.ts'
import { alive, GROUP, PARTITIONS, PIPELINE, startRole, TEMPLATE, type Prepared, type ScaleField } from './prepare.ts'

export interface ScaleTrial {
  readonly workload: string
  /** Milliseconds each way between the deliver processes and the destination. */
  readonly delayMs: number
  /** Of a core, for each deliver process. */
  readonly share: number
  readonly processes: number
  readonly pair: number
  /** From when every partition had moved until the last one was done. */
  readonly rows: number
  readonly seconds: number
  readonly rowsPerSecond: number
  /** From the gate's opening on: with joins and first reads. */
  readonly allSeconds: number
  /** CPU seconds from the gate's opening on. */
  readonly deliver: readonly ProcessUsage[]
  readonly broker: number
  readonly destination: number
  /** Of the benchmark's own process, which is the proxy, too. */
  readonly benchmark: number
  /** Of everything that ran on this machine meanwhile, others' too; null where there is no /proc. */
  readonly machine: number | null
  readonly retries: Readonly<Record<string, number>>
  readonly gathers: number
  readonly restarts: number
}

let trials = 0

/** So many deliver processes over the same topic, from the same start. */
export async function scaleTrial(field: ScaleField & { readonly broker: number }, prepared: Prepared, of: {
  readonly workload: string; readonly processes: number; readonly delayMs: number; readonly share: number; readonly pair: number
}): Promise<ScaleTrial> {
  const { place } = field
  const database = `scale_${++trials}`
  await copyDatabase(place.destination, TEMPLATE, database)
  const near = place.destination.url(database)
  const proxy = of.delayMs > 0 ? await startProxy({ host: '127.0.0.1', port: Number(new URL(near).port) }) : null
  proxy?.delay(of.delayMs)
  const destination = proxy?.through(near) ?? near
  const probe = await client(near)
  const kafka = new Kafka({ brokers: [field.kafka.bootstrap], logLevel: logLevel.NOTHING })
  const gate = await closedGate(kafka, { group: GROUP, topic: `${PIPELINE}.changes`, partitions: PARTITIONS })
  const running = await Promise.all(Array.from({ length: of.processes }, (_, i) => startRole(field, { name: `${database}_${i + 1}`, role: 'deliver', destination })))
  const sampler = sampleCpu({ source: place.source.pid, destination: place.destination.pid, exclude: new Set() })
  const usage = sampleProcesses()
  let slow: ReturnType<typeof slowed> | null = null
  try {
    await until('all processes', () => alive(running, async () => (await gate.waiting()) === of.processes), { ms: 60_000, every: 50 })
    await settle(place)
    running.forEach((one, i) => usage.add({ [`deliver${i + 1}`]: one.pids[0] }, false))
    usage.add({ broker: field.broker, benchmark: process.pid }, false)
    const [before, machineBefore] = [sampler.destination(), machineSeconds()]
    const opened = performance.now()
    if (of.share < 1) slow = slowed(running.map((one) => one.pids[0]), of.share)
    await gate.open()
    let begun = { at: opened, rows: 0 }
    await until(`${of.processes} processes`, () => alive(running, async () => {
      const [row] = await rowsOf(probe, PROGRESS_SQL, [prepared.upTo])
      if (begun.at === opened && Number(row['moved']) === PARTITIONS) begun = { at: performance.now(), rows: Number(row['rows']) }
      return row['done'] === 't' || row['done'] === 'true'
    }), { ms: 300_000, every: 40 })
    const ended = performance.now()
    slow?.end()
    const [{ rows }] = await rowsOf(probe, PROGRESS_SQL, [prepared.upTo])
    const after = sampler.stop()
    const used = usage.read()
    const machine = machineBefore === null ? null : round(machineSeconds()! - machineBefore, 2)
    const retries = await retriesOf(running)
    await compare(probe, prepared)
    const [counted, seconds] = [Number(rows) - begun.rows, (ended - begun.at) / 1e3]
    return {
      ...of, rows: counted, seconds: round(seconds, 3), rowsPerSecond: Math.round(counted / seconds), allSeconds: round((ended - opened) / 1e3, 3),
      deliver: running.map((_, i) => used[`deliver${i + 1}`]), broker: used['broker'].seconds, benchmark: used['benchmark'].seconds, machine,
      destination: round((after?.destination ?? 0) - before, 2), retries,
      gathers: count(running, /"event":"gather"/g), restarts: count(running, /"event":"restart"/g),
    }
  } finally {
    slow?.end()
    sampler.stop()
    await gate.open().catch(() => {})
    await probe.end()
    await Promise.all(running.map((one) => one.stop()))
    await proxy?.close()
    await dropDatabase(place.destination, database)
  }
}

/** User, nice, system, interrupts and stolen time of all cores (proc_stat(5)), in seconds. */
function machineSeconds(): number | null {
  if (!existsSync('/proc/stat')) return null
  const [user, nice, system, , , irq, softirq, steal] = readFileSync('/proc/stat', 'utf8').split('\n')[0].split(/\s+/).slice(1).map(Number)
  return (user + nice + system + irq + softirq + steal) / 100
}

/** Partitions that have moved, rows that are applied, and whether all are there. */
const PROGRESS_SQL = `select count(*) filter (where totals::text <> '{}') as moved, coalesce(sum(n), 0) as rows, bool_and(commit_lsn >= $1::pg_lsn) as done
  from (select l.totals, l.commit_lsn, (select sum((t.value ->> 'read')::bigint) from json_each(l.totals) t) as n from rekey.lane l) l`

async function compare(probe: Awaited<ReturnType<typeof client>>, { nodes, progress }: Prepared): Promise<void> {
  const [found] = await rowsOf(probe, 'select count(*) as nodes, sum(progress) as progress from nodes')
  if (Number(found['nodes']) === nodes + OWN.nodes && Number(found['progress']) === progress) return
  throw new Error(`the destination has ${found['nodes']} nodes, sum ${found['progress']}; it must have ${nodes + OWN.nodes}, ${progress}`)
}

async function retriesOf(running: readonly { readonly log: string }[]): Promise<Record<string, number>> {
  const sums: Record<string, number> = {}
  for (const { log } of running) {
    const url = /metrics and health at (http:[^"\s]+)/.exec(readFileSync(log, 'utf8'))?.[1]
    if (!url) throw new Error(`${log} does not say where its metrics are`)
    const text = await (await fetch(`${url}/metrics`)).text()
    for (const [, reason, n] of text.matchAll(/^rekey_apply_retries_total\{.*reason="(\w+)".*\} (\d+)$/gm)) sums[reason] = (sums[reason] ?? 0) + Number(n)
  }
  return sums
}

function count(running: readonly { readonly log: string }[], what: RegExp): number {
  return running.reduce((sum, { log }) => sum + (readFileSync(log, 'utf8').match(what)?.length ?? 0), 0)
}
