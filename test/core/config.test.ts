import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { parseConfig, readConfig, redact, sameDatabase } from '../../src/config/config.ts'
import { publishedSchemas } from '../../src/config/publish-schema.ts'
import { RekeyError } from '../../src/core/errors.ts'

const ENV = { REKEY_SECRET: 'a secret of enough bytes', DB_PASSWORD: 'hunter2-hunter2' }
const GOOD = `
deployment: lab-a
secret: \${REKEY_SECRET}
source: { url: "postgres://reader:\${DB_PASSWORD}@old.lab.test/app" }
destination: { url: "postgres://writer:\${DB_PASSWORD}@new.lab.test:5433/app" }
mapping: mappings/demo
`

function fault(text: string, env: Record<string, string> = ENV): RekeyError {
  try {
    parseConfig('rekey.yaml', text, env)
  } catch (error) {
    if (error instanceof RekeyError) return error
    throw error
  }
  throw new Error('no error was thrown')
}

describe('rekey.yaml', () => {
  it('fills in defaults, variables, durations and sizes', () => {
    const config = parseConfig('rekey.yaml', `${GOOD}batch: { bytes: 2MiB, rows: "100" }\nretain: 500ms\n`, ENV)
    expect(config).toMatchObject({
      pipeline: 'rekey', deployment: 'lab-a', secret: ENV.REKEY_SECRET, log: 'direct', checks: 'engine', retain: 500, heartbeat: 10_000,
      snapshot: { rowsPerChunk: 250_000, workers: 2, indexes: 'keep' }, batch: { rows: 100, bytes: 2 ** 21, inFlight: 2 }, memory: { queue: 16 * 2 ** 20 },
    })
    expect(config.source.url).toBe('postgres://reader:hunter2-hunter2@old.lab.test/app')
  })

  it('names file, line and key of every fault at once, and shows no value', () => {
    const error = fault(`${GOOD}batch: { rows: lots }\nsnapshot: { worker: 3 }\npipeline: No-Good\nretain: 5 minutes\n`)
    expect(error.code).toBe('CONFIG')
    expect(error.exit).toBe(2)
    expect(error.message.split('\n').sort()).toEqual([
      'rekey.yaml:10 retain: expected a duration such as 500ms, 10s, 15m, 2h',
      'rekey.yaml:7 batch.rows: expected a whole number from 1 to 1000000',
      'rekey.yaml:8 snapshot.worker: unknown key',
      'rekey.yaml:9 pipeline: 1 to 40 of a-z, 0-9 and _',
    ])
  })

  it('a Debezium connector writes into one partition, and nothing else is said of it', () => {
    const kafka = (more: string): string => `${GOOD}log: kafka\nkafka: { brokers: [a:1], format: debezium${more} }\n`
    expect(fault(kafka(', partitions: 2')).message).toContain('kafka: format: debezium needs partitions: 1')
    expect(parseConfig('rekey.yaml', kafka(''), ENV).kafka).toMatchObject({ format: 'debezium', partitions: 1 })
  })

  it('an id map in Redis needs a server', () => {
    expect(fault(`${GOOD}idMap: redis\n`).message).toContain('redis: is needed for idMap: redis')
    expect(fault(`${GOOD}idMap: redis\nredis: { url: "http://h" }\n`).message).toContain('redis.url: expected redis://')
    const { redis } = parseConfig('rekey.yaml', `${GOOD}idMap: redis\nredis: { url: "rediss://u:p@h:1" }\n`, ENV)
    // What a URL says behind the address would go to the client library as it is.
    for (const end of ['?tls=false', '?family=6', '#x', '/0?rejectUnauthorized=false']) {
      expect(fault(`${GOOD}idMap: redis\nredis: { url: "rediss://h:1${end}" }\n`).message).toContain('redis.url: expected redis://')
    }
    expect(fault(`${GOOD}idMap: redis\nredis: { url: "redis://h:1", ca: a.pem }\n`).message).toContain('ca goes with rediss:// alone')
    expect(redis).toEqual({ url: 'rediss://u:p@h:1', ca: null, prefix: 'rekey', record: 'exceptions', timeout: 250, compare: 5_000 })
  })

  it('a log in Kafka needs brokers, and knows what it may be told', () => {
    expect(fault(`${GOOD}log: kafka\n`).message).toContain('log: kafka needs kafka: { brokers: [...] }')
    expect(fault(`${GOOD}kafka: { brokers: ["h:1"] }\n`).message).toContain('kafka: is only read with log: kafka')
    const wrong = (more: string): string => fault(`${GOOD}log: kafka\nkafka: { brokers: ["h:1"], ${more} }\n`).message
    expect(wrong('brokers2: []')).toContain('brokers2')
    expect(fault(`${GOOD}log: kafka\nkafka: { brokers: ["kafka://h:1"] }\n`).message).toContain('expected host:port')
    expect(wrong('compression: zstd')).toContain('kafka.compression')
    expect(wrong('sasl: { mechanism: oauthbearer, username: a, password: b }')).toContain('kafka.sasl.mechanism')
    expect(wrong('sasl: { mechanism: plain, username: a, password: b, sasl.jaas.config: c }')).toContain('sasl.jaas.config')
    expect(wrong('ssl: { rejectUnauthorized: false }')).toContain('kafka.ssl')
    expect(wrong('ssl: { cert: a.pem }')).toContain('kafka.ssl')
    expect(wrong('batch: 1KiB')).toContain('at least 64KiB')
    expect(wrong('prefix: "a b"')).toContain('kafka.prefix')
    const { kafka } = parseConfig('rekey.yaml', `${GOOD}log: kafka\nkafka: { brokers: ["h:1"], ssl: { ca: ca.pem } }\n`, ENV)
    expect(kafka).toMatchObject({ brokers: ['h:1'], compression: 'none', batch: 512 << 10, foreign: 'stop', ssl: { ca: 'ca.pem', cert: null, key: null } })
  })

  it('says what is needed', () => {
    expect(fault('deployment: lab\n').message.split('\n'))
      .toEqual(expect.arrayContaining(['rekey.yaml:1 secret: is needed', 'rekey.yaml:1 source: is needed']))
    expect(fault('').message).toContain('deployment: is needed')
  })

  it('names a variable that is not set, with its key', () => {
    const error = fault(GOOD, { REKEY_SECRET: ENV.REKEY_SECRET })
    expect(error.message.split('\n')).toEqual([
      'rekey.yaml:4 source.url: the environment variable DB_PASSWORD is not set',
      'rekey.yaml:5 destination.url: the environment variable DB_PASSWORD is not set',
    ])
  })

  it('says nothing more of keys whose variable is not set, and how to set it', () => {
    const text = GOOD.replace(/source: .*/, 'source: { url: "${REKEY_SOURCE_URL}" }')
    const error = fault(text, { DB_PASSWORD: ENV.DB_PASSWORD })
    expect(error.message.split('\n')).toEqual([
      'rekey.yaml:3 secret: the environment variable REKEY_SECRET is not set',
      'rekey.yaml:4 source.url: the environment variable REKEY_SOURCE_URL is not set',
    ])
    expect(error.hint).toBe('Set REKEY_SECRET, REKEY_SOURCE_URL in the environment of the command and run it again; nothing was touched.')
  })

  it('refuses a short secret, without showing it', () => {
    const error = fault(GOOD, { ...ENV, REKEY_SECRET: 'short-one' })
    expect(error.message).toBe('rekey.yaml:3 secret: at least 16 bytes')
  })

  it('refuses text that is no YAML, and a key that occurs twice', () => {
    expect(fault('a: [1\nb: 2').message).toMatch(/^rekey\.yaml:2: not valid YAML/)
    expect(fault(`${GOOD}mapping: other\n`).message).toMatch(/^rekey\.yaml:7: not valid YAML \(DUPLICATE_KEY\)/)
  })

  it('refuses one database as both sides', () => {
    const error = fault(GOOD.replace('new.lab.test:5433', 'OLD.lab.test:5432'))
    expect(error.code).toBe('SAME_DATABASE')
    expect(error.message).not.toContain('hunter2')
    expect(sameDatabase('postgres://a@localhost/x', 'postgresql://b@127.0.0.1:5432/x?application_name=y')).toBe(true)
    expect(sameDatabase('postgres://a@localhost/x', 'postgres://a@localhost/y')).toBe(false)
    expect(sameDatabase('postgres://a@h/', 'postgres://a@h/a')).toBe(true)
    expect(sameDatabase('postgres://a@h:1/x', 'postgres://a@h:2/x')).toBe(false)
  })

  it('listens nowhere unless told, and beyond the own machine only with a token', () => {
    expect(parseConfig('rekey.yaml', GOOD, ENV).metrics).toBeUndefined()
    expect(parseConfig('rekey.yaml', `${GOOD}metrics: { listen: "127.0.0.1:0" }\n`, ENV).metrics).toEqual({ listen: '127.0.0.1:0' })
    expect(fault(`${GOOD}metrics: { listen: "0.0.0.0:9187" }\n`).message)
      .toBe('rekey.yaml:7 metrics.token: is needed to listen beyond the own machine')
    const short = fault(`${GOOD}metrics: { listen: "nowhere", token: hunter2 }\n`).message
    expect(short).toContain('metrics.listen: expected host:port')
    expect(short).toContain('metrics.token: at least 16 characters')
    expect(short).not.toContain('hunter2')
    const token = 'a-token-of-enough-characters'
    expect(parseConfig('rekey.yaml', `${GOOD}metrics: { listen: "0.0.0.0:9187", token: ${token} }\n`, ENV).metrics?.token).toBe(token)
  })

  it('keeps ${ as text when asked', () => {
    expect(parseConfig('rekey.yaml', GOOD.replace('mappings/demo', () => '"$${x}"'), ENV).mapping).toBe('${x}')
  })

  it('is read from a file, the mapping beside it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rekey-config-'))
    try {
      await writeFile(join(folder, 'rekey.yaml'), GOOD)
      expect((await readConfig(join(folder, 'rekey.yaml'), ENV)).mapping).toBe(join(folder, 'mappings/demo'))
      await expect(readConfig(join(folder, 'none.yaml'), ENV)).rejects.toMatchObject({ code: 'CONFIG' })
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('shows urls without secrets', () => {
    expect(redact('postgres://u:hunter2@h:5432/d?sslpassword=hunter2&sslkey=k')).toBe('postgres://u:***@h:5432/d')
    expect(redact('postgres://u@h/d')).toBe('postgres://u@h/d')
    expect(redact('not a url hunter2')).toBe('postgres://…')
  })
})

describe('the published JSON Schemas', () => {
  it.each([...publishedSchemas()])('schema/%s is up to date (npx tsx src/config/publish-schema.ts)', async (name, text) => {
    expect(await readFile(`schema/${name}`, 'utf8')).toBe(text)
  })

  it('accept the demo mapping, and refuse an unknown key in it', async () => {
    const schema = z.fromJSONSchema(JSON.parse(publishedSchemas().get('mapping.schema.json')!))
    const demo = parse(await readFile('mappings/demo/mapping.yaml', 'utf8'))
    expect(schema.safeParse(demo).success).toBe(true)
    expect(schema.safeParse({ ...demo, tables: { users: { verdikt: 'move' } } }).success).toBe(false)
  })
})
