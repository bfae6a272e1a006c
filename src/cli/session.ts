import { type Command, InvalidArgumentError } from 'commander'
import type { Config } from '../config/config.ts'
import { readConfig } from '../config/config.ts'
import { RekeyError } from '../core/errors.ts'
import type { look, operate } from '../pipeline/operate.ts'
import type { serve } from '../pipeline/serve.ts'
import type { run } from '../pipeline.ts'

interface Stream {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
}

/** Everything outside a command: where it writes, who answers, which signals come, and what does the work. */
export interface World {
  readonly stdout: Stream
  readonly stderr: Stream
  readonly env: Readonly<Record<string, string | undefined>>
  readonly version: string
  /** Puts a question to a person; null when nobody is there to answer. */
  ask(question: string): Promise<string | null>
  /** Calls `heard` at each SIGINT and SIGTERM until the returned function is called. */
  onSignal(heard: () => void): () => void
  exit(code: number): void
  readonly run: typeof run
  readonly operate: typeof operate
  readonly look: typeof look
  readonly serve: typeof serve
}

/** One command under way. */
export interface Session {
  readonly world: World
  readonly json: boolean
  readonly configFile: string
  /** The configuration, read once. */
  config(): Promise<Config>
  /** The answer of a command: one JSON object, or text for people. */
  answer(result: object, text: string): void
}

/** Texts that no output may hold, once the configuration is known. */
export type Secrets = string[]

export interface Invocation {
  readonly world: World
  readonly secrets: Secrets
  exit: number
}

/** Wraps the work of a verb as commander's action: its arguments, then its options and the global ones; it resolves with the exit code. */
export function verb<O>(invocation: Invocation, work: (session: Session, options: O, args: string[]) => Promise<number>) {
  return async (...given: unknown[]): Promise<void> => {
    const command = given.at(-1) as Command
    const options = command.optsWithGlobals<O & { json?: boolean; config: string }>()
    invocation.exit = await work(sessionOf(invocation, options), options, command.args)
  }
}

function sessionOf({ world, secrets }: Invocation, options: { json?: boolean; config: string }): Session {
  let config: Promise<Config> | undefined
  const json = options.json ?? false
  return {
    world, json, configFile: options.config,
    config: () => (config ??= readConfig(options.config, world.env).then((read) => {
      secrets.push(...secretsOf(read))
      return read
    })),
    answer: (result, text) => void world.stdout.write(json ? `${JSON.stringify(result)}\n` : text.endsWith('\n') ? text : `${text}\n`),
  }
}

/** The id secret, the token, Kafka's password, and the passwords of all URLs, as written and decoded. */
export function secretsOf(config: Pick<Config, 'secret' | 'source' | 'destination' | 'metrics' | 'redis' | 'resolver' | 'objects' | 'kafka'>): string[] {
  const urls = [config.source.url, config.destination.url, ...(config.redis ? [config.redis.url] : [])]
  const passwords = urls.flatMap((url) => {
    const { password } = new URL(url)
    return [password, safeDecode(password)]
  })
  const stores = [config.objects?.source, config.objects?.destination].flatMap((side) => Object.values(side ?? {})).flatMap((store) => {
    const { secretAccessKey = '', sessionToken = '' } = ('s3' in store && store.s3.credentials) || {}
    return [secretAccessKey, sessionToken]
  })
  const others = [config.metrics?.token, config.resolver?.token, config.kafka?.sasl?.password].map((text) => text ?? '')
  return [...new Set([config.secret, ...others, ...passwords, ...stores])].filter((text) => text !== '')
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Help text below the options. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ rekey ${line}`).join('\n')}\n`
}

/** The value of an option that is a whole number. */
export function atLeastOne(text: string): number {
  if (!/^[1-9][0-9]{0,6}$/.test(text)) throw new InvalidArgumentError('Not a whole number from 1 to 9999999.')
  return Number(text)
}

/** Rejects with USAGE when the answer is another, or nobody can be asked. */
export async function confirm({ world, json }: Session, question: string, wanted: string): Promise<void> {
  const said = json ? null : await world.ask(question)
  if (said === null) throw new RekeyError('USAGE', 'this has to be confirmed and there is nobody to ask', { hint: 'Add --yes.' })
  if (said.trim() !== wanted) throw new RekeyError('USAGE', 'not confirmed; nothing was changed', { hint: `Type ${wanted}, or add --yes.` })
}
