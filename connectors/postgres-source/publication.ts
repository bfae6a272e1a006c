import { RekeyError } from '../../src/core/errors.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf, type TableName } from '../../src/core/relation.ts'
import { connect, remoteError } from './connect.ts'

export interface Publication {
  readonly allTables: boolean
  readonly viaRoot: boolean
  /** Inserts, updates, deletes and truncates are all published. */
  readonly allChanges: boolean
  readonly tables: readonly TableName[]
  /** Tables with a row filter or a column list. */
  readonly filtered: readonly TableName[]
  /** The entry of each table (by nameOf): another one when the table was taken out and added again, or made anew. */
  readonly entries: Readonly<Record<string, string>>
}

type Ask = (sql: string) => Promise<Record<string, unknown>[]>

/**
 * Makes the publication of exactly these tables (never FOR ALL TABLES: that makes updates of tables without a key fail in the source's
 * own application), or checks the one that is there. Rejects with PUBLICATION and the differences. To be called before the slot is made.
 */
export async function ensurePublication(url: string, name: string, tables: readonly TableName[]): Promise<'made' | 'found'> {
  const found = await readPublication(url, name)
  if (found) {
    const differences = comparePublication(found, tables)
    if (differences.length === 0) return 'found'
    throw new RekeyError('PUBLICATION', `publication ${name} differs: ${differences.join('; ')}`)
  }
  const list = tables.length > 0 ? ` for table ${tables.map((t) => `only ${quoteName(t)}`).join(', ')}` : ''
  await run(url, `create publication ${quoteIdent(name)}${list} with (publish_via_partition_root = true)`)
  return 'made'
}

export function dropPublication(url: string, name: string): Promise<unknown> {
  return run(url, `drop publication if exists ${quoteIdent(name)}`)
}

/** Sentences, one for each difference; none when the publication is as wanted. */
function comparePublication(found: Publication, wanted: readonly TableName[]): string[] {
  if (found.allTables) return ['it is FOR ALL TABLES']
  const have = new Set(found.tables.map(nameOf))
  const want = new Set(wanted.map(nameOf))
  const missing = [...want].filter((t) => !have.has(t))
  const extra = [...have].filter((t) => !want.has(t))
  return [
    ...(missing.length > 0 ? [`it lacks ${missing.join(', ')}`] : []),
    ...(extra.length > 0 ? [`it has also ${extra.join(', ')}`] : []),
    ...(found.filtered.length > 0 ? [`it filters ${found.filtered.map(nameOf).join(', ')}`] : []),
    ...(found.allChanges ? [] : ['it does not publish all kinds of changes']),
    ...(found.viaRoot ? [] : ['publish_via_partition_root is off']),
  ]
}

export function readPublication(url: string, name: string): Promise<Publication | null> {
  return publicationOver((sql) => run(url, sql), name)
}

/** What was changed since these entries were read: sentences, as of comparePublication(). Changes that were not published are not in the stream. */
function changedEntries(found: Publication, entries: Publication['entries'], tables: readonly TableName[]): string[] {
  const other = tables.map(nameOf).filter((table) => found.entries[table] !== entries[table] && found.entries[table] !== undefined)
  return other.length > 0 ? [`${other.join(', ')} was taken out and added again, or made anew`] : []
}

export interface Wanted {
  readonly tables: readonly TableName[]
  /** As the run began with them; null where they are not known. */
  readonly entries: Publication['entries'] | null
}

/** Is it of these tables, and has it been all the time? Rejects with PUBLICATION and the differences. */
export async function judgePublication(ask: Ask, name: string, { tables, entries }: Wanted): Promise<void> {
  const found = await publicationOver(ask, name)
  const differences = found ? [...comparePublication(found, tables), ...(entries ? changedEntries(found, entries, tables) : [])] : ['it is gone']
  if (differences.length > 0) throw new RekeyError('PUBLICATION', `publication ${name}: ${differences.join('; ')}`)
}

/** Looks, each time it is called, whether the publication is as it was the first time: all that capture can know. Rejects with PUBLICATION. */
export function publicationWatch(ask: Ask, name: string): () => Promise<void> {
  let first: string | null = null
  return async () => {
    const found = await publicationOver(ask, name)
    const text = JSON.stringify(found)
    first ??= text
    if (found === null) throw new RekeyError('PUBLICATION', `publication ${name} was dropped while it was read`)
    if (text !== first) throw new RekeyError('PUBLICATION', `publication ${name} was changed while it was read`)
  }
}

async function publicationOver(ask: Ask, name: string): Promise<Publication | null> {
  const head = await ask(`select puballtables as all_tables, pubviaroot as via_root,
    pubinsert and pubupdate and pubdelete and pubtruncate as all_changes from pg_publication where pubname = ${quoteLiteral(name)}`)
  if (head.length === 0) return null
  const rows = await ask(`select r.oid::text as entry, n.nspname::text as schema, c.relname::text as "table",
    coalesce(to_jsonb(r) ->> 'prqual', to_jsonb(r) ->> 'prattrs') is not null as filtered
    from pg_publication_rel r join pg_publication p on p.oid = r.prpubid join pg_class c on c.oid = r.prrelid
    join pg_namespace n on n.oid = c.relnamespace where p.pubname = ${quoteLiteral(name)} order by 1, 2`)
  const tables = rows.map((r) => ({ schema: String(r.schema), table: String(r.table), filtered: isTrue(r.filtered) }))
  const bare = (t: TableName): TableName => ({ schema: t.schema, table: t.table })
  return {
    allTables: isTrue(head[0].all_tables),
    viaRoot: isTrue(head[0].via_root),
    allChanges: isTrue(head[0].all_changes),
    tables: tables.map(bare),
    filtered: tables.filter((t) => t.filtered).map(bare),
    entries: Object.fromEntries(rows.map((r, i) => [nameOf(tables[i]), String(r.entry)])),
  }
}

/** A session may give the server's text. */
function isTrue(value: unknown): boolean {
  return value === true || value === 't'
}

async function run(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = await connect(url)
  try {
    return (await client.query(sql)).rows
  } catch (error) {
    throw remoteError(error, 'read or change the publication')
  } finally {
    client.end().catch(() => {})
  }
}
