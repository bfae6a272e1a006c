import { PUBLICATION } from '../native.ts'
import type { Field, Half, Mover, Trial } from './mover.ts'

const TABLES = ['users', 'projects', 'nodes', 'marker']

/** Larger batches and queues, compression: what made the pair fastest. Records carry their schema, which the sink needs. */
const SOURCE_BULK = {
  'max.batch.size': '16384', 'max.queue.size': '65536', 'poll.interval.ms': '50', 'producer.override.linger.ms': '5',
  'producer.override.batch.size': '1048576', 'producer.override.compression.type': 'lz4', 'producer.override.buffer.memory': '67108864',
}
const SINK_BULK = {
  'batch.size': '5000', 'use.reduction.buffer': 'true', 'consumer.override.max.poll.records': '5000',
  'consumer.override.fetch.max.bytes': '52428800', 'consumer.override.max.partition.fetch.bytes': '8388608',
}
/** No waiting anywhere. */
const SOURCE_PROMPT = { 'poll.interval.ms': '1', 'producer.override.linger.ms': '0' }
const SINK_PROMPT = { 'consumer.override.fetch.min.bytes': '1' }

/** Debezium's Postgres connector and its JDBC sink in one Connect worker, tuned. Keys stay integers; the sink checks no foreign key. */
export function debezium({ place, connect }: Field): Mover {
  const half = async (name: string, settings: Record<string, string>): Promise<Half> => {
    await connect.add(name, settings)
    return { pids: { connect: connect.pid }, failure: () => connect.failure(name), stop: () => connect.remove(name) }
  }
  return {
    name: 'debezium', start: 'native',
    topics: (prefix) => TABLES.map((table) => `${prefix}.public.${table}`),
    capture: ({ phase, prefix, prompt }: Trial) => half(`source_${prefix}`, {
      'connector.class': 'io.debezium.connector.postgresql.PostgresConnector', 'plugin.name': 'pgoutput', 'topic.prefix': prefix,
      'database.hostname': place.source.host, 'database.port': String(place.source.port), 'database.user': 'postgres', 'database.password': 'none',
      'database.dbname': phase.subject.database, 'slot.name': phase.starts.get('native')!.slot!.name, 'publication.name': PUBLICATION,
      'publication.autocreate.mode': 'disabled', 'snapshot.mode': 'no_data', 'tombstones.on.delete': 'false',
      'topic.creation.default.partitions': '1', 'topic.creation.default.replication.factor': '1', ...(prompt ? SOURCE_PROMPT : SOURCE_BULK),
    }),
    deliver: ({ prefix, database, prompt }: Trial) => {
      const { host, port } = place.destination
      const options = 'options=-c%20session_replication_role=replica&reWriteBatchedInserts=true&stringtype=unspecified'
      return half(`sink_${prefix}`, {
        'connector.class': 'io.debezium.connector.jdbc.JdbcSinkConnector', 'topics': TABLES.map((table) => `${prefix}.public.${table}`).join(),
        'connection.url': `jdbc:postgresql://${host}:${port}/${database}?${options}`, 'connection.username': 'postgres', 'connection.password': 'none',
        'insert.mode': 'upsert', 'delete.enabled': 'true', 'primary.key.mode': 'record_key', 'schema.evolution': 'none',
        'collection.name.format': '${source.table}', ...(prompt ? SINK_PROMPT : SINK_BULK),
      })
    },
  }
}
