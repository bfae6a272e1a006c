import { z } from 'zod'
import { isUrlTemplate } from '../core/url-template.ts'
import { isLoopback, parseAddress } from '../core/address.ts'
import { objectsSchema } from './objects-schema.ts'
import { count, duration, size } from './units.ts'

const database = z.strictObject({
  url: z.string().regex(/^postgres(ql)?:\/\/\S+$/, 'expected postgres://user:password@host:port/database')
    .describe('postgres://user:password@host:port/database'),
})

/** Something that others may ask over HTTP. */
const listening = {
  listen: z.string().refine((text) => parseAddress(text) !== null, 'expected host:port, such as 127.0.0.1:9187')
    .describe('host:port; port 0 takes a free one. Any host but the own machine needs a token'),
  token: z.string().regex(/^\S{16,}$/, 'at least 16 characters, no blanks').optional()
    .describe('Every request must carry it: Authorization: Bearer …'),
}

function needsToken({ listen, token }: { listen: string; token?: string | undefined }, context: z.core.$RefinementCtx): void {
  const address = parseAddress(listen)
  if (address === null || isLoopback(address) || token !== undefined) return
  context.addIssue({ code: 'custom', path: ['token'], message: 'is needed to listen beyond the own machine', input: listen })
}

const listener = z.strictObject(listening).superRefine(needsToken)

const resolver = z.strictObject({
  ...listening,
  urls: z.record(z.string(), z.string().refine(isUrlTemplate, 'expected https://host/path with one {id} in the path, the query or the fragment'))
    .default({}).describe('By entity, where what had an old id is found now: https://new.example/users/{id}'),
}).superRefine(needsToken)

