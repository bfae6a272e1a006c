import pino, { type Logger } from 'pino'
import { RekeyError } from './core/errors.ts'

export type { Logger } from 'pino'

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']

/** Members whose whole value is never written, wherever they stand near the top. */
const HIDDEN = ['secret', 'password', 'authorization', 'cookie'].flatMap((name) => [name, `*.${name}`, `*.*.${name}`])

export interface LogOptions {
  /** REKEY_LOG_LEVEL: one of pino's levels or silent; default info. */
  readonly level: string | undefined
  /** Texts that must not appear, whatever carries them. */
  readonly secrets?: readonly string[]
  /** Members of every line. */
  readonly base?: Readonly<Record<string, string>>
  write(line: string): void
}

/** One JSON line an event. Throws RekeyError CONFIG for a level that is not one. */
export function openLog(options: LogOptions): Logger {
  const { level = 'info', secrets = [] } = options
  if (!LEVELS.includes(level)) throw new RekeyError('CONFIG', `REKEY_LOG_LEVEL is none of ${LEVELS.join(', ')}`)
  return pino(
    {
      level,
      base: options.base ?? null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: HIDDEN, censor: '***' },
      serializers: { err: describe },
    },
    { write: (line: string) => options.write(withoutSecrets(line, secrets)) },
  )
}

/** Code and place of an error; the message of one that is not ours may hold a value, so it is left out. */
function describe(error: unknown): object {
  if (error instanceof RekeyError) return { code: error.code, message: error.message, hint: error.hint, sqlstate: error.sqlstate }
  const { name, code, stack } = error as { name?: string; code?: unknown; stack?: string }
  return { name, code, at: stack?.split('\n').filter((line) => /^\s+at /.test(line)).slice(0, 8).map((line) => line.trim()) }
}

/** A text in which no connection URL has its password or a secret parameter, and none of the named secrets stands. */
export function withoutSecrets(text: string, secrets: readonly string[] = []): string {
  let clean = text
    .replace(/([a-z][a-z0-9+.-]*:\/\/[^\s:@/"'?#]*):[^\s"']*@/gi, '$1:***@')
    .replace(/([?&](?:password|sslpassword|sslkey|passfile)=)[^&\s"']*/gi, '$1***')
  for (const secret of secrets) {
    if (secret.length < 4) continue
    clean = clean.replaceAll(secret, '***').replaceAll(JSON.stringify(secret).slice(1, -1), '***')
  }
  return clean
}
