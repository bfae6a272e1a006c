import pg from 'pg'
import { RekeyError, verdictOf } from '../../src/core/errors.ts'
import { APPLICATION_NAME, sessionOptions } from '../../src/core/session.ts'

/** One plain SQL session on either side, for questions: catalogs, settings, status. Values come as the server's text. */
export interface SqlSession {
  /** Rows as positional text. */
  query(sql: string, params?: readonly unknown[]): Promise<(string | null)[][]>
  /** Rows as objects of text, as src/catalog.ts wants them. */
  objects(sql: string, params?: readonly unknown[]): Promise<Record<string, string | null>[]>
  close(): Promise<void>
}

const asText = { getTypeParser: () => (value: string | Buffer) => value.toString() }

/** `side` names the database in errors. Rejects with RekeyError: PRIVILEGE or CONFIG when the server refuses, REMOTE when it does not answer. */
export async function openSession(url: string, side: 'source' | 'destination'): Promise<SqlSession> {
  const client = new pg.Client({
    connectionString: url, options: sessionOptions(), application_name: APPLICATION_NAME, keepAlive: true, connectionTimeoutMillis: 15_000, types: asText,
  })
  client.on('error', () => {})
  await client.connect().catch((cause: unknown) => {
    client.end().catch(() => {})
    throw sessionError(cause, `cannot connect to the ${side}`)
  })
  const ask = async <R>(answer: Promise<unknown>): Promise<R[]> => {
    const result = await answer.catch((cause: unknown) => {
      throw sessionError(cause, `a question to the ${side} failed`)
    })
    return ((Array.isArray(result) ? result.at(-1) : result) as { rows: R[] }).rows
  }
  const values = (params: readonly unknown[]): { values?: unknown[] } => (params.length > 0 ? { values: [...params] } : {})
  return {
    query: (sql, params = []) => ask<(string | null)[]>(client.query({ text: sql, ...values(params), rowMode: 'array' })),
    objects: (sql, params = []) => ask<Record<string, string | null>>(client.query({ text: sql, ...values(params) })),
    close: () => client.end().catch(() => {}),
  }
}

function sessionError(cause: unknown, doing: string): RekeyError {
  const sqlstate = cause instanceof pg.DatabaseError ? cause.code : undefined
  if (sqlstate === undefined) return new RekeyError('REMOTE', `${doing} (${(cause as { code?: string }).code ?? 'no answer'})`)
  const code = sqlstate === '42501' || sqlstate.startsWith('28') ? 'PRIVILEGE' : sqlstate === '3D000' ? 'CONFIG' : verdictOf(sqlstate) === 'stop' ? 'INTERNAL' : 'REMOTE'
  return new RekeyError(code, `${doing}: SQLSTATE ${sqlstate}`, { sqlstate })
}