const redis = z.strictObject({
  url: z.string().regex(/^rediss?:\/\/[^\s?#]+$/, 'expected redis://[user:password@]host:port[/number], or rediss:// for TLS, and nothing behind it'),
  ca: z.string().min(1).nullable().default(null)
    .describe('For rediss://: PEM file of the authorities; without it those that Node knows. The certificate and its name are always checked'),
  prefix: z.string().regex(/^[A-Za-z0-9_.-]{1,40}$/, '1 to 40 letters, digits, _, . and -').default('rekey')
    .describe('In front of every key; the name of the pipeline follows it'),
  record: z.enum(['exceptions', 'all']).default('exceptions')
    .describe('all: ids that are computed are put there, too, for other readers; rekey itself does not read them'),
  timeout: duration.prefault('250ms').describe('An answer that takes longer is not waited for; the ledger is asked'),
  compare: duration.prefault('5s').describe('How often some entries are compared with the ledger'),
}).refine(({ url, ca }) => ca === null || url.startsWith('rediss:'), 'ca goes with rediss:// alone')

const ssl = z.union([z.boolean(), z.strictObject({
  ca: z.string().min(1).nullable().default(null).describe('PEM file of the authorities; without it those that Node knows'),
  cert: z.string().min(1).nullable().default(null),
  key: z.string().min(1).nullable().default(null),
}).refine((files) => (files.cert === null) === (files.key === null), 'cert and key go together')])

const kafka = z.strictObject({
  brokers: z.array(z.string().regex(/^[^\s,/]+:\d{1,5}$/, 'expected host:port')).min(1).describe('Some of the brokers, as host:port'),
  prefix: z.string().regex(/^[A-Za-z0-9._-]{1,150}$/, '1 to 150 of A-Z, a-z, 0-9, ., _ and -').optional()
    .describe('Of the names of topics and groups: <prefix>.changes; without it the name of the pipeline'),
  format: z.enum(['rekey', 'debezium']).default('rekey')
    .describe('debezium: a stock Debezium Postgres connector captures into <prefix>.changes, set up as docs/debezium.md says; `--role deliver` reads it'),
  keepsNulls: z.boolean().default(false).describe('format: debezium: its converter has replace.null.with.default=false, which records do not show'),
  topics: z.enum(['pipeline', 'per-table']).default('pipeline')
    .describe('per-table: also a topic for each table, <prefix>.<schema>.<table>, with Debezium\'s types, for other consumers'),
  schemas: z.enum(['none', 'inline']).default('none').describe('inline: each record of a table\'s topic with its schema, as sinks of Kafka Connect need'),
  compression: z.enum(['none', 'gzip']).default('none').describe('lz4 and zstd need native code, which rekey has not'),
  batch: size.prefault('512KiB').pipe(z.number().min(64 << 10, 'at least 64KiB').max(8 << 20, 'at most 8MiB'))
    .describe('Bytes of records that are sent at once; the topic must take batches a little larger'),
  codec: z.enum(['lean', 'kafkajs']).default('lean')
    .describe('Who encodes and decodes batches of records. lean: rekey, several times as fast, and it asks for ids of topics; kafkajs: the client library as it is, to rule the other out'),
  replication: count(1, 32).optional().describe('Copies of the topic that is made; without it as many as brokers, up to 3'),
  partitions: count(1, 64).default(1)
    .describe('1: everything in the order of the source; more: that many deliver processes may share the work, see `root` in the mapping'),
  foreign: z.enum(['stop', 'dead-letter']).default('stop')
    .describe('A record in the topic that rekey did not write: stop, or keep it in rekey.dead_letter and go on'),
  deadLetterTopic: z.string().regex(/^[A-Za-z0-9._-]{1,249}$/, '1 to 249 of A-Z, a-z, 0-9, ., _ and -').optional()
    .describe('With foreign: dead-letter, such records also go to this topic, as they were, with the headers of Kafka Connect (KIP-298)'),
  ssl: ssl.default(false).describe('true, or files; the name of the broker is always checked'),
  sasl: z.strictObject({
    mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']),
    username: z.string().min(1),
    password: z.string().min(1),
  }).optional(),
}).refine(({ topics, schemas }) => schemas === 'none' || topics === 'per-table', 'schemas: inline needs topics: per-table')
  .refine(({ foreign, deadLetterTopic }) => foreign === 'dead-letter' || deadLetterTopic === undefined, 'deadLetterTopic needs foreign: dead-letter')
  .refine(({ format, partitions }) => format === 'rekey' || partitions === 1,
    'format: debezium needs partitions: 1, as the records of a connector do not say what comes before them in their partition')

/** The file rekey.yaml. `${NAME}` in any text stands for an environment variable. */
export const configSchema = z.strictObject({
  pipeline: z.string().regex(/^[a-z0-9_]{1,40}$/, '1 to 40 of a-z, 0-9 and _').default('rekey')
    .describe('Part of the names of the slot, the publication and the lock: one per source database'),
  deployment: z.string().regex(/^[a-z0-9][a-z0-9_.-]{0,59}$/, '1 to 60 of a-z, 0-9, _, . and -')
    .describe('Name of the source; goes into every id: never change it while a migration is under way'),
  secret: z.string().refine((text) => Buffer.byteLength(text, 'utf8') >= 16, 'at least 16 bytes')
    .describe('Key of the ids, at least 16 bytes; whoever has it can compute them. Keep it: without it ids cannot be made again'),
  source: database,
  destination: database.extend({
    searchPath: z.array(z.string().min(1)).default([])
      .describe('Schemas for trigger functions and checks of the application that name tables without a schema. Only such in which nobody may create anything whom rekey\'s rights are not for'),
  }),
  mapping: z.string().min(1).describe('Folder with mapping.yaml, relative to this file'),
  log: z.enum(['direct', 'kafka']).default('direct')
    .describe('Where changes wait. direct: in the replication slot itself; kafka: in a topic, so that roles may run on different machines'),
  kafka: kafka.optional().describe('With log: kafka'),
  idMap: z.enum(['ledger', 'redis']).default('ledger')
    .describe('What is asked for ids that cannot be computed: the ledger alone, or a copy of it in Redis first. The ledger decides in either case'),
  redis: redis.optional().describe('For idMap: redis'),
  checks: z.enum(['engine', 'set']).default('engine')
    .describe("engine: Postgres's own triggers prove the foreign keys; set: rekey proves them in bulk (needs session_replication_role)"),
  snapshot: z.strictObject({
    rowsPerChunk: count(100, 10_000_000).default(250_000),
    workers: count(1, 32).default(2),
    indexes: z.enum(['keep', 'rebuild']).default('keep')
      .describe('rebuild: plain indexes of large tables are dropped before the copy and made again after it; the destination misses them meanwhile'),
  }).prefault({}),
  batch: z.strictObject({
    rows: count(1, 1_000_000).default(5_000),
    bytes: size.prefault('8MiB'),
    inFlight: count(1, 2).default(2),
  }).prefault({}),
  retain: duration.prefault('15m')
    .describe('log: direct: how far behind the destination the slot stays, so that a failover there can be replayed'),
  heartbeat: duration.prefault('10s').describe('How often a quiet source is made to move the slot on'),
  memory: z.strictObject({
    queue: size.prefault('16MiB').describe('Changes read and not yet applied'),
    transaction: size.prefault('8MiB').describe('Changes received and not yet taken by the queue'),
    ledger: size.prefault('64MiB').describe('Decisions of the ledger that are kept at hand'),
  }).prefault({}),
  resolver: resolver.optional().describe('For `rekey serve`: old ids become new ones over HTTP'),
  metrics: listener.optional().describe('Metrics for Prometheus and the health of a run, over HTTP; without it nothing listens'),
  objects: objectsSchema.optional().describe('Stores whose objects are carried with the rows; the mapping says which rows name which'),
  retry: z.strictObject({
    first: duration.prefault('500ms'),
    most: duration.prefault('30s'),
    giveUp: duration.prefault('1h').describe('After this long without an answer the run ends with exit code 6'),
  }).prefault({}),
}).superRefine(({ log, kafka: given, idMap, redis }, context) => {
  if (idMap === 'redis' && redis === undefined) context.addIssue({ code: 'custom', path: ['redis'], message: 'is needed for idMap: redis' })
  if (log === 'kafka' && given === undefined) context.addIssue({ code: 'custom', path: ['kafka'], message: 'log: kafka needs kafka: { brokers: [...] }' })
  if (log !== 'kafka' && given !== undefined) context.addIssue({ code: 'custom', path: ['kafka'], message: 'is only read with log: kafka' })
})

export type RedisConfig = z.output<typeof redis>
export type Config = z.output<typeof configSchema>
