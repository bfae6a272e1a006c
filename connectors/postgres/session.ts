import { connect } from 'node:net'
import pg from 'pg'
import { RekeyError, verdictOf } from '../../src/core/errors.ts'
import { connectionSettings } from '../../src/core/session.ts'
import { tlsError } from '../../src/core/tls.ts'

/**
 * One plain SQL session on either side, for questions: catalogs, settings, status. They are asked one after the other. Values come as the
 * server's text. A connection that was lost is made anew by the next question.
 */
export interface SqlSession {
  /** Rows as positional text. */
  query(sql: string, params?: readonly unknown[]): Promise<(string | null)[][]>
  /** The same for a question that is asked again and again: the server parses and plans it once. */
  prepared(sql: string, params: readonly unknown[]): Promise<(string | null)[][]>
  /** Rows as objects of text, as src/catalog.ts wants them. */
  objects(sql: string, params?: readonly unknown[]): Promise<Record<string, string | null>[]>
  close(): Promise<void>
}

interface Question {
  readonly name?: string
  readonly text: string
  readonly values?: unknown[]
  readonly rowMode?: 'array'
}

const asText = { getTypeParser: () => (value: string | Buffer) => value.toString() }

/**
 * `side` names the database in errors; `settings` are added to the session's. Rejects with RekeyError: PRIVILEGE or CONFIG when the server refuses, REMOTE when it does not
 * answer.
 */
export async function openSession(
  url: string, side: 'source' | 'destination', settings: Readonly<Record<string, string>> = {},
): Promise<SqlSession> {
  let live: pg.Client | null = null
  let last: Promise<unknown> = Promise.resolve()
  let closed = false
  const connected = async (): Promise<pg.Client> => {
    if (live) return live
    const client = new pg.Client({ ...connectionSettings(url, settings), types: asText })
    const gone = (): void => {
      if (live === client) live = null
    }
    client.on('error', gone)
    client.on('end', gone)
    await client.connect().catch(async (cause: unknown) => {
      client.end().catch(() => {})
      throw tlsError((await refusesTls(client, cause)) ? 'NO_TLS' : (cause as { code?: string }).code, side) ?? connectError(cause, side, client)
    })
    live = client
    return client
  }
  await connected()
  const askNow = async <R>(query: Question): Promise<R[]> => {
    if (closed) throw new RekeyError('REMOTE', `the session at the ${side} was closed`)
    const client = await connected()
    const result: unknown = await client.query(query as never as string).catch((cause: unknown) => {
      if (!(cause instanceof pg.DatabaseError)) live = null
      throw sessionError(cause, `a question to the ${side} failed`)
    })
    return ((Array.isArray(result) ? result.at(-1) : result) as { rows: R[] }).rows
  }
  const ask = <R>(query: Question): Promise<R[]> => {
    const answer = last.then(() => askNow<R>(query))
    last = answer.catch(() => {})
    return answer
  }
  const values = (params: readonly unknown[]): { values?: unknown[] } => (params.length > 0 ? { values: [...params] } : {})
  const names = new Map<string, string>()
  const nameOf = (sql: string): string => {
    const name = names.get(sql) ?? `q${names.size}`
    names.set(sql, name)
    return name
  }
  return {
    prepared: (sql, params) => ask<(string | null)[]>({ name: nameOf(sql), text: sql, ...values(params), rowMode: 'array' }),
    query: (sql, params = []) => ask<(string | null)[]>({ text: sql, ...values(params), rowMode: 'array' }),
    objects: (sql, params = []) => ask<Record<string, string | null>>({ text: sql, ...values(params) }),
    close: async () => {
      closed = true
      await live?.end().catch(() => {})
    },
  }
}

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
const ANSWER_MS = 5_000

/**
 * The driver tells a server without TLS by words alone, so that server is asked once more: it answers SSLRequest with one byte, N for no
 * (manual, 54.7).
 */
async function refusesTls({ ssl, host, port }: pg.Client, cause: unknown): Promise<boolean> {
  if (!ssl || host.startsWith('/') || (cause as { code?: string }).code !== undefined) return false
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: ANSWER_MS }, () => socket.write(SSL_REQUEST))
    const answer = (no: boolean): void => {
      socket.destroy()
      resolve(no)
    }
    socket.on('data', (said) => answer(said.length === 1 && said.toString('latin1') === 'N')).on('error', () => answer(false))
    socket.on('timeout', () => answer(false)).on('close', () => resolve(false))
  })
}

/** Which server it was, and what of its URL was wrong. */
function connectError(cause: unknown, side: string, { host, port }: pg.Client): RekeyError {
  const sqlstate = cause instanceof pg.DatabaseError ? cause.code : undefined
  const doing = `cannot connect to the ${side} at ${host}:${port}`
  if (sqlstate === '3D000') {
    return new RekeyError('CONFIG', `${doing}: it has no database of that name`, { sqlstate, hint: `Correct the end of the URL of the ${side}.` })
  }
  if (sqlstate?.startsWith('28')) {
    return new RekeyError('PRIVILEGE', `${doing}: it refuses the user or the password (SQLSTATE ${sqlstate})`, {
      sqlstate, hint: `Correct user and password in the URL of the ${side}, or let the server's pg_hba.conf take them from this machine.`,
    })
  }
  return sessionError(cause, doing)
}

function sessionError(cause: unknown, doing: string): RekeyError {
  const sqlstate = cause instanceof pg.DatabaseError ? cause.code : undefined
  if (sqlstate === undefined) return new RekeyError('REMOTE', `${doing} (${(cause as { code?: string }).code ?? 'no answer'})`)
  // Its text names what is to be granted, and nothing else.
  if (sqlstate === '42501') return new RekeyError('PRIVILEGE', `${doing}: ${(cause as Error).message}`, { sqlstate })
  const refused = sqlstate.startsWith('28')
  const other = verdictOf(sqlstate) === 'stop' ? 'INTERNAL' : 'REMOTE'
  const code = refused ? 'PRIVILEGE' : sqlstate === '3D000' ? 'CONFIG' : other
  return new RekeyError(code, `${doing}: SQLSTATE ${sqlstate}`, { sqlstate })
}
