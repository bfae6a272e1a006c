import { CommanderError } from 'commander'
import { ERRORS, RekeyError } from '../core/errors.ts'
import { withoutSecrets } from '../log.ts'

/** What a command says when it fails, and its exit code. */
export interface Failure {
  readonly code: string
  readonly message: string
  readonly hint: string
  readonly sqlstate: string | null
  readonly exit: number
}

/** Exit code of a defect: none of the table, so that no script takes it for something to try again. */
export const DEFECT_EXIT = 1

/**
 * Our errors as they are. Of others, what SQLSTATE or the system's code says; their text is left out, since it may hold a value.
 */
export function failureOf(error: unknown, secrets: readonly string[] = []): Failure {
  const known = error instanceof RekeyError ? error : translate(error)
  const { code, message, hint } = known
  return {
    code, hint, message: withoutSecrets(message, secrets), sqlstate: known.sqlstate ?? null,
    exit: code === 'INTERNAL' ? DEFECT_EXIT : known.exit,
  }
}

function translate(error: unknown): RekeyError {
  if (error instanceof CommanderError) return new RekeyError('USAGE', error.message.replace(/^error: /, ''))
  const code = (error as { code?: unknown } | null)?.code
  if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^E[A-Z]{4}$/.test(code)) return ofServer(code)
  if (typeof code === 'string' && /^E[A-Z_]+$/.test(code)) {
    return new RekeyError('REMOTE', `a server did not answer, or a file cannot be used (${code})`)
  }
  const place = error instanceof Error ? ` at ${error.stack?.match(/\n\s+at (.*)/)?.[1] ?? 'an unknown place'}` : ''
  return new RekeyError('INTERNAL', `${error instanceof Error ? error.name : typeof error}${place}`)
}

/** Manual, appendix A "PostgreSQL Error Codes". */
function ofServer(sqlstate: string): RekeyError {
  const message = `the server answered with SQLSTATE ${sqlstate}`
  if (sqlstate === '42501' || sqlstate.startsWith('28')) return new RekeyError('PRIVILEGE', message, { sqlstate })
  if (sqlstate === '3D000') return new RekeyError('CONFIG', 'there is no database of that name', { sqlstate })
  const remote = /^(08|40|53|55|57|58)/.test(sqlstate)
  return new RekeyError(remote ? 'REMOTE' : 'INTERNAL', message, { sqlstate })
}

/** What was wrong, and what to do. */
export function renderFailure(failure: Failure): string {
  const state = failure.sqlstate === null || failure.message.includes(failure.sqlstate) ? '' : ` [SQLSTATE ${failure.sqlstate}]`
  return `rekey: ${failure.code}${state}\n${indent(failure.message)}\nWhat to do: ${failure.hint}\n`
}

export function failureJson({ code, message, hint, sqlstate }: Failure): { error: Omit<Failure, 'exit'> } {
  return { error: { code, message, hint, sqlstate } }
}

function indent(text: string): string {
  return text.split('\n').map((line) => `  ${line}`).join('\n')
}

/** Code, exit code and hint of every error, for the documentation. */
export function errorTable(): { code: string; exit: number; hint: string }[] {
  return Object.entries(ERRORS).map(([code, { exit, hint }]) => ({ code, exit: code === 'INTERNAL' ? DEFECT_EXIT : exit, hint }))
}
