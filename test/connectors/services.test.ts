import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { Redis as RedisClient } from 'ioredis'
import { Kafka as KafkaClient, logLevel } from 'kafkajs'
import { describe, expect, test } from 'vitest'
import { childrenOf, isAlive } from '../support/processes.ts'
import { fetched } from '../support/services/fetched.ts'
import { startKafka, type Kafka } from '../support/services/kafka.ts'
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
  await expect.poll(() => read, { timeout: 20_000 }).toEqual(['1', '2', '3'])
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

test.runIf(process.platform === 'linux')('a server dies with its process, also when that is killed', async () => {
  const script = fileURLToPath(new URL('../support/services/redis.ts', import.meta.url))
  const code = `const { startRedis } = await import(${JSON.stringify(script)})
    await startRedis()
    console.log('up')
    setInterval(() => {}, 1000)`
  const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(parent.stdout, 'data')
  const children = childrenOf(parent.pid!)
  expect(children.length).toBeGreaterThan(0)
  parent.kill('SIGKILL')
  await expect.poll(() => children.filter(isAlive)).toEqual([])
})

describe('what is fetched', () => {
  const inCache = async (work: (cache: string) => Promise<void>) => {
    const cache = await mkdtemp(path.join(tmpdir(), 'rekey-cache-'))
    await work(cache).finally(() => rm(cache, { recursive: true }))
  }

  test('is fetched once by two that want it at the same time, and never half', () => inCache(async (cache) => {
    let fetches = 0
    const what = {
      title: 'a thing', folder: 'thing-1',
      async fill(to: string) {
        fetches++
        await writeFile(path.join(to, 'one'), '1')
        await sleep(300)
        await writeFile(path.join(to, 'two'), '2')
      },
    }
    const folders = await Promise.all([fetched(what, cache), fetched(what, cache)])
    expect(folders).toEqual([path.join(cache, 'thing-1'), path.join(cache, 'thing-1')])
    expect(fetches).toBe(1)
    expect(await readdir(cache)).toEqual(['thing-1'])
    expect(await readFile(path.join(cache, 'thing-1', 'two'), 'utf8')).toBe('2')
  }))

  test('is tried again after a failure', () => inCache(async (cache) => {
    let online = false
    const fill = async (to: string) => {
      await writeFile(path.join(to, 'one'), '1')
      if (!online) throw new Error('offline')
    }
    const what = { title: 'a thing', folder: 'thing-1', fill }
    await expect(fetched(what, cache)).rejects.toThrow('offline')
    expect(await readdir(cache)).toEqual([])
    online = true
    expect(await readdir(await fetched(what, cache))).toEqual(['one'])
  }))

  test('does not wait for a run that died with the lock', () => inCache(async (cache) => {
    const lock = path.join(cache, 'thing-1.lock')
    await writeFile(lock, '')
    const before = new Date(Date.now() - 60_000)
    await utimes(lock, before, before)
    await fetched({ title: 'a thing', folder: 'thing-1', fill: (to) => writeFile(path.join(to, 'one'), '1') }, cache)
    expect(await readdir(cache)).toEqual(['thing-1'])
  }))
})
