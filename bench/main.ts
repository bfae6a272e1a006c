import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Contender, Place } from './contender.ts'
import { measureLatency, type Latency } from './latency.ts'
import { native } from './native.ts'
import { parseOptions, USAGE, type Options } from './options.ts'
import { dropPhase, makeTemplates, preparePhase, type Phase } from './phase.ts'
import { CLI, rekey } from './rekey.ts'
import { renderReport } from './report.ts'
import { summarize, writeResults, type Results, type WorkloadFacts } from './results.ts'
import { measure, type Run } from './run.ts'
import { machineOf, openPlace, SETTINGS } from './servers.ts'

interface Log {
  readonly runs: Run[]
  readonly latencies: Latency[]
  readonly workloads: WorkloadFacts[]
}

type Say = (line: string) => void

async function bench(options: Options, say: Say): Promise<Results> {
  const log: Log = { runs: [], latencies: [], workloads: [] }
  const place = await openPlace(options.major)
  try {
    const machine = await machineOf(place.source)
    say(`${machine['postgres']}, Node ${machine['node']}, ${machine['cores']} cores; ${options.runs} pairs, size ${options.scale}`)
    await makeTemplates(place, options.scale)
    const all = { native: native(place), rekey: rekey(place, options) }
    const contenders = options.contenders.map((name) => all[name])
    for (const name of options.only) {
      say(`(${name}) preparing`)
      const phase = await preparePhase(name, options.scale, { place, contenders })
      const { title, rows, transactions, walBytes } = phase
      log.workloads.push({ phase: name, title, rows, transactions, walBytes })
      say(`(${name}) ${title}: ${rows} rows, ${transactions} transactions, ${Math.round(walBytes / 1e6)} MB of WAL`)
      await pairs({ place, phase, contenders, options }, log, say)
      await dropPhase(place, phase)
    }
    return summarize({ options, serverSettings: SETTINGS, machine, ...log }, new Date())
  } finally {
    await place.close()
  }
}

interface Work {
  readonly place: Place
  readonly phase: Phase
  readonly contenders: readonly Contender[]
  readonly options: Options
}

/** The contenders take turns at going first. */
async function pairs({ place, phase, contenders, options }: Work, log: Log, say: Say): Promise<void> {
  for (let pair = 1; pair <= options.runs; pair++) {
    for (const contender of pair % 2 === 1 ? contenders : [...contenders].reverse()) {
      if (phase.name === 'latency') {
        const found = await measureLatency(place, { phase, contender }, { pair, samples: options.samples })
        log.latencies.push(found)
        say(`  ${pair}/${options.runs} ${contender.name.padEnd(6)} p50 ${found.p50.toFixed(2)} ms, p99 ${found.p99.toFixed(2)} ms`)
      } else {
        const run = await measure(place, { phase, contender }, pair)
        log.runs.push(run)
        say(`  ${pair}/${options.runs} ${contender.name.padEnd(6)} ${describe(run)}`)
      }
    }
  }
}

function describe({ rowsPerSecond, seconds, startupSeconds, cpu }: Run): string {
  const used = cpu ? `; CPU s: source ${cpu.source}, rekey ${cpu.node}, destination ${cpu.destination}, background ${cpu.background}` : ''
  const memory = cpu && cpu.rssMiB > 0 ? `; ${cpu.rssMiB} MiB` : ''
  return `${rowsPerSecond} rows/s in ${seconds.toFixed(2)} s (start ${startupSeconds.toFixed(2)} s)${used}${memory}`
}

async function main(): Promise<void> {
  let options: Options
  try {
    options = parseOptions(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}\n`)
    process.exitCode = 2
    return
  }
  if (options.contenders.includes('rekey') && !existsSync(CLI)) {
    process.stderr.write('dist/src/cli/main.js is missing: run `npm run build`, or measure without rekey: --contenders native\n')
    process.exitCode = 2
    return
  }
  const out = options.json ? process.stderr : process.stdout
  const begun = performance.now()
  const results = await bench(options, (line) => out.write(`${line}\n`))
  const file = path.relative(process.cwd(), await writeResults(results))
  out.write(`\n${renderReport(results)}\n${file}, ${Math.round((performance.now() - begun) / 1000)} s\n`)
  const { ratios, latency, note } = results
  if (options.json) process.stdout.write(`${JSON.stringify({ ratios, latency, file, note })}\n`)
}

await main()
