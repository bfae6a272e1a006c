import { existsSync } from 'node:fs'
import { failureOf, renderFailure } from '../src/cli/failure.ts'
import { RekeyError } from '../src/core/errors.ts'
import { HELP, readOptions, type Options } from './options.ts'
import { openStage, type Stage } from './stage.ts'
import { play } from './story.ts'
import { openView, type View } from './view.ts'

/** Repeats of one Ctrl-C: the terminal sends it to every process of the group, and npm and tsx pass theirs on. */
const ONE_SIGNAL_MS = 1_000
const PATIENCE_MS = 8_000
const INTERRUPTED = 130

/** Aborts at the first SIGINT, SIGTERM or SIGHUP (a closed terminal); a later second one ends the process and all that it started. */
function interruptible(view: View): AbortSignal {
  const stop = new AbortController()
  let first = 0
  const heard = (): void => {
    if (stop.signal.aborted) {
      if (performance.now() - first > ONE_SIGNAL_MS) process.exit(INTERRUPTED)
      return
    }
    first = performance.now()
    view.say('   Stopping the servers and cleaning up …')
    stop.abort()
    // A server that does not answer must not hold this up: what this process started ends with it.
    setTimeout(() => process.exit(INTERRUPTED), PATIENCE_MS).unref()
  }
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, heard)
  return stop.signal
}

async function main(options: Options): Promise<number> {
  const out = options.json ? process.stderr : process.stdout
  const view = openView(out, process.env)
  const signal = interruptible(view)
  const began = performance.now()
  let stage: Stage | null = null
  try {
    view.say(view.paint.bold('rekey demo: a live application moves into another live one, and neither stops.'))
    view.step('Two servers start', 'Two real Postgres servers, for this demo alone. Nothing else on this machine is touched.')
    stage = await openStage(signal)
    view.say(`   source       Postgres ${stage.majors.source}  ${stage.source.url}`)
    view.say(`   destination  Postgres ${stage.majors.destination}  ${stage.destination.url}`)
    const result = await play(stage, options, view, signal)
    const seconds = Math.round((performance.now() - began) / 1_000)
    view.say()
    view.verdict(result.ok, `${result.ok ? 'Everything arrived, and nothing else changed' : 'NOT equal: see above'} (${seconds} s)`)
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`)
    if (options.keep) await keep(stage, view, signal)
    return result.ok ? 0 : 1
  } catch (error) {
    if (signal.aborted) return INTERRUPTED
    view.say()
    process.stderr.write(error instanceof RekeyError ? renderFailure(failureOf(error)) : `The demo failed: ${(error as Error).stack}\n`)
    return 1
  } finally {
    await stage?.close()
  }
}

/** Waits for Ctrl-C. */
async function keep({ source, destination, configFile }: Stage, view: View, signal: AbortSignal): Promise<void> {
  const built = existsSync(new URL('../dist/src/cli/main.js', import.meta.url))
  view.step('Look around', 'The servers stay up until you press Ctrl-C; then they and all their data are gone.')
  view.say(`   source       ${source.url}`)
  view.say(`   destination  ${destination.url}`)
  view.say('   Try, in another terminal in this folder:')
  if (!built) view.say('     npm run build')
  view.say(`     npx rekey status --config ${configFile}`)
  view.say(`     npx rekey resolve users 17 --config ${configFile}`)
  view.say(`     npx rekey run --config ${configFile}      carries on, while you change rows at the source`)
  view.say('   To stop: Ctrl-C here.')
  // A timer keeps the process alive: a promise alone does not.
  const alive = setInterval(() => {}, 60_000)
  await new Promise<void>((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve())))
  clearInterval(alive)
}

// The reader of a pipe may leave early (`npm run demo | head`).
for (const stream of [process.stdout, process.stderr]) stream.on('error', (error: NodeJS.ErrnoException) =>
  process.exit(error.code === 'EPIPE' ? 0 : 1))

try {
  const options = readOptions(process.argv.slice(2))
  if (options.help) process.stdout.write(HELP)
  else process.exitCode = await main(options)
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${HELP}`)
  process.exitCode = 2
}
