import pg from 'pg'
import { RekeyError, verdictOf, type ErrorCode } from '../../src/core/errors.ts'
import { connectionSettings, ENDLESS } from '../../src/core/session.ts'
import { tlsError } from '../../src/core/tls.ts'

export interface ConnectOptions {
  /** A connection that speaks the replication commands (and simple-protocol SQL). */
  readonly replication?: boolean
  /** Settings beside those of core/session.ts. */
  readonly settings?: Readonly<Record<string, string>>
}

/** What a server says of trouble, by SQLSTATE. The rest is REMOTE where a retry may help and INTERNAL where it cannot. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  '42501': 'PRIVILEGE',
  '28000': 'PRIVILEGE',
  '28P01': 'PRIVILEGE',
  '3D000': 'CONFIG',
  '55006': 'SLOT_IN_USE',
  // A value that the server cannot turn into UTF8: it will not be another one by asking again.
  '22021': 'ENCODING',
  '22P05': 'ENCODING',
  // An error inside of the server, as on a value that is too long as text: again it would be the same.
  XX000: 'PREFLIGHT',
}

const LOCK_TIMEOUT = '55P03'

/** Opens a connection with our session settings. Rejects with RekeyError. The caller ends it. */
export async function connect(url: string, options: ConnectOptions = {}): Promise<pg.Client> {
  const client = new pg.Client(clientConfig(url, options))
  // A lost connection also fails the query under way, which is where it is dealt with; without a listener the process would end.
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query(ENDLESS)
  } catch (error) {
    client.end().catch(() => {})
    throw remoteError(error, 'connect to the source')
  }
  return client
}

/** The configuration of such a connection, for a library that connects by itself. Throws RekeyError CONFIG. */
export function clientConfig(url: string, options: ConnectOptions = {}): pg.ClientConfig {
  try {
    return { ...connectionSettings(url, options.settings), ...(options.replication ? { replication: 'database' } : {}) } as pg.ClientConfig
  } catch {
    throw new RekeyError('CONFIG', 'the source URL is not a postgres:// URL')
  }
}

/** SQLSTATE of a server's error; undefined for a broken connection. */
export function sqlstateOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return error instanceof pg.DatabaseError && typeof code === 'string' ? code : undefined
}

/** The server's or the socket's error as ours. The server's own text is left out: it may hold a value. */
export function remoteError(error: unknown, doing: string, codes: Readonly<Record<string, ErrorCode>> = {}): RekeyError {
  if (error instanceof RekeyError) return error
  const sqlstate = sqlstateOf(error)
  if (sqlstate === undefined) {
    const code = (error as { code?: unknown } | null)?.code
    const distrusted = typeof code === 'string' ? tlsError(code, 'source') : null
    return distrusted ?? new RekeyError('REMOTE', `could not ${doing}: ${typeof code === 'string' ? code : 'the connection ended'}`)
  }
  // No SQLSTATE goes along: whoever hears of it might take it for a lock of the destination's, and try the same again while he holds what others wait for.
  if (sqlstate === LOCK_TIMEOUT) return new RekeyError('REMOTE', `could not ${doing}: a table is locked there, as by TRUNCATE or ALTER TABLE`)
  const code = codes[sqlstate] ?? CODES[sqlstate] ?? (verdictOf(sqlstate) === 'stop' ? 'INTERNAL' : 'REMOTE')
  return new RekeyError(code, `could not ${doing}: the server answered with SQLSTATE ${sqlstate}`, { sqlstate })
}
