import { namesOf } from '../../src/pipeline/open.ts'
import type { Rig } from './rig.ts'

/** What rekey needs of a stock Debezium Postgres connector: docs/debezium.md, which a test compares with this. */
export const NEEDED: Readonly<Record<string, string>> = {
  'connector.class': 'io.debezium.connector.postgresql.PostgresConnector',
  'plugin.name': 'pgoutput',
  'publication.autocreate.mode': 'disabled',
  'snapshot.mode': 'no_data',
  'provide.transaction.metadata': 'true',
  'skipped.operations': 'none',
  'decimal.handling.mode': 'string',
  'interval.handling.mode': 'string',
  'value.converter': 'org.apache.kafka.connect.json.JsonConverter',
  'value.converter.schemas.enable': 'true',
  'value.converter.replace.null.with.default': 'false',
  'transforms': 'one',
  'transforms.one.type': 'org.apache.kafka.connect.transforms.RegexRouter',
  'transforms.one.regex': '.*',
}

/** Settings of a connector that captures for a rig. */
export function connectorFor(rig: Rig): Record<string, string> {
  const { slot, publication } = namesOf(rig.config)
  const { hostname, port, username, pathname } = new URL(rig.source.url)
  return {
    ...NEEDED, 'transforms.one.replacement': `${rig.config.pipeline}.changes`, 'topic.prefix': rig.config.pipeline,
    'slot.name': slot, 'publication.name': publication, 'database.hostname': hostname, 'database.port': port, 'database.user': username,
    'database.password': 'none', 'database.dbname': pathname.slice(1),
  }
}
