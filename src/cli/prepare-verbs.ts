import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { readMapping } from '../config/mapping-files.ts'
import { ddl } from '../prepare/ddl.ts'
import { readDdlFacts } from '../prepare/ddl-facts.ts'
import { RekeyError } from '../core/errors.ts'
import { init, readSeen, todosOf } from '../prepare/init.ts'
import { checkVerb } from './check.ts'
import { planVerb, type PlanVerbOptions } from './plan.ts'
import { atLeastOne, examples, type Invocation, type Session, verb } from './session.ts'
import { counted } from './text.ts'

/** The verbs before a run: they read both databases and change neither. */
export function addPreparing(program: Command, invocation: Invocation): void {
  addInit(program, invocation)
  addCheck(program, invocation)
  addDdl(program, invocation)
  addPlan(program, invocation)
}

function addCheck(program: Command, invocation: Invocation): void {
  program.command('check')
    .description('preflight: everything that stands in the way of a run, at once')
    .addHelpText('after', `${examples('check', 'check --json')}\nExit code 5: there are errors among the findings.\n`)
    .action(verb(invocation, checkVerb))
}

function addPlan(program: Command, invocation: Invocation): void {
  program.command('plan')
    .description('dry run: what a run would do with every row; writes plan.json and conflicts.csv, and nothing to a database')
    .option('--out <folder>', 'where the files go', '.')
    .option('--samples <n>', 'keys that are told of each kind', atLeastOne, 5)
    .option('--force', 'overwrite decisions that are in conflicts.csv')
    .addHelpText('after', `${examples('plan', 'plan --out plans/monday')}\nExit code 3: there are conflicts to decide about.\n`)
    .action(verb<PlanVerbOptions>(invocation, planVerb))
}

interface InitVerbOptions {
  readonly source?: string
  readonly destination?: string
  readonly application?: string
  readonly force?: boolean
}

/** What `rekey init --json` prints. */
export interface Initialised {
  readonly files: readonly string[]
  /** Places that a person must still decide about. */
  readonly todos: readonly { readonly file: string; readonly line: number; readonly text: string }[]
}

function addInit(program: Command, invocation: Invocation): void {
  program.command('init')
    .description('write a first rekey.yaml and mapping from both schemas')
    .option('--source <url>', 'default: REKEY_SOURCE_URL')
    .option('--destination <url>', 'default: REKEY_DESTINATION_URL')
    .option('--application <name>', 'default: the name of the source database')
    .option('--force', 'overwrite files that are there')
    .addHelpText('after', examples('init', 'init --application shop --config shop/rekey.yaml'))
    .action(verb<InitVerbOptions>(invocation, initVerb))
}

async function initVerb(session: Session, options: InitVerbOptions): Promise<number> {
  const { env } = session.world
  const urls = {
    source: urlOf(options.source ?? env.REKEY_SOURCE_URL, 'source'),
    destination: urlOf(options.destination ?? env.REKEY_DESTINATION_URL, 'destination'),
  }
  const folder = join(dirname(session.configFile), 'mapping')
  const places = { 'rekey.yaml': session.configFile, 'mapping.yaml': join(folder, 'mapping.yaml') }
  const there = Object.values(places).filter((file) => existsSync(file))
  if (there.length > 0 && !options.force) {
    throw new RekeyError('USAGE', `${there.join(' and ')} would be overwritten`, { hint: 'Add --force, or name another --config.' })
  }
  const { texts, empty } = await session.world.look(urls, async ({ source, destination }) => ({
    texts: init({
      catalogs: { source: source.catalog, destination: destination.catalog },
      application: options.application ?? source.catalog.database,
      seen: await readSeen(destination.session.query, destination.catalog),
    }),
    empty: destination.catalog.tables.length === 0,
  }))
  await mkdir(folder, { recursive: true })
  const names = ['rekey.yaml', 'mapping.yaml'] as const
  for (const name of names) await writeFile(places[name], texts[name])
  const todos = names.flatMap((name) => todosOf(texts[name]).map((todo) => ({ file: places[name], ...todo })))
  const answer: Initialised = { files: Object.values(places), todos }
  session.answer(answer, renderInitialised(answer, { unset: VARIABLES.filter((name) => !env[name]), empty }))
  return 0
}

/** What the configuration of `rekey init` reads from the environment. */
const VARIABLES = ['REKEY_SECRET', 'REKEY_SOURCE_URL', 'REKEY_DESTINATION_URL'] as const

interface Next {
  /** Variables that the next command will miss. */
  readonly unset: readonly string[]
  /** The destination has no tables. */
  readonly empty: boolean
}

export function renderInitialised({ files, todos }: Initialised, { unset, empty }: Next): string {
  const lines = todos.map(({ file, line, text }) => `  ${file}:${line} ${text}`)
  const decide = todos.length > 0 ? [`${counted(todos.length, 'place')} to decide about:`, ...lines] : []
  const set = unset.length > 0 ? [`Then set ${unset.join(', ')}, which ${files[0]} reads from the environment.`] : []
  return `${[`Wrote ${files.join(' and ')}.`, ...decide, ...set, ...(empty ? ['Then: rekey ddl, for the tables that the destination lacks'] : []), 'Then: rekey check'].join('\n')}\n`
}

function urlOf(url: string | undefined, side: 'source' | 'destination'): string {
  if (url !== undefined && URL.canParse(url) && /^postgres(ql)?:$/.test(new URL(url).protocol)) return url
  const what = url === undefined ? 'is not given' : 'is not postgres://user:password@host:port/database'
  throw new RekeyError('USAGE', `the URL of the ${side} ${what}`, { hint: `Set REKEY_${side.toUpperCase()}_URL, or say --${side}.` })
}

function addDdl(program: Command, invocation: Invocation): void {
  program.command('ddl')
    .description('print the SQL that makes the destination ready for the mapping; it is never run')
    .option('--out <file>', 'write it to a file')
    .addHelpText('after', examples('ddl > destination.sql', 'ddl --out destination.sql'))
    .action(verb<{ out?: string }>(invocation, async (session, { out }) => {
      const config = await session.config()
      const { source: spec } = await readMapping(config.mapping)
      const sql = await session.world.operate(config, async ({ opened }) => ddl({
        spec,
        source: { catalog: opened.catalogs.source, facts: await readDdlFacts(opened.source.query) },
        destination: { catalog: opened.catalogs.destination, facts: await readDdlFacts(opened.destination.query) },
      }))
      if (out !== undefined) await writeFile(out, sql)
      session.answer(out === undefined ? { sql } : { file: out }, out === undefined ? sql : `Wrote ${out}.`)
      return 0
    }))
}
