/** Who must act on an error, and so the exit code of a command that ends with it. */
export type Actor = 'user' | 'operator' | 'decision' | 'retry'

interface ErrorRule {
  readonly exit: 1 | 2 | 3 | 4 | 5 | 6 | 7
  readonly act: Actor
  readonly hint: string
}

/** Carried rows stay where they are, and a new run does not touch a row that was there before it. */
export const ANEW = '`rekey remove`, take the carried rows out of the destination (a new run takes them for rows of others), then `rekey run` copies anew.'

/**
 * The one table of errors: code, exit code, who must act, what to do. No message text is ever matched; Postgres errors are told apart
 * by SQLSTATE (manual, appendix A). Exit codes: 1 a defect of ours, 2 usage or configuration, 3 undecided conflicts, 4 verification
 * findings,
 * 5 preflight failed, 6 retryable remote, 7 rolled back.
 */
export const ERRORS = {
  CONFIG: { exit: 2, act: 'user', hint: 'Correct the named key and run the command again; nothing was touched.' },
  MAPPING: { exit: 2, act: 'user', hint: 'Correct the mapping at the named place; `rekey check` lists all problems at once.' },
  USAGE: { exit: 2, act: 'user', hint: 'See `rekey --help`.' },
  SAME_DATABASE: { exit: 2, act: 'user', hint: 'Source and destination are one database; name two.' },
  UNDECIDED: { exit: 3, act: 'decision', hint: 'Fill in the action column of conflicts.csv, then `rekey run --conflicts conflicts.csv`.' },
  PREFLIGHT: { exit: 5, act: 'operator', hint: 'Do what each finding says, then run `rekey check` again.' },
  WAL_LEVEL: { exit: 5, act: 'operator', hint: 'Set wal_level = logical at the source and restart it.' },
  PRIVILEGE: { exit: 5, act: 'operator', hint: 'Grant what is named to the role that rekey connects with.' },
  TLS: { exit: 5, act: 'operator', hint: 'The server did not prove who it is; see the code.' },
  SLOT_IN_USE: { exit: 5, act: 'operator', hint: 'Another reader holds the slot; stop it, or start with --takeover.' },
  SLOT_LOST: { exit: 5, act: 'operator',
    hint: `The source removed WAL that was still needed: ${ANEW}` },
  SLOT_MISSING: { exit: 5, act: 'operator',
    hint: `The slot is gone, changes since the checkpoint cannot be read: ${ANEW}` },
  SLOT_AHEAD: { exit: 5, act: 'operator',
    hint: `The slot was moved, or the destination has lost its last commits (a failover, a restored backup) and \`retain\` was too short: ${ANEW}` },
  SLOT_RECREATED: { exit: 5, act: 'operator',
    hint: `The slot is not the one this run began with, or the destination has lost its last commits (a failover, a restored backup): ${ANEW}` },
  TIMELINE: { exit: 5, act: 'operator',
    hint: `The source is another server or was restored; positions are not comparable: ${ANEW}` },
  SLOT_CREATE: { exit: 5, act: 'operator', hint: 'Long or prepared transactions hold the slot back; end the named ones.' },
  PUBLICATION: { exit: 5, act: 'operator', 
    hint: `Changes of what the publication lacked are not in the stream; \`rekey check\` says what it lacks. Then: ${ANEW}` },
  NO_KEY: { exit: 5, act: 'operator', hint: 'Give the table a primary key or REPLICA IDENTITY FULL, or declare a key in the mapping.' },
  SCHEMA_CHANGED: { exit: 5, act: 'operator',
    hint: 'Make the destination and the mapping (`former`, `added`, `drop`) fit the named change, then start again; nothing was skipped.' },
  FENCED: { exit: 5, act: 'operator', hint: 'Another rekey has taken over this pipeline; this one has stopped.' },
  RUNNING: { exit: 5, act: 'operator', hint: 'Another rekey runs this pipeline; stop it, or start with --takeover.' },
  TRUNCATE: { exit: 5, act: 'operator',
    hint: 'The source truncated a table whose policy is to refuse; set `truncate: owned` or `ignore` in the mapping.' },
  CONFLICT: { exit: 3, act: 'decision', hint: 'Decide it in conflicts.csv or with `rekey parked`.' },
  ROW_COUNT: { exit: 5, act: 'operator',
    hint: 'A trigger or row security at the destination swallowed a row; see `triggers` in the mapping.' },
  OBJECT_MISSING: { exit: 4, act: 'decision', hint: 'The row names an object that the source does not have; restore it or waive the job.' },
  OBJECT_CHANGED: { exit: 6, act: 'retry', hint: 'The object was overwritten meanwhile; it is read again.' },
  OBJECT_EXISTS: { exit: 3, act: 'decision',
    hint: 'The destination has another object under this key; decide whether to keep or overwrite it.' },
  OBJECT_REFUSED: { exit: 5, act: 'operator', hint: 'The store refuses this object or these credentials; see the code that it gave.' },
  OBJECT_CORRUPT: { exit: 6, act: 'retry', hint: 'Bytes were lost or changed on the way; the copy is made again.' },
  STORE_BUSY: { exit: 6, act: 'retry', hint: 'The object store asks for fewer requests; it is tried again, more slowly.' },
  LOG_GAP: { exit: 5, act: 'operator',
    hint: `The change log does not hold what is named. Where the slot still has it, starting capture again brings it; else: ${ANEW}` },
  LOG_TOPIC: { exit: 5, act: 'operator', hint: 'Bring the topic to what is named; nothing was read of it and nothing written to it.' },
  LOG_RECORD: { exit: 5, act: 'operator',
    hint: 'Somebody else writes to the topic, or a record was damaged; `kafka: { foreign: dead-letter }` puts such records aside and goes on.' },
  LOG_VALUE: { exit: 5, act: 'operator',
    hint: 'The topics of tables cannot hold it: change the value or the column, or run capture without `topics: per-table`.' },
  ENCODING: { exit: 5, act: 'operator', hint: 'Correct the value at the source: it is no text in UTF-8, and nothing else can be kept or carried.' },
  REMOTE: { exit: 6, act: 'retry', hint: 'The server did not answer. A run tries it again; any other command is to be given again.' },
  STALE: { exit: 6, act: 'retry', hint: 'A copy of the ledger said otherwise than the ledger; it was corrected, and the batch is done again.' },
  INTERNAL: { exit: 1, act: 'retry', hint: 'This is a defect in rekey; please report it with the code and the place.' },
} as const satisfies Record<string, ErrorRule>

