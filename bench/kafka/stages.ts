import { Kafka as Client, logLevel, type Admin } from 'kafkajs'
import { makeServed } from '../../connectors/kafka/topics.ts'
import { client } from '../../test/support/database.ts'
import { sampleCpu } from '../cpu.ts'
import { expectedSums, MARKER, SUMS_SQL, type Phase } from '../phase.ts'
import { settle, warmWal } from '../servers.ts'
import { copyDatabase, copySlot, dropDatabase, dropSlot, hasMarker, rowsOf, until } from '../sql.ts'
import { round } from '../stats.ts'
import type { Field, Half, Mover, MoverName, Trial } from './mover.ts'
import { sampleMachine, sampleProcesses, type ProcessUsage } from './usage.ts'

export const STAGES = ['source to Kafka', 'Kafka to destination', 'source to destination'] as const
export type Stage = (typeof STAGES)[number]

export interface StageRun {
  readonly phase: string
  readonly mover: MoverName
  readonly stage: Stage
  readonly pair: number
  readonly rows: number
  readonly seconds: number
  readonly rowsPerSecond: number
  /** Walsender and sessions at the source, sessions at the destination, seconds. */
  readonly source: number
  readonly destination: number
  readonly processes: Readonly<Record<string, ProcessUsage>>
  /** CPU seconds of everything else on the machine, this process aside: where they are many, the rates are not of a quiet machine. */
  readonly others: number
}

interface Work {
  readonly field: Field
  readonly mover: Mover
  readonly phase: Phase
  readonly pair: number
}

const WAIT = { ms: 900_000, every: 10 }
let runs = 0

