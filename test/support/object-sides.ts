import { afterAll, beforeAll, beforeEach } from 'vitest'
import { openS3Store } from '../../connectors/s3/store.ts'
import type { OpenUpload } from '../../src/core/objects/object.ts'
import type { ObjectStore } from '../../src/ports.ts'
import { newBucket, optionsFor } from './buckets.ts'
import { bytesIn, content, target } from './objects.ts'
import { random, type Random } from './random.ts'
import { startS3Proxy, type S3Proxy } from './s3-proxy.ts'
import { startS3, type S3 } from './services/s3.ts'

export const MiB = 1 << 20

/** A bucket of the same name on both servers. */
export interface Sides {
  readonly bucket: string
  /** Straight to the servers. */
  readonly source: ObjectStore
  readonly destination: ObjectStore
  /** By way of the proxies. */
  readonly from: ObjectStore
  readonly to: ObjectStore
}

export interface TwoServers {
  readonly chance: Random
  readonly servers: readonly [S3, S3]
  readonly proxies: readonly [S3Proxy, S3Proxy]
  sides(): Promise<Sides>
}

/** Two S3 servers, each behind a proxy whose rules are gone before each test; for the whole test file. */
export function twoServers(): TwoServers {
  const chance = random()
  let servers: readonly [S3, S3]
  let proxies: readonly [S3Proxy, S3Proxy]
  let made = 0
  beforeAll(async () => {
    servers = await Promise.all([startS3(), startS3()])
    proxies = await Promise.all([startS3Proxy(servers[0], chance), startS3Proxy(servers[1], chance)])
  }, 300_000)
  afterAll(async () => {
    await Promise.all(proxies.map((proxy) => proxy.close()))
    await Promise.all(servers.map((server) => server.stop()))
  })
  beforeEach(() => {
    for (const proxy of proxies) {
      proxy.rules = []
      proxy.forget()
    }
  })
  return {
    chance,
    get servers() { return servers },
    get proxies() { return proxies },
    async sides() {
      const bucket = `fault-${++made}`
      const [source, destination] = await Promise.all(servers.map((server) => newBucket(server, bucket)))
      const opened = servers.map((server, i) => openS3Store(optionsFor({ ...server, url: proxies[i].url }, bucket)))
      const [from, to] = await Promise.all(opened)
      return { bucket, source, destination, from, to }
    },
  }
}

export async function bytesAt(store: ObjectStore, key = 'key'): Promise<Buffer> {
  return bytesIn(await store.read({ key, version: null, etag: null, range: null }))
}

export async function uploadsIn(store: ObjectStore): Promise<OpenUpload[]> {
  const all: OpenUpload[] = []
  for await (const page of store.uploads.list('')) all.push(...page)
  return all
}

/** In parts of 5 MiB; resolves with the ETag. */
export async function putInParts(store: ObjectStore, key: string, bytes: Buffer): Promise<string> {
  const upload = await store.uploads.begin(target(key), 'sent')
  const parts = []
  for (let at = 0; at < bytes.length; at += 5 * MiB) {
    parts.push(await upload.part(parts.length + 1, content(bytes.subarray(at, at + 5 * MiB))))
  }
  return (await upload.finish(parts)).etag
}
