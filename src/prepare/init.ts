import type { Catalog } from '../core/catalog.ts'
import { isInteger } from '../core/compile/draft.ts'
import { mappingText } from '../core/compile/mapping-text.ts'
import { RekeyError } from '../core/errors.ts'
import { propose, type Seen } from '../core/propose/propose.ts'
import { quoteIdent, quoteName } from '../core/quote.ts'
import { nameOf } from '../core/relation.ts'
import type { TextQuery } from './ddl-facts.ts'

export { todosOf } from '../core/compile/mapping-text.ts'

export interface InitOptions {
  readonly catalogs: { readonly source: Catalog; readonly destination: Catalog }
  readonly application: string
  /** What the destination's rows say (readSeen); without it, its statistics and sequences are taken. */
  readonly seen?: Seen
}

/**
 * First versions of both files: a verdict for every table, a strategy for every key, guesses marked `todo:`. They parse, and the mapping
 * compiles against these catalogs (or, where the destination is empty, against what `ddl` makes of it). Nothing is written.
 */
export function init({ catalogs, application, seen }: InitOptions): { 'rekey.yaml': string; 'mapping.yaml': string } {
  const name = application.toLowerCase().replace(/[^a-z0-9_-]+/g, '-').replace(/^[^a-z]+/, '').slice(0, 40) || 'app'
  if (catalogs.source.tables.length === 0) throw new RekeyError('PREFLIGHT', 'the source has no tables that the role can see')
  const proposal = propose({ ...catalogs, application: name, seen: seen ?? seenInCatalog(catalogs.destination) })
  return { 'rekey.yaml': configText(name), 'mapping.yaml': mappingText(proposal) }
}

/** Statistics alone: a table that was never analysed counts as occupied when it has more than its empty pages. */
function seenInCatalog(catalog: Catalog): Seen {
  const last = catalog.sequences.flatMap((s) => (s.ownedBy !== null && s.last !== null ? [[s.ownedBy, s.last] as const] : []))
  const used = new Set(last.map(([owner]) => owner.slice(0, owner.lastIndexOf('.'))))
  const occupied = catalog.tables.filter((t) => t.rowsEstimate > 0 || used.has(nameOf(t))).map(nameOf)
  return { occupied: new Set(occupied), greatest: new Map(last) }
}

/** Which tables of a database have rows, and the greatest value of integer keys of one column. One short read a table. */
export async function readSeen(query: TextQuery, catalog: Catalog): Promise<Seen> {
  const occupied = new Set<string>()
  const greatest = new Map<string, string>()
  for (const table of catalog.tables) {
    if ((table.kind !== 'r' && table.kind !== 'p') || table.parent !== null) continue
    const [key, ...more] = table.primaryKey?.columns ?? []
    const integer = key !== undefined && more.length === 0 && isInteger(table.columns.find((c) => c.name === key)?.type ?? '')
    const name = quoteName(table)
    const most = integer ? `(select max(${quoteIdent(key)}) from ${name})::text` : 'null'
    const [row] = await query(`select exists (select from ${name})::text, ${most}`, [])
    if (row[0] === 'true') occupied.add(nameOf(table))
    if (row[1] !== null) greatest.set(`${nameOf(table)}.${key}`, row[1])
  }
  return { occupied, greatest }
}

function configText(application: string): string {
  const pipeline = application.replaceAll('-', '_')
  return `pipeline: ${pipeline}
# todo: a name for the source; it goes into every id and is never changed while a migration is under way.
deployment: ${application}-source
# At least 16 bytes, such as openssl rand -hex 24 gives. Keep it: without it the ids cannot be computed again.
secret: \${REKEY_SECRET}
source:
  url: \${REKEY_SOURCE_URL}
destination:
  url: \${REKEY_DESTINATION_URL}
# The folder with mapping.yaml, relative to this file; nothing else but parts of the mapping may be in it.
mapping: mapping
`
}
