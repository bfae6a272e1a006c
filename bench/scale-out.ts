import { existsSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { childrenOf } from '../test/support/processes.ts'
import { startKafka } from '../test/support/services/kafka.ts'
import { CLI } from './rekey.ts'
import { RESULTS } from './results.ts'
import { prepareScale } from './scale-out/prepare.ts'
import { renderScale, type ScaleResults } from './scale-out/report.ts'
import { scaleTrial, type ScaleTrial } from './scale-out/trial.ts'
import { machineOf, openPlace, SETTINGS } from './servers.ts'

const USAGE = `Usage: npm run bench:scale-out -- [options]
  --processes 1,2,4    how many deliver processes
  --delay MS           between them and the destination, each way (default 0)
  --share 0.25         of a core for each deliver process, as on small machines of their own (default 1: no limit)
  --workload a|b       bulk inserts, or small mixed transactions (default b)
  --rows FACTOR        size of the workload, 1 is full (default 0.2)
  --runs N             how often (default 3)
  --profile            CPU profiles into bench/profiles`

interface Options {
  readonly processes: readonly number[]
  readonly delay: number
  readonly share: number
  readonly workload: 'a' | 'b'
  readonly scale: number
  readonly runs: number
  readonly profile: boolean
}

function optionsFrom(args: readonly string[]): Options {
  const text = { type: 'string' } as const
  const { values } = parseArgs({ args: [...args], options: {
    processes: text, delay: text, share: text, workload: text, rows: text, runs: text, profile: { type: 'boolean', default: false } } })
  const processes = (values.processes ?? '1,2,4').split(',').map(Number)
  const [delay, share, scale, runs, workload] = [Number(values.delay ?? '0'), Number(values.share ?? '1'), Number(values.rows ?? '0.2'), Number(values.runs ?? '3'), values.workload ?? 'b']
  const isGood = processes.every((n) => Number.isInteger(n) && n > 0 && n <= 4) && delay >= 0 && share > 0 && share <= 1 && scale > 0 && Number.isInteger(runs) && runs > 0
  if (!isGood || (workload !== 'a' && workload !== 'b')) throw new Error('not a known option or value')
  return { processes, delay, share, workload, scale, runs, profile: values.profile }
}

/** Those that differ only by the number of processes run right after each other. */
async function bench({ processes, delay, share, workload, scale, runs, profile }: Options): Promise<ScaleResults> {
  const place = await openPlace(15)
  const kafka = await startKafka()
  const broker = childrenOf(process.pid).find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('kafka.Kafka')) ?? 0
  const field = { place, kafka, profile, broker }
  try {
    const prepared = await prepareScale(field, workload, scale)
    const { title, rows, transactions } = prepared
    say(`${title}: ${rows} rows, ${transactions} transactions, ${delay} ms each way, ${share} of a core each`)
    const trials: ScaleTrial[] = []
    for (let pair = 1; pair <= runs; pair++) {
      for (const n of processes) {
        const found = await scaleTrial(field, prepared, { workload, processes: n, delayMs: delay, share, pair })
        trials.push(found)
        const own = found.deliver.map(({ seconds, peakMiB }) => `${seconds} s ${peakMiB} MiB`).join(', ')
        say(`  ${n}: ${found.rowsPerSecond} rows/s over ${found.seconds} of ${found.allSeconds} s; deliver ${own}; destination ${found.destination} s, broker ${found.broker} s, ` +
          `benchmark ${found.benchmark} s, machine ${found.machine} s; retries ${JSON.stringify(found.retries)}, gathers ${found.gathers}, restarts ${found.restarts}`)
      }
    }
    const machine = await machineOf(place.source)
    return { version: 1, date: new Date().toISOString(), options: { processes, delay, share, workload, scale, runs }, machine, serverSettings: SETTINGS, workload: { title, rows, transactions }, trials }
  } finally {
    await kafka.stop()
    await place.close()
  }
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
  const folder = path.join(RESULTS, 'scale-out')
  await mkdir(folder, { recursive: true })
  const whole = options.processes.length === 3 && options.runs >= 3 && !options.profile
  const file = path.join(folder, `${results.date.slice(0, 10)}-${options.workload}-${options.delay}ms${options.share < 1 ? `-share${options.share}` : ''}${whole ? '' : '-partial'}.json`)
  await writeFile(file, `${JSON.stringify(results, null, 2)}\n`)
  say(`\n${renderScale(results)}\n${path.relative(process.cwd(), file)}`)
}

await main()
