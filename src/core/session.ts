/** The name that every connection of ours carries in pg_stat_activity; what a takeover may end. */
export const APPLICATION_NAME = 'rekey'

/**
 * What every connection of ours sets, at both databases: values travel as text, so a role's or a database's own settings must not
 * change how a value is printed or read (manual, 19.11 "Client Connection Defaults").
 */
export const SESSION = {
  DateStyle: 'ISO',
  IntervalStyle: 'postgres',
  extra_float_digits: '3',
  bytea_output: 'hex',
  TimeZone: 'UTC',
  client_encoding: 'UTF8',
  lc_monetary: 'C',
  search_path: 'pg_catalog',
  array_nulls: 'on',
  standard_conforming_strings: 'on',
  xmloption: 'content',
  quote_all_identifiers: 'off',
  default_transaction_isolation: 'read committed',
  application_name: APPLICATION_NAME,
  statement_timeout: '0',
  lock_timeout: '0',
  idle_session_timeout: '0',
  idle_in_transaction_session_timeout: '0',
} as const satisfies Record<string, string>

/** One more of them, to be asked as a query: it came with PostgreSQL 17, and others refuse it at the start of a session. */
export const ENDLESS = "select set_config('transaction_timeout', '0', false) where current_setting('transaction_timeout', true) is not null"

/**
 * The settings as a startup packet's `options` (`-c name=value …`), which replication connections take too. `more` adds or replaces
 * settings of one connection. Blanks and backslashes in a value are escaped as the server's splitter reads them.
 */
export function sessionOptions(more: Readonly<Record<string, string>> = {}): string {
  return Object.entries({ ...SESSION, ...more })
    .map(([name, value]) => `-c ${name}=${value.replace(/[\\\s]/g, '\\$&')}`)
    .join(' ')
}

export interface ConnectionSettings {
  readonly connectionString: string
  readonly options: string
  readonly application_name: string
  readonly keepAlive: true
  readonly keepAliveInitialDelayMillis: number
  readonly connectionTimeoutMillis: number
}

/**
 * How every connection of ours is opened: the URL without its own options and application name, whose options come first so that ours win.
 * Throws a TypeError on what is not a URL, a URIError on a database name that is not encoded.
 */
export function connectionSettings(url: string, more: Readonly<Record<string, string>> = {}): ConnectionSettings {
  const parsed = new URL(url)
  const own = parsed.searchParams.get('options')
  parsed.searchParams.delete('options')
  parsed.searchParams.delete('application_name')
  // The driver decodes the path as a whole URL, which leaves `%3B` and its like as they are: they are written out.
  parsed.pathname = encodeURI(decodeURIComponent(parsed.pathname))
  const settings = { ...SESSION, ...more }
  return {
    connectionString: parsed.href, options: [...(own ? [own] : []), sessionOptions(more)].join(' '),
    application_name: settings.application_name,
    // A server that has vanished says nothing, and whoever waits for its answer would go on waiting for two hours, as systems are set.
    keepAlive: true, keepAliveInitialDelayMillis: 30_000, connectionTimeoutMillis: 15_000,
  }
}