export async function withAdmin<T>(field: Field, use: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Client({ brokers: [field.kafka.bootstrap], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    return await use(admin)
  } finally {
    await admin.disconnect()
  }
}

/** Topics, slot and destination of one run exist while `use` is under way. */
export async function withTrial<T>({ field, mover, phase }: Work, prompt: boolean, use: (trial: Trial) => Promise<T>): Promise<T> {
  const { place } = field
  const { template, slot } = phase.starts.get(mover.start)!
  const trial: Trial = { phase, prompt, prefix: `run${++runs}`, database: `kafka_run${runs}` }
  const entries = Object.entries({ 'retention.ms': '-1', 'retention.bytes': '-1', 'max.message.bytes': '16777216' })
  const configEntries = entries.map(([name, value]) => ({ name, value }))
  await withAdmin(field, async (admin) => makeServed(admin, mover.topics(trial.prefix).map((topic) => ({ topic, numPartitions: 1, configEntries }))))
  await copyDatabase(place.destination, template, trial.database)
  await copySlot(place.source.url(phase.subject.database), slot!.master!, slot!.name)
  await warmWal(place.source, slot!.master!)
  try {
    await settle(place)
    return await use(trial)
  } finally {
    await dropSlot(place.source, slot!.name)
    await dropDatabase(place.destination, trial.database)
    await withAdmin(field, (admin) => admin.deleteTopics({ topics: [...mover.topics(trial.prefix)] }))
  }
}

/** Each stage alone, one after the other over the same topic, then both at once over another. */
export async function measureStages(work: Work): Promise<StageRun[]> {
  const { mover } = work
  const apart = await withTrial(work, false, async (trial) => {
    const toKafka = await timed(work, 'source to Kafka', async (watch) => {
      const capture = watch(await mover.capture(trial))
      const begun = await slotIsRead(work)
      await withAdmin(work.field, (admin) => until('all records', orFail([capture], () => written(work, trial, admin)), WAIT))
      return { begun, halves: [capture] }
    })
    const fromKafka = await timed(work, 'Kafka to destination', async (watch) => {
      const deliver = watch(await mover.deliver(trial))
      const begun = performance.now()
      await arrived(work, trial, [deliver])
      return { begun, halves: [deliver] }
    })
    return [toKafka, fromKafka]
  })
  const through = await withTrial(work, false, (trial) => timed(work, 'source to destination', async (watch) => {
    const deliver = watch(await mover.deliver(trial))
    const capture = watch(await mover.capture(trial))
    const begun = await slotIsRead(work)
    await arrived(work, trial, [capture, deliver])
    return { begun, halves: [capture, deliver] }
  }))
  return [...apart, through]
}

type Watch = (half: Half) => Half

/** `work` says when the clock began; it has ended when `work` resolves. */
async function timed({ field, mover, phase, pair }: Work, stage: Stage,
  work: (watch: Watch) => Promise<{ readonly begun: number; readonly halves: readonly Half[] }>): Promise<StageRun> {
  const sampler = sampleCpu({ source: field.place.source.pid, destination: field.place.destination.pid, exclude: new Set() })
  const processes = sampleProcesses()
  const machine = sampleMachine()
  const ours = process.cpuUsage()
  processes.add(mover.name === 'rekey' ? field.pids : { broker: field.pids.broker }, false)
  const halves: Half[] = []
  try {
    const { begun } = await work((half) => {
      halves.push(half)
      processes.add(half.pids, mover.name === 'rekey')
      return half
    })
    const seconds = (performance.now() - begun) / 1000
    const used = processes.read()
    const { user, system } = process.cpuUsage(ours)
    const everything = machine()
    const cpu = sampler.stop()
    const known = [cpu?.source ?? 0, cpu?.destination ?? 0, (user + system) / 1e6, ...Object.values(used).map((one) => one.seconds)]
    return {
      phase: phase.name, mover: mover.name, stage, pair, rows: phase.rows, seconds: round(seconds, 3),
      rowsPerSecond: Math.round(phase.rows / seconds), source: cpu?.source ?? 0, destination: cpu?.destination ?? 0, processes: used,
      others: round(everything - known.reduce((sum, one) => sum + one, 0), 2),
    }
  } finally {
    sampler.stop()
    for (const half of halves) await half.stop()
  }
}

function orFail(halves: readonly Half[], check: () => Promise<boolean>): () => Promise<boolean> {
  return async () => {
    for (const half of halves) {
      const failure = await half.failure()
      if (failure !== null) throw new Error(failure)
    }
    return check()
  }
}

async function slotIsRead({ field, mover, phase }: Work): Promise<number> {
  const source = await client(field.place.source.url())
  const { name } = phase.starts.get(mover.start)!.slot!
  try {
    const text = 'select 1 from pg_replication_slots where slot_name = $1 and active_pid is not null'
    await until('a walsender on the slot', async () => (await rowsOf(source, text, [name])).length > 0, { ms: 60_000, every: 2 })
    return performance.now()
  } finally {
    await source.end()
  }
}

/** The rows of the phase and its marker. Heartbeats, a record every ten seconds, may take the place of the last few. */
async function written({ mover, phase }: Work, { prefix }: Trial, admin: Admin): Promise<boolean> {
  const ends = await Promise.all(mover.topics(prefix).map((topic) => admin.fetchTopicOffsets(topic)))
  return ends.flat().reduce((sum, one) => sum + Number(one.high), 0) >= phase.rows + 1
}

/** The marker is there; with it, or soon after where topics have no order between them, everything else. */
async function arrived({ field, mover, phase }: Work, { database }: Trial, halves: readonly Half[]): Promise<void> {
  const probe = await client(field.place.destination.url(database))
  const expected = expectedSums(phase, mover.start)
  const complete = async (): Promise<boolean> => {
    if (!(await hasMarker(probe, MARKER))) return false
    const [found] = await rowsOf(probe, SUMS_SQL)
    return Number(found['nodes']) === expected.nodes && Number(found['progress']) === expected.progress
  }
  try {
    await until(`${mover.name} (${phase.name})`, orFail(halves, complete), { ...WAIT, every: 20 })
  } finally {
    await probe.end()
  }
}
