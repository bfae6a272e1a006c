import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { parseConfig, type Config } from '../../src/config/config.ts'
import { run, type RunOptions } from '../../src/pipeline.ts'
import { withDatabases } from '../../src/pipeline/open.ts'
import type { Note, Progress, RunEvents } from '../../src/progress.ts'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDatabase, type Database } from './database.ts'
import { compare, type Difference } from './oracle.ts'
import type { Server } from './postgres.ts'

/** Two fresh databases, a mapping and a bridge between them that can be started, stopped and compared with the oracle. */
export interface Rig {
  readonly source: Database
  readonly destination: Database
  readonly config: Config
  /** Runs in this process until stop(); `ended` rejects with what run() rejects with. */
  start(options?: Partial<RunOptions>): Running
  /** Resolves when everything committed at the source so far is applied. */
  caughtUp(running: Running): Promise<void>
  /** What differs from what the oracle works out; empty when all is well. */
  differences(): Promise<Difference[]>
  close(): Promise<void>
}

export interface Running {
  readonly ended: Promise<void>
  latest(): Progress | null
  readonly notes: readonly Note[]
  stop(): Promise<void>
}

export interface RigOptions {
  readonly servers: { readonly source: Pick<Server, 'url'>; readonly destination: Pick<Server, 'url'> }
  readonly sourceSql: string
  /** Of the databases; default: names of chance. */
  readonly names?: { readonly source: string; readonly destination: string }
  /** Of the source's database; default: the server's. */
  readonly sourceEncoding?: string
  readonly destinationSql: string
  /** Text of mapping.yaml. */
  readonly mapping: string
  /** Further keys of rekey.yaml. */
  readonly config?: string
  /** Of the destination's sessions, behind pg_catalog. */
  readonly searchPath?: readonly string[]
  /** Default: 0s. */
  readonly retain?: string
  /** Rewrites the URL the bridge uses, for instance through a proxy. */
  readonly through?: { source?(url: string): string; destination?(url: string): string }
  /** Told what runs tell, beside latest(). */
  readonly events?: Pick<RunEvents, 'meter'>
}

export async function createRig(options: RigOptions): Promise<Rig> {
  const source = await createDatabase(options.servers.source, options.names?.source, options.sourceEncoding)
  const destination = await createDatabase(options.servers.destination, options.names?.destination)
  await source.query(options.sourceSql)
  await destination.query(options.destinationSql)
  const folder = await mkdtemp(join(tmpdir(), 'rekey-rig-'))
  await writeFile(join(folder, 'mapping.yaml'), options.mapping)
  const { through = {} } = options
  // Slots belong to a whole server, so each rig has a pipeline name of its own.
  const text = `
pipeline: ${options.names ? `named_${randomBytes(6).toString('hex')}` : source.name}
deployment: test
secret: not-a-secret-at-all
source: { url: "${through.source?.(source.url) ?? source.url}" }
destination: { url: "${through.destination?.(destination.url) ?? destination.url}", searchPath: ${JSON.stringify(options.searchPath ?? [])} }
mapping: ${folder}
retain: ${options.retain ?? '0s'}
heartbeat: 1s
retry: { first: 50ms, most: 1s }
${options.config ?? ''}`
  const config = { ...parseConfig('rekey.yaml', text, {}), mapping: folder }
  return {
    source, destination, config,
    start: (more = {}) => start(config, { takeover: false, ...more }, options.events ?? {}),
    async caughtUp(running) {
      const [row] = await source.query('select pg_current_wal_lsn()::text as lsn')
      await source.query("select pg_logical_emit_message(false, 'rekey', 'heartbeat')")
      for (let tries = 0; ; tries++) {
        const [at] = await destination.query(`select (end_lsn >= '${row.lsn}' and converge_lsn > '0/0' and not exists (select from rekey.parked where state = 'left'))::text as reached, phase from rekey.checkpoint where pipeline = '${config.pipeline}'`).catch(() => [])
        if (at?.reached === 'true' && at.phase === 'stream') return
        await Promise.race([running.ended, new Promise((resolve) => setTimeout(resolve, 20))])
        if (tries > 2_000) throw new Error('not caught up')
      }
    },
    differences: () => withDatabases(config, ({ mapping, minters, catalogs }) => compare({
      sourceUrl: source.url, destinationUrl: destination.url, mapping, minters, source: catalogs.source, destination: catalogs.destination,
      pipeline: config.pipeline,
    })),
    async close() {
      await source.drop()
      await destination.drop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function start(config: Config, options: RunOptions, events: NonNullable<RigOptions['events']>): Running {
  const abort = new AbortController()
  let latest: Progress | null = null
  const notes: Note[] = []
  const ended = run(config, options, {
    progress: (progress) => (latest = progress),
    ...events,
    note(note) {
      notes.push(note)
      if (process.env['REKEY_TEST_LOG']) console.error(note.text)
    },
  }, abort.signal).then(() => {})
  ended.catch(() => {})
  return {
    ended,
    latest: () => latest,
    notes,
    async stop() {
      abort.abort()
      await ended
    },
  }
}

export async function demo(): Promise<{ sourceSql: string; destinationSql: string; mapping: string }> {
  const read = (name: string): Promise<string> => readFile(new URL(`../../mappings/demo/${name}`, import.meta.url), 'utf8')
  return { sourceSql: await read('source.sql'), destinationSql: await read('destination.sql'), mapping: await read('mapping.yaml') }
}

