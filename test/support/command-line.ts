import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { cli } from '../../src/cli/program.ts'
import type { World } from '../../src/cli/session.ts'
import { look, operate } from '../../src/pipeline/operate.ts'
import { serve } from '../../src/pipeline/serve.ts'
import { run } from '../../src/pipeline.ts'
import { createDatabase, type Database } from './database.ts'
import type { Server } from './postgres.ts'

export const SECRET = 'a secret of more than enough bytes'

export interface Ran {
  readonly exit: number
  readonly out: string
  readonly err: string
}

export interface Play {
  /** What a person answers; null when nobody is there. */
  readonly answer?: string | null
  /** Called with each text written; may call the signal. */
  readonly on?: (text: string, signal: () => void) => unknown
  readonly run?: World['run']
  readonly exit?: World['exit']
}

/** The command line over two databases of the demo application, in this process: a pipeline called `clitest`, with a few rows to carry. */
export interface CommandLine {
  readonly source: Database
  readonly destination: Database
  /** Where rekey.yaml is. */
  readonly folder: string
  rekey(args: readonly string[], play?: Play): Promise<Ran>
  /** The same with --json, and its answer. */
  json(args: readonly string[], play?: Play): Promise<any>
  close(): Promise<void>
}

/** `more`: further keys of rekey.yaml. */
export async function commandLine(from: Server, to: Server, more = ''): Promise<CommandLine> {
  const [source, destination] = [await createDatabase(from), await createDatabase(to)]
  await fill(source, destination)
  const folder = await mkdtemp(join(tmpdir(), 'rekey-cli-'))
  await writeFile(join(folder, 'rekey.yaml'), `
pipeline: clitest
deployment: lab
secret: \${REKEY_SECRET}
source: { url: "${source.url}" }
destination: { url: "${destination.url}" }
mapping: ${resolve('mappings/demo')}
heartbeat: 1s
retry: { first: 50ms, most: 1s }
objects: { source: { main: { folder: old-files } }, destination: { main: { folder: new-files } }, threads: 0 }
${more}`)
  const rekey: CommandLine['rekey'] = (args, play = {}) => say(['--config', join(folder, 'rekey.yaml'), ...args], play)
  return {
    source, destination, folder, rekey,
    json: async (args, play) => JSON.parse((await rekey([...args, '--json'], play)).out),
    async close() {
      await rekey(['remove', '--yes', '--force'])
      await Promise.all([source.drop(), destination.drop()])
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function fill(source: Database, destination: Database): Promise<void> {
  await source.query(await readFile('mappings/demo/source.sql', 'utf8'))
  await destination.query(await readFile('mappings/demo/destination.sql', 'utf8'))
  await source.query(`
    insert into groups values (1, 'everyone', 'everyone'), (2, 'crew', 'team');
    insert into users (id, email, name, first_name, last_name)
      values (1, 'Ann@lab.test', 'ann', 'Ann', 'A'), (2, 'bob@lab.test', 'bob', 'Bob', 'B');
    insert into memberships values (1, 1), (2, 1), (2, 2)`)
  await destination.query(`
    insert into groups values ('grp_everyone', 'everyone', 'everyone');
    insert into users (id, email, name, full_name) values ('usr_ann_over_there', 'ann@lab.test', 'ann', 'Ann A')`)
}

async function say(args: readonly string[], { answer = null, on, run: how = run, exit: end = () => {} }: Play): Promise<Ran> {
  const out: string[] = []
  const err: string[] = []
  let signal = (): void => {}
  const into = (texts: string[]) => ({
    write(text: string) {
      texts.push(text)
      on?.(text, signal)
    },
  })
  const world: World = {
    stdout: into(out), stderr: into(err), env: { REKEY_SECRET: SECRET }, version: '1.2.3', ask: async () => answer, exit: end,
    onSignal(heard) {
      signal = heard
      return () => {}
    },
    run: how, operate, look, serve,
  }
  const exit = await cli(args, world)
  return { exit, out: out.join(''), err: err.join('') }
}
