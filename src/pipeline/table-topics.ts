import { leftOut, tableRecords, type TableRecords } from '../../connectors/kafka/table-records.ts'
import { makeTableTopics } from '../../connectors/kafka/table-topics.ts'
import type { SqlSession } from '../../connectors/postgres/session.ts'
import type { Config } from '../config/config.ts'
import type { Catalog } from '../core/catalog.ts'
import type { Note } from '../progress.ts'
import { version } from '../version.ts'
import { clientOf, kafkaOf, prefixOf } from './kafka-log.ts'
import { namesOf } from './open.ts'

/** A publication of partitions through their root lists the root. */
const PUBLISHED = `select p.schemaname as schema, p.tablename as table from pg_catalog.pg_publication_tables p where p.pubname = $1 order by 1, 2`

/** The records of per-table topics, whose topics are there when this resolves; null where none are wanted. */
export async function tablesOf(config: Config, { session, catalog, note }: {
  readonly session: SqlSession; readonly catalog: Catalog; readonly note: (note: Note) => void
}): Promise<TableRecords | null> {
  const { topics, schemas, batch, replication } = kafkaOf(config)
  if (topics !== 'per-table') return null
  const tables = (await session.objects(PUBLISHED, [namesOf(config).publication])).map(({ schema, table }) => ({ schema: schema!, table: table! }))
  const { limits } = await makeTableTopics(clientOf(kafkaOf(config)), {
    prefix: prefixOf(config), tables, replication: replication ?? null, batchBytes: batch })
  const without = leftOut(catalog, tables)
  if (without.length > 0) note({ level: 'warn', event: 'left-out', text: `the topics of tables have no place for ${without.join(', ')}` })
  return tableRecords({ name: prefixOf(config), database: catalog.database, version: version(), catalog, schemas, limits, now: Date.now })
}
