import { z } from 'zod'
import { count, duration, size } from './units.ts'

const secret = z.string().min(1)

const s3 = z.strictObject({
  bucket: z.string().min(1),
  region: z.string().min(1).default('us-east-1'),
  endpoint: z.url({ protocol: /^https?$/, error: 'expected http://host:port or https://host' }).optional()
    .describe('Address of a server that is not AWS'),
  pathStyle: z.boolean().optional().describe('The bucket stands in the path and not in the host name; default: true with an endpoint'),
  credentials: z.strictObject({ accessKeyId: secret, secretAccessKey: secret, sessionToken: secret.optional() }).optional()
    .describe('Default: where AWS keeps them: environment, profile, web identity, container, instance'),
  encryption: z.strictObject({ mode: z.enum(['AES256', 'aws:kms', 'aws:kms:dsse']), key: z.string().min(1).optional() }).optional()
    .describe('How what is written is encrypted; default: as the bucket says'),
  timeout: duration.prefault('30s').describe('Without a byte for this long, a request counts as lost'),
})

const store = z.union([z.strictObject({ folder: z.string().min(1) }), z.strictObject({ s3 })],
  { error: 'expected {folder: path} or {s3: {bucket: …}}' })
export type StoreConfig = z.output<typeof store>

const stores = z.record(z.string().regex(/^[a-z0-9_-]{1,40}$/, '1 to 40 of a-z, 0-9, _ and -'), store)

/** Stores on both sides, and how their objects are carried. */
export const objectsSchema = z.strictObject({
  source: stores,
  destination: stores,
  workers: count(1, 512).default(16).describe('Objects that are copied at the same time'),
  verify: z.union([z.literal(1), z.literal(2), z.literal(3)], { error: 'expected 1, 2 or 3' }).default(2)
    .describe('1: size and ETag; 2: SHA-256 on both sides; 3: every copy is read back'),
  existing: z.enum(['fail', 'keep', 'overwrite']).default('fail')
    .describe('When another object is under the new key already: the job waits for a person, it stays, or it is replaced'),
  etags: z.enum(['keep',
    'free']).default('keep').describe('keep: copies have the ETags of their sources where that can be; free: the fastest way'),
  threads: count(0, 64).optional().describe(
    'Threads that copy; 0: the one that does all else. Default: 0 beside rows, with --role mirror two less than processors, 3 at most'),
  limits: z.strictObject({
    requests: count(1, 4_096).default(256).describe('Most requests at a time, of each store'),
    rate: count(1, 1_000_000).optional().describe('Most requests a second, of each store'),
    bandwidth: size.optional().describe('Most bytes a second, read and written'),
  }).prefault({}),
  memory: size.prefault('128MiB').describe('Bytes of objects that are held in memory, all together'),
  deletes: z.strictObject({
    grace: duration.prefault('24h').describe('How long a copy stays after its row is gone'),
    max: count(0, 1_000_000).default(1_000).describe('Most copies that a run removes without being asked'),
  }).prefault({}),
  lease: duration.prefault('60s').describe('How long the jobs of a worker that is lost are kept from the others'),
  sweep: duration.prefault('1h').describe('How often the prefixes that the mapping sweeps are listed'),
})
