import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Client } from 'pg'
import { stringify } from 'yaml'
import { atExit } from '../test/support/at-exit.ts'
import type { Contender, Place, Running, Subject, Trial } from './contender.ts'
import { PUBLICATION } from './native.ts'
import type { Options } from './options.ts'
import { copyDatabase, copySlot, dropSlot, execute, hasMarker, rowsOf, slotsOf, until, within } from './sql.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
export const CLI = path.join(ROOT, 'dist/src/cli/main.js')
export const PROFILES = path.join(ROOT, 'bench/profiles')
const STOP_MS = 20_000

/** The arguments of `node`, behind those for a profile. */
const command = (config: string): string[] => [CLI, 'run', '--config', config, '--json']

export const MAPPING = {
  application: 'bench',
  contexts: [{ name: 'users', tables: ['users'] }, { name: 'studies', tables: ['projects', 'nodes', 'marker'] }],
  entities: { users: { prefix: 'usr' }, projects: { prefix: 'prj' }, nodes: { prefix: 'nod' }, marker: { prefix: 'mrk' } },
  tables: { users: { verdict: 'merge', on: ['lower(email)'] } },
}

/** The content of rekey.yaml for one run; everything that is not said here is rekey's default. */
export function configOf(
  of: { readonly phase: string; readonly source: string; readonly destination: string }, { checks, indexes }: Pick<Options, 'checks' | 'indexes'>,
) {
  return {
    pipeline: `bench_${of.phase}`, deployment: 'bench', secret: 'not a secret: for the benchmark',
    source: { url: of.source }, destination: { url: of.destination }, mapping: 'mapping',
    checks, snapshot: { indexes },
  }
}

/** rekey as its users run it: the built command in a process of its own. */
export function rekey(place: Place, options: Pick<Options, 'checks' | 'indexes' | 'profile'>): Contender {
  const { source, destination } = place

  async function start({ subject, database }: Pick<Trial, 'subject' | 'database'>, profile: boolean): Promise<Running> {
    const folder = path.join(place.folder, database)
    await mkdir(path.join(folder, 'mapping'), { recursive: true })
    const ends = { source: source.url(subject.database), destination: destination.url(database) }
    const config = configOf({ phase: subject.phase, ...ends }, options)
    await writeFile(path.join(folder, 'rekey.yaml'), stringify(config))
    await writeFile(path.join(folder, 'mapping/mapping.yaml'), stringify(MAPPING))
    const flags = profile ? ['--cpu-prof', `--cpu-prof-dir=${PROFILES}`] : []
    const args = [...flags, ...command(path.join(folder, 'rekey.yaml'))]
    return launch(args, { log: path.join(folder, 'rekey.log'), pipeline: config.pipeline })
  }

  /** The slots of a source database that rekey has made, by whatever name. */
  async function ownSlots(subject: Subject): Promise<string[]> {
    return (await slotsOf(source, subject.database)).filter((name) => !name.startsWith('bench_'))
  }

  return {
    name: 'rekey',
    /** Lets rekey copy the rows that are there, so that the template holds its checkpoint and its ledger; its slot becomes the master. */
    async prepare(subject) {
      if (subject.kind === 'copy') return { template: 'rekey_empty', slot: null }
      const template = `rekey_${subject.phase}`
      await copyDatabase(destination, 'rekey_empty', template)
      const running = await start({ subject, database: template }, false)
      const mark = () => execute(source.url(subject.database), ['insert into marker values (0, 0)'])
      try {
        await within(destination.url(template), (probe) => firstCopy(probe, running, mark))
      } finally {
        await running.stop()
      }
      await execute(destination.url(template), ['vacuum analyze'])
      const slots = await ownSlots(subject)
      if (slots.length !== 1) throw new Error(`rekey left ${slots.length} slots in ${subject.database}, expected one`)
      const master = `bench_rekey_${subject.phase}`
      await copySlot(source.url(subject.database), slots[0], master)
      await dropSlot(source, slots[0])
      return { template, slot: { master, name: slots[0] } }
    },
    start: (trial) => start(trial, options.profile),
    async clean(subject) {
      for (const slot of await ownSlots(subject)) await dropSlot(source, slot)
      if (subject.kind === 'stream') return
      const sql = 'select pubname from pg_publication where pubname <> $1'
      const names = await within(source.url(subject.database), (s) => rowsOf(s, sql, [PUBLICATION]))
      await execute(source.url(subject.database), names.map((row) => `drop publication "${row['pubname']}"`))
    },
  }
}

/** The rows that were there, then a marker behind them: from then on it streams. */
async function firstCopy(probe: Client, running: Running, mark: () => Promise<unknown>): Promise<void> {
  const wait = { ms: 600_000, every: 50 }
  const alive = (check: () => Promise<boolean>) => async () => {
    const failure = running.failure()
    if (failure !== null) throw new Error(failure)
    return check()
  }
  await until('initial copy by rekey', alive(() => running.copied(probe)), wait)
  await mark()
  await until('marker behind the initial copy by rekey', alive(() => hasMarker(probe, 0)), wait)
}

export function launch(args: readonly string[], { log, pipeline }: { log: string; pipeline: string }): Running {
  if (!existsSync(CLI)) throw new Error(`${CLI} is missing: run \`npm run build\`, or measure without rekey: --contenders native`)
  const file = openSync(log, 'a')
  const child = spawn(process.execPath, [...args], { cwd: path.dirname(log), stdio: ['ignore', file, file] })
  closeSync(file)
  const release = atExit(() => child.kill('SIGKILL'))
  let stopping = false
  let failed: string | null = null
  child.on('error', (error) => { failed = error.message })
  child.on('exit', (code, signal) => {
    release()
    if (stopping) return
    const tail = readFileSync(log, 'utf8').split('\n').slice(-15).join('\n')
    failed = `rekey ended with ${signal ?? `exit code ${code}`}; the end of its log:\n${tail}`
  })
  return {
    pids: child.pid === undefined ? [] : [child.pid],
    copied: (probe) => isStreaming(probe, pipeline),
    failure: () => failed,
    async stop() {
      stopping = true
      await ended(child)
    },
  }
}

/** Our checkpoint says `stream` once the last chunk of the initial copy is committed. */
async function isStreaming(probe: Client, pipeline: string): Promise<boolean> {
  try {
    const rows = await rowsOf(probe, 'select phase from rekey.checkpoint where pipeline = $1', [pipeline])
    return rows[0]?.['phase'] === 'stream'
  } catch (error) {
    // No such table or schema yet.
    if (['42P01', '3F000'].includes((error as { code?: string }).code ?? '')) return false
    throw error
  }
}

/** SIGTERM, and SIGKILL for one that does not listen: a profile is then lost, too. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await exit
  clearTimeout(timer)
}
