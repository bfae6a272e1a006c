import type { Client } from 'pg'
import { client } from '../test/support/database.ts'
import type { Contender, ContenderName, Place, Running } from './contender.ts'
import { sampleCpu, type Usage } from './cpu.ts'
import { expectedSums, MARKER, SUMS_SQL, type Phase } from './phase.ts'
import { settle, warmWal } from './servers.ts'
import { copyDatabase, copySlot, dropDatabase, hasMarker, rowsOf, until } from './sql.ts'
import { round } from './stats.ts'

export interface Run {
  readonly phase: string
  readonly pair: number
  readonly contender: ContenderName
  readonly rows: number
  /** From the moment a walsender holds the slot (an initial copy by rekey: from the start of its command) until the last row is visible. */
  readonly seconds: number
  /** From the start of the command until the clock starts. */
  readonly startupSeconds: number
  readonly rowsPerSecond: number
  readonly cpu: Usage | null
}

export interface Pairing {
  readonly phase: Phase
  readonly contender: Contender
}

const WAIT = { ms: 1_200_000, every: 20 }

/** The run's databases and slot exist while `use` is under way, and nothing of them afterwards. */
export async function withRun<T>(place: Place, { phase, contender }: Pairing, use: (session: Session) => Promise<T>): Promise<T> {
  const database = `run_${contender.name}`
  const start = phase.starts.get(contender.name)!
  await dropDatabase(place.destination, database)
  await copyDatabase(place.destination, start.template, database)
  if (start.slot?.master) {
    await copySlot(place.source.url(phase.subject.database), start.slot.master, start.slot.name)
    await warmWal(place.source, start.slot.master)
  }
  const source = await client(place.source.url(phase.subject.database))
  const probe = await client(place.destination.url(database))
  let running: Running | null = null
  try {
    await settle(place)
    return await use({
      source, probe,
      async launch() {
        running = await contender.start({ subject: phase.subject, start, database })
        return running
      },
      reading: start.slot === null ? null : () => isRead(source, start.slot!.name),
    })
  } finally {
    await Promise.all([source.end(), probe.end()])
    await (running as Running | null)?.stop()
    await dropDatabase(place.destination, database)
    await contender.clean(phase.subject)
  }
}

export interface Session {
  /** Connected to the source database and to the run's database. */
  readonly source: Client
  readonly probe: Client
  launch(): Promise<Running>
  /** True while a walsender reads the run's slot; null where the clock starts with the command. */
  readonly reading: (() => Promise<boolean>) | null
}

/** One measured run. Rejects when the destination does not hold what the source has. */
export async function measure(place: Place, of: Pairing, pair: number): Promise<Run> {
  const { phase, contender } = of
  return withRun(place, of, async (session) => {
    const { probe } = session
    const exclude = new Set([await backendPid(session.source), await backendPid(probe)])
    const sampler = sampleCpu({ source: place.source.pid, destination: place.destination.pid, exclude })
    try {
      const commanded = performance.now()
      const running = await session.launch()
      running.pids.forEach(sampler.add)
      const begun = (await readingSince(running, session)) ?? commanded
      const isDone = phase.subject.kind === 'copy' ? () => running.copied(probe) : () => hasMarker(probe, MARKER)
      await until(`${contender.name} (${phase.name})`, orFail(running, isDone), WAIT)
      const seconds = (performance.now() - begun) / 1000
      const cpu = sampler.stop()
      await checkSums(probe, phase, contender.name)
      return {
        phase: phase.name, pair, contender: contender.name, rows: phase.rows, seconds: round(seconds, 3),
        startupSeconds: round((begun - commanded) / 1000, 3),
        rowsPerSecond: Math.round(phase.rows / seconds), cpu,
      }
    } finally {
      sampler.stop()
    }
  })
}

/**
 * The time at which a walsender took the slot. Neither a process start nor the launch of a worker is counted as replication: the server
 * launches the workers of subscriptions at most every wal_retrieve_retry_interval, so a run would pay for the run before it.
 */
export async function readingSince(running: Running, { reading }: Session): Promise<number | null> {
  if (reading === null) return null
  await until('a walsender on the slot', orFail(running, reading), { ms: 60_000, every: 2 })
  return performance.now()
}

function orFail(running: Running, check: () => Promise<boolean>): () => Promise<boolean> {
  return async () => {
    const failure = running.failure()
    if (failure !== null) throw new Error(failure)
    return check()
  }
}

async function checkSums(probe: Client, phase: Phase, contender: ContenderName): Promise<void> {
  const [found] = await rowsOf(probe, SUMS_SQL)
  const expected = expectedSums(phase, contender)
  if (Number(found['nodes']) === expected.nodes && Number(found['progress']) === expected.progress) return
  throw new Error(`${contender} (${phase.name}) is wrong: ${found['nodes']} nodes with progress ${found['progress']}, ` +
    `expected ${expected.nodes} with ${expected.progress}`)
}

async function isRead(session: Client, slot: string): Promise<boolean> {
  const text = 'select 1 from pg_replication_slots where slot_name = $1 and active_pid is not null'
  const { rows } = await session.query({ name: 'slot', text, values: [slot] })
  return rows.length > 0
}

async function backendPid(session: Client): Promise<number> {
  const [row] = await rowsOf(session, 'select pg_backend_pid() as pid')
  return Number(row['pid'])
}
