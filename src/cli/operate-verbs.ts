import type { Command } from 'commander'
import { RekeyError } from '../core/errors.ts'
import { resolveNew, resolveOld } from '../id-map/id-answers.ts'
import { checkIds, type Decided, listParked, type ListOptions, renderDecided, renderParked, retryParked, waiveParked } from './parked.ts'
import { removePipeline, renderRemoved } from './remove.ts'
import { renderStatus } from './render-status.ts'
import { renderResolved } from './resolve.ts'
import { addObjects } from './objects-verbs.ts'
import { atLeastOne, confirm, examples, type Invocation, type Session, verb } from './session.ts'
import { serveVerb } from './serve.ts'
import { readStatus } from './status.ts'
import { counted } from './text.ts'

/** Exit code of an answer that says: not there. */
const NOT_FOUND = 4

export function addOperating(program: Command, invocation: Invocation): void {
  addStatus(program, invocation)
  addResolve(program, invocation)
  addServe(program, invocation)
  addParked(program, invocation)
  addObjects(program, invocation)
  addRemove(program, invocation)
}

function addStatus(program: Command, invocation: Invocation): void {
  program.command('status')
    .description('show how far a pipeline is, what became of every row, and how its slot does')
    .addHelpText('after', examples('status', 'status --json | jq .lag'))
    .action(verb(invocation, async (session) => {
      const config = await session.config()
      const status = await session.world.operate(config, (operated) => readStatus(operated, config))
      session.answer(status, renderStatus(status))
      return 0
    }))
}

function addResolve(program: Command, invocation: Invocation): void {
  program.command('resolve <entity-or-id> [old-id]')
    .description('turn an old id into the new one, or a new id into the old one')
    .option('--entity <name>', 'with a new id: only as an id of this entity (needed where ids are offsets or kept)')
    .addHelpText('after', `${examples('resolve users 42', 'resolve usr_0g00000000am08g1v5kcp3mzs2', 'resolve 100042 --entity users')}
Exit code 4: there is no answer.\n`)
    .action(verb<{ entity?: string }>(invocation, async (session, { entity }, [first, old]) => {
      if (old !== undefined && entity !== undefined) throw new RekeyError('USAGE', '--entity goes with a new id alone')
      const resolved = await session.world.operate(await session.config(), (operated) =>
        operated.lookedUp((asked) => (old === undefined ? resolveNew(asked, first, entity ?? null) : resolveOld(asked, first, old))))
      session.answer(resolved, renderResolved(resolved))
      return resolved.found ? 0 : NOT_FOUND
    }))
}

function addServe(program: Command, invocation: Invocation): void {
  program.command('serve')
    .description('answer old ids over HTTP, until SIGTERM or SIGINT: a redirect to where it is now, or JSON')
    .addHelpText('after', `${examples('serve', 'serve --json')}
Needs \`resolver\` in rekey.yaml, and a pipeline that has run; the source may be gone by then.\n`)
    .action(verb(invocation, serveVerb))
}

function addParked(program: Command, invocation: Invocation): void {
  const parked = program.command('parked').description('rows that wait for a decision: list them, have them tried again, or waive them')
  addList(parked, invocation)
  addRetry(parked, invocation)
  addWaive(parked, invocation)
}

function addList(parked: Command, invocation: Invocation): void {
  parked.command('list')
    .description('list parked rows, oldest first')
    .option('--table <schema.table>', 'of this source table only')
    .option('--all', 'those that are waived or done, too')
    .option('--values', 'show the stored values of the rows')
    .option('--limit <n>', 'at most so many', atLeastOne, 100)
    .addHelpText('after', examples('parked list', 'parked list --table public.users --values'))
    .action(verb<ListOptions>(invocation, async (session, options) => {
      const list = await session.world.operate(await session.config(), ({ destination }) => listParked(destination, options))
      session.answer(list, renderParked(list))
      return 0
    }))
}

function addRetry(parked: Command, invocation: Invocation): void {
  parked.command('retry [ids...]')
    .description('have parked rows tried again by the running bridge, or by the next run')
    .option('--all', 'all that wait')
    .option('--table <schema.table>', 'with --all: of this source table only')
    .addHelpText('after', `${examples('parked retry 17 18', 'parked retry --all --table public.projects')}
Exit code 4: some ids were not changed.\n`)
    .action(verb<{ all?: boolean; table?: string }>(invocation, async (session, options, ids) => {
      checkIds(ids)
      const decided = await session.world.operate(await session.config(), ({ destination }) => retryParked(destination, ids, options))
      return answerDecided(session, decided, 'retry')
    }))
}

function addWaive(parked: Command, invocation: Invocation): void {
  parked.command('waive <ids...>')
    .description('decide that parked rows are not carried')
    .requiredOption('--reason <text>', 'why; kept with the row')
    .option('--yes', 'do not ask')
    .addHelpText('after', `${examples("parked waive 17 --reason 'test account, not needed'")}
Exit code 4: some ids were not changed.\n`)
    .action(verb<{ reason: string; yes?: boolean }>(invocation, async (session, { reason, yes }, ids) => {
      checkIds(ids)
      const config = await session.config()
      if (!yes) await confirm(session, `${counted(ids.length, 'row')} will not be carried. Type yes to go on: `, 'yes')
      const decided = await session.world.operate(config, ({ destination }) => waiveParked(destination, ids, reason))
      return answerDecided(session, decided, 'waived')
    }))
}

function answerDecided(session: Session, decided: Decided, to: 'retry' | 'waived'): number {
  session.answer(decided, renderDecided(decided, to))
  return decided.left.length === 0 ? 0 : NOT_FOUND
}

function addRemove(program: Command, invocation: Invocation): void {
  program.command('remove')
    .description("drop the slot and the publication at the source, the topics in Kafka that the pipeline has made, and rekey's own records at the destination; carried rows stay")
    .option('--yes', 'do not ask')
    .option('--force', 'end a rekey that is running')
    .option('--keep-topics', 'leave topics and groups in Kafka; it is not asked')
    .addHelpText('after', examples('remove', 'remove --yes --json'))
    .action(verb<{ yes?: boolean; force?: boolean; keepTopics?: boolean }>(invocation, async (session, options) => {
      const config = await session.config()
      if (!options.yes) {
        const topics = config.kafka && !options.keepTopics
          ? '\nTopics that the pipeline has made go with all that they hold, those of tables too (--keep-topics leaves them).' : ''
        const warning = 'The ledger goes too: what was carried can then not be told from other rows.'
        await confirm(session, `${warning}${topics}\nType the pipeline's name (${config.pipeline}) to remove it: `, config.pipeline)
      }
      return session.world.operate(config, async (operated) => {
        const removed = await removePipeline(operated, config.pipeline, { force: options.force ?? false, keepTopics: options.keepTopics ?? false })
        session.answer(removed, renderRemoved(removed, { slot: operated.source.slotName, publication: operated.source.publicationName }))
        return 0
      })
    }))
}
