import { Client, type Connection } from 'pg'
import { CHANGED, RekeyError, verdictOf } from '../../src/core/errors.ts'
import { connectionSettings } from '../../src/core/session.ts'
import { tlsError } from '../../src/core/tls.ts'

/** What one multi-statement message came to: a command tag per statement, and the text rows of those that return any. */
export interface Answer {
  readonly tags: readonly string[]
  readonly rows: readonly (readonly (string | null)[])[]
}

/**
 * A connection on which whole messages are sent without waiting for the one before. A message is one simple query (manual, 54.2.2:
 * several statements, ended by one ReadyForQuery) and the data of each COPY … FROM STDIN in it, in order; the server reads the data when
 * it gets there and discards it when the message has failed, so nothing needs to be awaited in between. `pg` does connect, authentication,
 * TLS and the parsing of messages; from then on its events are ours.
 */
export interface Wire {
  send(sql: string, copies?: readonly (readonly Buffer[])[]): Promise<Answer>
  /** Backend process id, to be named in messages. */
  readonly pid: number
  close(): Promise<void>
  /** Resolves with the reason when the connection is gone. */
  readonly closed: Promise<Error>
}

interface Pending {
  readonly tags: string[]
  readonly rows: (string | null)[][]
  error: RekeyError | null
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
}

interface ErrorFields {
  readonly code?: string
  readonly schema?: string
  readonly message: string
  readonly constraint?: string
  readonly table?: string
  readonly column?: string
}

/** Server errors by SQLSTATE; the server's primary message holds names, never row values (those are in DETAIL, which is dropped). */
function serverError(said: ErrorFields): RekeyError {
  const fields = isOurRace(said) ? { ...said, code: '40001' } : said
  const place = [fields.table, fields.column, fields.constraint].filter(Boolean).join('.')
  const known = KNOWN[fields.code ?? '']
  const data = /^2[23]/.test(fields.code ?? '')
  // What a trigger of the application raises may hold a value; our own messages and those about names do not.
  const text = /^(RK|42)/.test(fields.code ?? '') ? `${fields.code}: ${fields.message}` : `${fields.code}${LACKING[fields.code ?? ''] ?? ''} at ${place || 'a statement'}`
  // What no repetition changes is not retried: a statement that the server does not take, a trigger that says no.
  const other = verdictOf(fields.code) === 'stop' && fields.code !== '25P02' ? 'INTERNAL' : 'REMOTE'
  return new RekeyError(known ?? (data ? 'CONFLICT' : other), text, {
    sqlstate: fields.code ?? 'XX000',
    constraint: fields.constraint === undefined ? undefined : [fields.schema, fields.table, fields.constraint].filter(Boolean).join('.'),
  })
}

/** What a server cannot do for the time being, in words. */
const LACKING: Readonly<Record<string, string>> = {
  53100: ' (the disk of the destination is full)', 53200: ' (the destination is out of memory)',
  25006: ' (the destination takes no writes: it is a standby, or read-only by default)',
}

/**
 * Two transactions gave two objects one key at the same time. No row is at fault: done again, the later one sees the other's job, and its
 * own is parked.
 */
const isOurRace = ({ code, schema, constraint }: ErrorFields): boolean =>
  code === '23505' && schema === 'rekey' && constraint === 'object_target'

const KNOWN: Record<string, 'FENCED' | 'ROW_COUNT' | 'STALE' | 'PRIVILEGE' | 'SCHEMA_CHANGED'> = {
  RK001: 'FENCED', RK002: 'ROW_COUNT', RK004: 'STALE', '42501': 'PRIVILEGE',
  // Undefined column, undefined table, another type, no such unique key: the destination is not what it was when the run began.
  42703: 'SCHEMA_CHANGED', [CHANGED]: 'SCHEMA_CHANGED', '42P01': 'SCHEMA_CHANGED', 42804: 'SCHEMA_CHANGED', '42P10': 'SCHEMA_CHANGED',
}

export function connectError(cause: unknown): RekeyError {
  const sqlstate = (cause as { code?: string }).code
  const distrusted = tlsError(sqlstate, 'destination')
  if (distrusted) return distrusted
  const code = sqlstate === '3D000' ? 'CONFIG' : sqlstate?.startsWith('28') ? 'PRIVILEGE' : 'REMOTE'
  return new RekeyError(code, `cannot connect to the destination (${sqlstate ?? 'no answer'})`, { cause })
}

/** `settings` are added to the session's. */
export async function openWire(url: string, settings: Readonly<Record<string, string>>): Promise<Wire> {
  const client = new Client(connectionSettings(url, settings))
  client.on('error', () => {})
  try {
    await client.connect()
  } catch (cause) {
    throw connectError(cause)
  }
  const connection = (client as unknown as { connection: Connection & { stream: import('node:net').Socket } }).connection
  const pid = (client as unknown as { processID: number }).processID
  const queue: Pending[] = []
  let gone: Error | null = null
  let resolveClosed: (error: Error) => void = () => {}
  const closed = new Promise<Error>((resolve) => (resolveClosed = resolve))
  listen(connection, queue)
  const end = (cause?: Error): void => {
    if (gone) return
    gone = new RekeyError('REMOTE', 'the connection to the destination was lost', cause ? { cause } : {})
    for (const pending of queue.splice(0)) pending.reject(gone)
    resolveClosed(gone)
  }
  connection.stream.on('error', end)
  connection.stream.on('close', () => end())
  return {
    pid,
    closed,
    send(sql, copies = []) {
      if (gone) return Promise.reject(gone)
      return new Promise((resolve, reject) => {
        queue.push({ tags: [], rows: [], error: null, resolve, reject })
        write(connection.stream, sql, copies)
      })
    },
    async close() {
      await client.end().catch(() => {})
      end()
    },
  }
}

function listen(connection: Connection, queue: readonly Pending[] & Pending[]): void {
  const events = ['readyForQuery', 'commandComplete', 'rowDescription', 'dataRow', 'errorMessage', 'copyInResponse', 'emptyQuery', 'notice']
  for (const event of events) connection.removeAllListeners(event)
  connection.on('commandComplete', (message: { text: string }) => queue[0]?.tags.push(message.text))
  connection.on('dataRow', (message: { fields: (string | Buffer | null)[] }) =>
    queue[0]?.rows.push(message.fields.map((field) => (field === null ? null : field.toString()))))
  connection.on('errorMessage', (fields: ErrorFields) => {
    if (queue[0]) queue[0].error ??= serverError(fields)
  })
  connection.on('copyInResponse', () => {})
  connection.on('readyForQuery', () => {
    const pending = queue.shift()
    if (!pending) return
    if (pending.error) pending.reject(pending.error)
    else pending.resolve({ tags: pending.tags, rows: pending.rows })
  })
}

const COPY_DONE = Buffer.from([0x63, 0, 0, 0, 4])

function frame(type: number, length: number): Buffer {
  const header = Buffer.allocUnsafe(5)
  header[0] = type
  header.writeInt32BE(length + 4, 1)
  return header
}

/** Everything in one writev: the query, then CopyData and CopyDone for each COPY in it (manual, 54.7). */
function write(stream: import('node:net').Socket, sql: string, copies: readonly (readonly Buffer[])[]): void {
  stream.cork()
  const text = Buffer.from(`${sql}\0`, 'utf8')
  stream.write(frame(0x51, text.length))
  stream.write(text)
  for (const parts of copies) {
    for (const part of parts) {
      if (part.length === 0) continue
      stream.write(frame(0x64, part.length))
      stream.write(part)
    }
    stream.write(COPY_DONE)
  }
  stream.uncork()
}
