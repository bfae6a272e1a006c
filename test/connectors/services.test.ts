import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { Redis as RedisClient } from 'ioredis'
import { Kafka as KafkaClient, logLevel } from 'kafkajs'
import { expect, test } from 'vitest'
import { childrenOf, isAlive } from '../support/processes.ts'
import { startKafka, type Kafka } from '../support/services/kafka.ts'
import { startMoto } from '../support/services/moto.ts'
import { promtool, startPrometheus } from '../support/services/prometheus.ts'
import { startRedis, type Redis } from '../support/services/redis.ts'
import { startS3, type S3 } from '../support/services/s3.ts'

async function inRedis<T>(redis: Redis, work: (client: RedisClient) => Promise<T>): Promise<T> {
  const client = new RedisClient(redis.url, { lazyConnect: true, retryStrategy: () => null })
  // Its failures come back from connect(); without a listener it prints them, too.
  client.on('error', () => {})
  await client.connect()
  try {
    return await work(client)
  } finally {
    client.disconnect()
  }
}

test('Redis keeps what it holds over a kill, and is gone after stop', async () => {
  const redis = await startRedis({ maxmemory: '64mb' })
  await inRedis(redis, (client) => client.set('key', 'value'))
  await redis.kill()
  await expect(inRedis(redis, (client) => client.ping())).rejects.toThrow()
  await redis.restart()
  const held = inRedis(redis, async (client) => [await client.get('key'), await client.config('GET', 'maxmemory')])
  expect(await held).toEqual(['value', ['maxmemory', String(64 * 1024 * 1024)]])
  await redis.stop()
  await expect(inRedis(redis, (client) => client.ping())).rejects.toThrow()
})

function kafkaClient(kafka: Kafka): KafkaClient {
  return new KafkaClient({ brokers: [kafka.bootstrap], logLevel: logLevel.NOTHING })
}

test('Kafka keeps its records over a kill', async () => {
  const kafka = await startKafka()
  const admin = kafkaClient(kafka).admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: 'changes', numPartitions: 2 }] })
  await admin.disconnect()
  const producer = kafkaClient(kafka).producer({ idempotent: true })
  await producer.connect()
  await producer.send({ topic: 'changes', acks: -1, messages: [1, 2, 3].map((n) => ({ value: String(n), partition: 1 })) })
  await producer.disconnect()
  await kafka.kill()
  await kafka.restart()

  const consumer = kafkaClient(kafka).consumer({ groupId: 'readers' })
  await consumer.connect()
  await consumer.subscribe({ topic: 'changes', fromBeginning: true })
  const read: string[] = []
  await consumer.run({ eachMessage: async ({ message }) => void read.push(String(message.value)) })
  await expect.poll(() => read).toEqual(['1', '2', '3'])
  await consumer.disconnect()
  await kafka.stop()
})

function s3Client({ url, region, credentials }: S3): S3Client {
  return new S3Client({ endpoint: url, region, credentials, forcePathStyle: true })
}

test('the S3 server keeps its objects over a kill, and refuses a wrong secret', async () => {
  const s3 = await startS3()
  const client = s3Client(s3)
  await client.send(new CreateBucketCommand({ Bucket: 'files' }))
  await client.send(new PutObjectCommand({ Bucket: 'files', Key: 'a/b', Body: 'text' }))
  await s3.kill()
  await s3.restart()
  const got = await client.send(new GetObjectCommand({ Bucket: 'files', Key: 'a/b' }))
  expect(await got.Body?.transformToString()).toBe('text')
  const stranger = s3Client({ ...s3, credentials: { ...s3.credentials, secretAccessKey: 'wrong' } })
  const stolen = stranger.send(new GetObjectCommand({ Bucket: 'files', Key: 'a/b' }))
  await expect(stolen).rejects.toMatchObject({ name: 'SignatureDoesNotMatch' })
  await s3.stop()
})

test('moto takes keys that are no file names', async () => {
  const moto = await startMoto()
  const client = s3Client(moto)
  await client.send(new CreateBucketCommand({ Bucket: 'files' }))
  const keys = ['a', 'a/b', 'a//b', '/a', 'a/../b', 'ä/%2F+ ?#', 'x'.repeat(1_024)]
  for (const Key of keys) await client.send(new PutObjectCommand({ Bucket: 'files', Key, Body: Key }))
  for (const Key of keys) {
    const got = await client.send(new GetObjectCommand({ Bucket: 'files', Key }))
    expect(await got.Body?.transformToString()).toBe(Key)
  }
  await moto.restart()
  await client.send(new CreateBucketCommand({ Bucket: 'files' }))
  await moto.stop()
})

test('Prometheus scrapes a port of ours and evaluates rules; promtool says what is wrong with a file', async () => {
  const exporter = createServer((_, answer) => answer.end('# TYPE answer gauge\nanswer 42\n'))
  await new Promise<void>((resolve) => exporter.listen(0, '127.0.0.1', resolve))
  const folder = await mkdtemp(path.join(tmpdir(), 'rekey-rules-'))
  const rules = path.join(folder, 'rules.yml')
  await writeFile(rules, 'groups: [{ name: g, rules: [{ record: doubled, expr: answer * 2 }] }]')
  const prometheus = await startPrometheus({ jobs: { bridge: (exporter.address() as AddressInfo).port }, rules: [rules] })
  const value = async () => {
    const answer = await fetch(`${prometheus.url}/api/v1/query?query=doubled{job="bridge"}`)
    const { data } = await answer.json() as { data: { result: { value: [number, string] }[] } }
    return data.result.map((one) => one.value[1])
  }
  await expect.poll(value).toEqual(['84'])
  await prometheus.stop()
  await new Promise((resolve) => exporter.close(resolve))

  expect(await promtool(['check', 'rules', 'rules.yml'], folder)).toMatchObject({ code: 0 })
  await writeFile(rules, 'groups: [{ name: g, rules: [{ record: doubled, expr: "answer *" }] }]')
  expect(await promtool(['check', 'rules', 'rules.yml'], folder)).toMatchObject({ code: 1, output: expect.stringContaining('parse error') })
  expect(await promtool(['check', 'metrics'], folder, '# HELP a_total A.\n# TYPE a_total counter\na_total 1\n')).toMatchObject({ code: 0 })
  await rm(folder, { recursive: true })
})

test.runIf(process.platform === 'linux')('a process dies with the one that started it, also when that is killed', async () => {
  const script = fileURLToPath(new URL('../support/services/redis.ts', import.meta.url))
  const code = `const { startRedis } = await import(${JSON.stringify(script)})
    await startRedis()
    console.log('up')
    setInterval(() => {}, 1000)`
  const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, REKEY_TEST_SERVICES: 'processes' },
  })
  await once(parent.stdout, 'data')
  const children = childrenOf(parent.pid!)
  expect(children.length).toBeGreaterThan(0)
  parent.kill('SIGKILL')
  await expect.poll(() => children.filter(isAlive)).toEqual([])
})