export type ErrorCode = keyof typeof ERRORS

/** An error that says what was wrong (message), where, and what to do (hint). Never holds a row value or a secret. */
export class RekeyError extends Error {
  readonly code: ErrorCode
  readonly hint: string
  readonly exit: number
  readonly sqlstate: string | undefined
  /** Of the constraint that a statement violated: `table.constraint`, with the table's schema. */
  readonly constraint: string | undefined

  constructor(
    code: ErrorCode, message: string, options: { cause?: unknown; hint?: string; sqlstate?: string; constraint?: string | undefined } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'RekeyError'
    this.code = code
    this.hint = options.hint ?? ERRORS[code].hint
    this.exit = ERRORS[code].exit
    this.sqlstate = options.sqlstate
    this.constraint = options.constraint
  }
}

/** SQLSTATE of ours with which the destination says that a table is not what it was when its catalog was read. */
export const CHANGED = 'RK005'

/** What to do about a failed destination transaction, from SQLSTATE alone. */
export type Verdict = 'data' | 'retry' | 'pause' | 'stop'

/**
 * - data (22, 23): a row's own fault, may be parked.
 * - retry (40, 55P03 lock timeout, 57014 statement timeout): the whole transaction again.
 * - pause (08, 53, 57, 58, and 25006 of a server that takes no writes yet or for now): the server's trouble; wait and reconnect.
 * - stop: anything else (privileges, missing columns, defects): a person must act.
 * Manual, appendix A "PostgreSQL Error Codes".
 */
export function verdictOf(sqlstate: string | undefined): Verdict {
  if (sqlstate === undefined) return 'pause'
  if (sqlstate === '55P03' || sqlstate === '57014') return 'retry'
  if (sqlstate === '25006') return 'pause'
  switch (sqlstate.slice(0, 2)) {
    case '22':
    case '23':
      return 'data'
    case '40':
      return 'retry'
    case '08':
    case '53':
    case '57':
    case '58':
      return 'pause'
    default:
      return 'stop'
  }
}
