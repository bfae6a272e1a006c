import { existsSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { childrenOf } from '../../test/support/processes.ts'
import { startConnect } from '../../test/support/services/connect.ts'
import { startKafka } from '../../test/support/services/kafka.ts'
import { startRedis } from '../../test/support/services/redis.ts'
import { native } from '../native.ts'
import { dropPhase, makeTemplates, preparePhase } from '../phase.ts'
import { CLI, rekey } from '../rekey.ts'
import { RESULTS, type WorkloadFacts } from '../results.ts'
import { machineOf, openPlace, SETTINGS } from '../servers.ts'
import { debezium } from './debezium.ts'
import { measureSteady, type SteadyLatency } from './latency.ts'
import { MOVERS, type Field, type Mover } from './mover.ts'
import { rekeyRoles } from './rekey.ts'
import { renderKafkaReport, type KafkaResults } from './report.ts'
import { measureStages, type StageRun } from './stages.ts'

const USAGE = `Usage: npm run bench:kafka -- [options]
  --only a,b,c,latency
  --movers debezium,rekey
  --rows FACTOR        size of the workloads, 1 is full (default 0.1)
  --runs N             how often (default 1)
  --seconds N          of the latency at 200 transactions a second (default 20)
  --profile            CPU profiles of rekey into bench/profiles`

const PHASES = ['a', 'b', 'c', 'latency'] as const

interface Options {
  readonly only: readonly (typeof PHASES)[number][]
  readonly movers: readonly string[]
  readonly scale: number
  readonly runs: number
  readonly seconds: number
  readonly profile: boolean
}

function optionsFrom(args: readonly string[]): Options {
  const text = { type: 'string' } as const
  const { values } = parseArgs({ args: [...args], options: {
    only: text, movers: text, rows: text, runs: text, seconds: text, profile: { type: 'boolean', default: false } } })
  const [only, movers] = [values.only?.split(',') ?? PHASES, values.movers?.split(',') ?? MOVERS]
  const [scale, runs, seconds] = [Number(values.rows ?? '0.1'), Number(values.runs ?? '1'), Number(values.seconds ?? '20')]
  const isKnown = only.every((one) => (PHASES as readonly string[]).includes(one)) && movers.every((one) => (MOVERS as readonly string[]).includes(one))
  if (!isKnown || !(scale > 0) || !Number.isInteger(runs) || runs < 1 || !(seconds > 0)) throw new Error('not a known option or value')
  return { only: PHASES.filter((one) => only.includes(one)), movers, scale, runs, seconds, profile: values.profile }
}

async function openField(): Promise<Field & { close(): Promise<void> }> {
  const place = await openPlace(15)
  const [kafka, redis] = await Promise.all([startKafka(), startRedis()])
  const connect = await startConnect({ kafka, jvm: ['-Xmx2G'], settings: { 'offset.flush.interval.ms': '1000' } })
  const children = childrenOf(process.pid)
  const pidOf = (word: string): number => children.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(word)) ?? 0
  return {
    place, kafka, redis, connect, pids: { broker: pidOf('kafka.Kafka'), redis: pidOf('redis-server') },
    async close() {
      await connect.stop()
      await Promise.all([kafka.stop(), redis.stop()])
      await place.close()
    },
  }
}

async function bench(options: Options): Promise<KafkaResults> {
  const field = await openField()
  const stages: StageRun[] = []
  const latencies: SteadyLatency[] = []
  const workloads: WorkloadFacts[] = []
  try {
    const { place } = field
    const machine = await machineOf(place.source)
    await makeTemplates(place, options.scale)
    const contenders = [native(place), rekey(place, { checks: 'set', indexes: 'keep', profile: false })]
    const all: Record<string, Mover> = { debezium: debezium(field), rekey: rekeyRoles(field, options) }
    for (const name of options.only) {
      const phase = await preparePhase(name, options.scale, { place, contenders })
      const { title, rows, transactions, walBytes } = phase
      workloads.push({ phase: name, title, rows, transactions, walBytes })
      say(`(${name}) ${title}: ${rows} rows, ${transactions} transactions`)
      for (let pair = 1; pair <= options.runs; pair++) {
        for (const mover of options.movers.map((one) => all[one])) {
          const work = { field, mover, phase, pair }
          if (name === 'latency') {
            const found = await measureSteady(work, { perSecond: 200, seconds: options.seconds })
            latencies.push(found)
            say(`  ${mover.name.padEnd(8)} p50 ${found.p50} ms, p99 ${found.p99} ms, at 200 transactions a second`)
            continue
          }
          // The worker lives through the whole benchmark: its first run, in which its code is not compiled yet, does not count.
          if (mover.name === 'debezium' && stages.length === 0) await measureStages(work)
          const found = await measureStages(work)
          stages.push(...found)
          for (const one of found) say(`  ${mover.name.padEnd(8)} ${one.stage.padEnd(21)} ${one.rowsPerSecond} rows/s; ${describe(one)}`)
        }
      }
      await dropPhase(place, phase)
    }
    return { version: 1, date: new Date().toISOString(), options: { ...options }, machine, serverSettings: SETTINGS, workloads, stages, latencies }
  } finally {
    await field.close()
  }
}

function describe({ source, destination, processes, others }: StageRun): string {
  const own = Object.entries(processes).map(([name, { seconds, peakMiB }]) => `${name} ${seconds} s ${peakMiB} MiB`)
  return [`source ${source} s`, ...own, `destination ${destination} s`, `others ${others} s`].join(', ')
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

async function main(): Promise<void> {
  let options: Options
  try {
    options = optionsFrom(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}\n`)
    process.exitCode = 2
    return
  }
  if (!existsSync(CLI)) throw new Error('dist/src/cli/main.js is missing: run `npm run build`')
  const results = await bench(options)
  const folder = path.join(RESULTS, 'kafka')
  await mkdir(folder, { recursive: true })
  const part = options.only.length < PHASES.length || options.movers.length < MOVERS.length || options.profile ? '-partial' : ''
  const file = path.join(folder, `${results.date.slice(0, 10)}${part}.json`)
  await writeFile(file, `${JSON.stringify(results, null, 2)}\n`)
  say(`\n${renderKafkaReport(results)}\n${path.relative(process.cwd(), file)}`)
}

await main()
