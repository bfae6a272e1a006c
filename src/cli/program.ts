import { Command, CommanderError, Option } from 'commander'
import { addOperating } from './operate-verbs.ts'
import { failureJson, failureOf, renderFailure } from './failure.ts'
import { addPreparing } from './prepare-verbs.ts'
import { ROLES } from '../pipeline.ts'
import { runVerb, type RunVerbOptions } from './run.ts'
import { examples, type Invocation, verb, type World } from './session.ts'

/** Runs one command line (without the program's own name); resolves with the exit code, never rejects. */
export async function cli(argv: readonly string[], world: World): Promise<number> {
  const invocation: Invocation = { world, secrets: [], exit: 0 }
  const said: string[] = []
  const program = programOf(invocation, said)
  try {
    await program.parseAsync([...argv], { from: 'user' })
    return invocation.exit
  } catch (error) {
    if (error instanceof CommanderError && (error.exitCode === 0 || error.code === 'commander.help')) {
      // A group without a verb: commander sends its help to the error output.
      if (error.code === 'commander.help') world.stdout.write(said.join(''))
      return 0
    }
    const failure = failureOf(error, invocation.secrets)
    world.stderr.write(argv.includes('--json') ? `${JSON.stringify(failureJson(failure))}\n` : renderFailure(failure))
    return failure.exit
  }
}

/** `said` takes what commander would write to the error output: usage errors are told by us, in one form. */
export function programOf(invocation: Invocation, said: string[] = []): Command {
  const { world } = invocation
  const program = new Command('rekey')
    .description('Moves a live deployment into another live deployment, rewriting its keys on the way.')
    .version(world.version)
    .option('--config <file>', 'the configuration', 'rekey.yaml')
    .option('--json', 'answer with JSON')
    .exitOverride()
    .configureOutput({ writeOut: (text) => void world.stdout.write(text), writeErr: (text) => void said.push(text), outputError: () => {} })
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', `${examples('init', 'check', 'plan', 'run', 'status')}
Exit codes: 0 done, 1 defect, 2 usage or configuration, 3 undecided conflicts, 4 findings or not found, 5 preflight failed,
6 a server did not answer, 130 ended by a second signal.\n`)
  addPreparing(program, invocation)
  addRun(program, invocation)
  addOperating(program, invocation)
  return program
}

function addRun(program: Command, invocation: Invocation): void {
  program.command('run')
    .description('copy what is not copied yet, then carry changes over until SIGTERM or SIGINT')
    .option('--takeover', 'end another rekey that runs this pipeline')
    .addOption(new Option('--role <role>', 'what this process does: all; mirror: objects alone; with log: kafka also capture or deliver').choices(ROLES).default('all'))
    .option('--conflicts <file>', 'decisions of `rekey plan`, edited')
    .addHelpText('after', `${examples('run', 'run --takeover', 'run --json > run.ndjson', 'run --role capture', 'run --role deliver')}
The first SIGTERM or SIGINT finishes what is under way and ends with exit code 0; the second ends at once with 130.
The next run goes on where this one stopped. Without a terminal it writes log lines (level: REKEY_LOG_LEVEL).\n`)
    .action(verb<RunVerbOptions>(invocation, runVerb))
}
