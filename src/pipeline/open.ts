import { rememberedMeaning } from '../../connectors/postgres-destination/meaning.ts'
import { openSession, type SqlSession } from '../../connectors/postgres/session.ts'
import { readCatalog } from '../prepare/catalog.ts'
import type { Config } from '../config/config.ts'
import { readMapping } from '../config/mapping-files.ts'
import type { Catalog } from '../core/catalog.ts'
import { compileMapping } from '../core/compile/compile.ts'
import { RekeyError } from '../core/errors.ts'
import { parseLsn, type Lsn } from '../core/lsn.ts'
import type { Mapping } from '../core/mapping.ts'
import { changedMeaning, withHistory } from '../core/meaning.ts'
import type { Problem } from '../core/problem.ts'
import type { Minters } from '../core/program.ts'
import type { TableName } from '../core/relation.ts'
import { toldOfSeveral } from '../core/roots.ts'
import { mintersFor } from '../planning/mint.ts'
import { storeProblems } from './stores.ts'

/** Two open databases, their catalogs and the mapping against them. */
export interface Opened {
  readonly config: Config
  readonly source: SqlSession
  readonly destination: SqlSession
  readonly catalogs: { readonly source: Catalog; readonly destination: Catalog }
  /** Where the source was when its catalog was read. */
  readonly catalogLsn: Lsn
  readonly mapping: Mapping
  /** What the mapping says otherwise than the run under way has carried by: it will not go on. */
  readonly edited: readonly string[]
  readonly problems: readonly (Problem & { readonly place: string })[]
  readonly minters: Minters
}

/** Names of what we make at the source. */
export function namesOf(config: Config): { readonly slot: string; readonly publication: string } {
  return { slot: `rekey_${config.pipeline}`, publication: `rekey_${config.pipeline}` }
}

/** Opens both databases for the length of `work`. Rejects with SAME_DATABASE when they are one. */
export async function withDatabases<T>(config: Config, work: (opened: Opened) => Promise<T>): Promise<T> {
  const source = await openSession(config.source.url, 'source')
  try {
    const destination = await openSession(config.destination.url, 'destination')
    try {
      const [ours, theirs] = await Promise.all([readCatalog(source.objects), readCatalog(destination.objects)])
      const catalogs = { source: ours, destination: theirs }
      const same = (c: Catalog): string => `${c.systemId}/${c.database}`
      if (same(catalogs.source) === same(catalogs.destination)) throw new RekeyError('SAME_DATABASE', 'source and destination are the same database')
      const files = await readMapping(config.mapping)
      const compiled = compileMapping(files.source, catalogs.source, catalogs.destination)
      const catalogLsn = await walEnd(source)
      const meant = await rememberedMeaning(destination.query, config.pipeline)
      const mapping = meant === null ? compiled.mapping : withHistory(compiled.mapping, meant, catalogLsn)
      const minters = mintersFor(mapping, config, catalogs.source)
      const all = [...compiled.problems, ...storeProblems(mapping, config), ...((config.kafka?.partitions ?? 1) > 1 ? toldOfSeveral(files.source, catalogs.source) : [])]
      return await work({ config, catalogLsn, source, destination, catalogs, mapping, minters, edited: meant === null ? [] : changedMeaning(meant, mapping, catalogs), problems: all.map((p) => ({ ...p, place: files.place(p.where) })) })
    } finally {
      await destination.close()
    }
  } finally {
    await source.close()
  }
}

/** Behind everything that made the catalog what it is. */
async function walEnd({ query }: SqlSession): Promise<Lsn> {
  return parseLsn((await query('select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end'))[0][0]!)
}

/** Tables whose changes are captured: those that are carried. */
export function capturedTables(mapping: Mapping): TableName[] {
  return [...mapping.tables.values()].filter((rule) => rule.verdict === 'move' || rule.verdict === 'merge').map((rule) => rule.source)
}

