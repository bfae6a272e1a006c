import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openS3Store } from '../../connectors/s3/store.ts'
import type { BegunUpload, Copied, CopyRequest } from '../../src/core/object-copy.ts'
import type { OpenUpload } from '../../src/core/object.ts'
import { abandonedUploads } from '../../src/objects/abandoned.ts'
import { copyObject } from '../../src/objects/copy.ts'
import { newPace } from '../../src/objects/pace.ts'
import { pacedStore } from '../../src/objects/paced-store.ts'
import type { ObjectStore } from '../../src/ports.ts'
import { newBucket, optionsFor } from '../support/buckets.ts'
import { between, requestFor } from '../support/copying.ts'
import { bytesIn, bytesOf, content, md5, partsEtag, target } from '../support/objects.ts'
import { random } from '../support/random.ts'
import { errorBody, startS3Proxy, type Asked, type S3Proxy } from '../support/s3-proxy.ts'
import { startS3, type S3 } from '../support/services/s3.ts'

const MiB = 1 << 20
const chance = random()

let servers: readonly [S3, S3]
let proxies: readonly [S3Proxy, S3Proxy]
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

let made = 0
interface Sides {
  /** Straight to the servers. */
  readonly source: ObjectStore
  readonly destination: ObjectStore
  /** By way of the proxies. */
  readonly from: ObjectStore
  readonly to: ObjectStore
}

async function sides(): Promise<Sides> {
  const bucket = `fault-${++made}`
  const [source, destination] = await Promise.all(servers.map((server) => newBucket(server, bucket)))
  const [from, to] = await Promise.all(servers.map((server, i) => openS3Store(optionsFor({ ...server, url: proxies[i].url }, bucket))))
  return { source, destination, from, to }
}

const copy = ({ from, to }: Sides, more: Partial<CopyRequest> = {}): Promise<Copied> =>
  copyObject(requestFor('key', 'key', more), between(from, to))

async function bytesAt(store: ObjectStore, key = 'key'): Promise<Buffer> {
  return bytesIn(await store.read({ key, version: null, etag: null, range: null }))
}

async function uploadsIn(store: ObjectStore): Promise<OpenUpload[]> {
  const all: OpenUpload[] = []
  for await (const page of store.uploads.list('')) all.push(...page)
  return all
}

async function putInParts(store: ObjectStore, key: string, bytes: Buffer): Promise<string> {
  const upload = await store.uploads.begin(target(key), 'sent')
  const parts = []
  for (let at = 0; at < bytes.length; at += 5 * MiB) {
    parts.push(await upload.part(parts.length + 1, content(bytes.subarray(at, at + 5 * MiB))))
  }
  return (await upload.finish(parts)).etag
}

const isGet = ({ method }: Asked): boolean => method === 'GET'
const isPut = ({ method }: Asked): boolean => method === 'PUT'
const isFinish = ({ method, url }: Asked): boolean => method === 'POST' && url.includes('uploadId=')

describe('a store in trouble', () => {
  it('503, 429, 500 and resets at a rate of 30 %: everything arrives, ever fewer requests are under way', async () => {
    const all = await sides()
    const keys = Array.from({ length: 60 }, (_, i) => `o/${i}`)
    await Promise.all(keys.map((key) => all.source.put(target(key), content(Buffer.from(key)))))
    proxies[1].rules = [
      { chance: 0.1, accident: { answer: 503, body: errorBody('SlowDown') } },
      { chance: 0.1, accident: { answer: 500, body: errorBody('InternalError') } },
      { chance: 0.05, accident: { answer: 429 } }, { chance: 0.05, accident: 'lose-answer' },
    ]
    const pace = newPace({ most: 256, requestsPerSecond: null, bytesPerSecond: null })
    const context = between(all.from, pacedStore(all.to, pace))
    await Promise.all(keys.map((key) => copyObject(requestFor(key, key), context)))
    for (const key of keys) expect((await bytesAt(all.destination, key)).toString()).toBe(key)
    expect(pace.allowed).toBeLessThan(16)
    expect(pace.inFlight).toBe(0)
    expect(proxies[1].mostInFlight).toBeLessThanOrEqual(60)
    expect(proxies[1].asked.length).toBeLessThan(4 * keys.length)
  })

  it('no answer at all: ends with REMOTE after a few tries, and hammers nobody', async () => {
    const all = await sides()
    await all.source.put(target('key'), content(Buffer.from('x')))
    proxies[0].rules = [{ when: isGet, accident: { answer: 503, body: errorBody('SlowDown') } }]
    await expect(copy(all)).rejects.toMatchObject({ code: 'STORE_BUSY', exit: 6 })
    expect(proxies[0].asked.length).toBeLessThanOrEqual(6)
  })

  it('a copy by the store that answers 200 and an error in the body is no copy', async () => {
    const bucket = `fault-${++made}`
    const [source] = [await newBucket(servers[0], bucket)]
    const near = await openS3Store(optionsFor({ ...servers[0], url: proxies[0].url }, bucket))
    const etag = await putInParts(source, 'parts', bytesOf(chance, 6 * MiB))
    await source.put(target('key'), content(Buffer.from('x')))
    for (const body of [errorBody('InternalError'), `${errorBody('SlowDown')}\n`]) {
      const once = { times: 1, accident: { answer: 200, body } }
      proxies[0].rules = [{ when: isPut, ...once }, { when: isFinish, ...once }]
      proxies[0].forget()
      const copied = await copyObject(requestFor('key', 'to'), between(near, near))
      expect(copied).toMatchObject({ path: 'store', destination: { etag: md5(Buffer.from('x')) } })
      expect(proxies[0].asked.filter(isPut)).toHaveLength(2)
      const inParts = await copyObject(requestFor('parts', 'parts2'), between(near, near))
      expect(inParts).toMatchObject({ path: 'store-parts', destination: { etag } })
      await source.remove('to', md5(Buffer.from('x')))
      await source.remove('parts2', etag)
    }
  })

  it('answers that are lost: what was done is not done twice, nor taken for another’s', async () => {
    const all = await sides()
    await all.source.put(target('key'), content(Buffer.from('x')))
    proxies[1].rules = [{ when: isPut, times: 1, accident: 'lose-answer' }]
    expect(await copy(all)).toMatchObject({ destination: { etag: md5(Buffer.from('x')) } })
    const etag = await putInParts(all.source, 'big', bytesOf(chance, 6 * MiB))
    proxies[1].rules = [{ when: isFinish, times: 1, accident: 'lose-answer' }]
    expect(await copyObject(requestFor('big', 'big'), between(all.from, all.to))).toMatchObject({ path: 'parts', destination: { etag } })
    expect(await uploadsIn(all.destination)).toEqual([])
  })

  it('credentials that expire are asked for again, and the copy goes on', async () => {
    const all = await sides()
    await all.source.put(target('key'), content(Buffer.from('x')))
    let asked = 0
    const credentials = async () => {
      asked++
      return { ...servers[0].credentials, expiration: new Date(Date.now() + 3_600_000) }
    }
    const from = await openS3Store({ ...optionsFor({ ...servers[0], url: proxies[0].url }, all.source.bucket), credentials })
    await from.head({ key: 'key', version: null })
    expect(asked).toBe(1)
    proxies[0].rules = [{ times: 1, accident: { answer: 400, body: errorBody('ExpiredToken') } }]
    expect(await copyObject(requestFor('key', 'key'), between(from, all.to))).toMatchObject({ path: 'whole' })
    expect(asked).toBe(2)
  })
})

describe('bytes that change on the way', () => {
  it.each<[string, S3Proxy['rules'][number]]>([
    ['a bit flipped', { when: isGet, times: 1, accident: { flipByte: 1_000 } }],
    ['a body that ends early', { when: isGet, times: 1, accident: { shortenTo: 1_000 } }],
    ['a body that is cut', { when: isGet, times: 1, accident: { cutAfter: 1_000 } }],
  ])('%s is seen and read again, whatever the way', async (_, rule) => {
    for (const [size, parts] of [[5_000, false], [300_000, false], [17 * MiB, false], [11 * MiB, true]] as const) {
      const all = await sides()
      const bytes = bytesOf(chance, size)
      if (parts) await putInParts(all.source, 'key', bytes)
      else await all.source.put(target('key'), content(bytes))
      proxies[0].rules = [{ ...rule }]
      const copied = await copy(all)
      expect(copied).toMatchObject({ destination: { etag: parts ? partsEtag(bytes, 5 * MiB) : md5(bytes) }, lost: [] })
      expect((await bytesAt(all.destination)).equals(bytes)).toBe(true)
      expect(proxies[0].rules[0].times).toBe(0)
      expect(await uploadsIn(all.destination)).toEqual([])
    }
  })

  it('what arrives changed at the destination is refused there, and sent again', async () => {
    for (const [size, parts] of [[5_000, false], [17 * MiB, false], [11 * MiB, true]] as const) {
      const all = await sides()
      const bytes = bytesOf(chance, size)
      if (parts) await putInParts(all.source, 'key', bytes)
      else await all.source.put(target('key'), content(bytes))
      proxies[1].rules = [{ when: isPut, times: 1, accident: { flipSentByte: 1_000 } }]
      await copy(all)
      expect((await bytesAt(all.destination)).equals(bytes)).toBe(true)
      expect(proxies[1].rules[0].times).toBe(0)
    }
  })

  it('a copy whose bytes are wrong at the destination does not stay there, nor is it believed', async () => {
    const all = await sides()
    await all.source.put(target('key'), content(Buffer.from('good')))
    await copy(all)
    const info = (await all.destination.head({ key: 'key', version: null }))!
    await all.destination.put(target('key', { metadata: info.metadata }), content(Buffer.from('evil')))
    expect(await copy(all, { verify: 2 })).toMatchObject({ path: 'whole' })
    expect((await bytesAt(all.destination)).toString()).toBe('good')
  })
})

describe('a source that changes', () => {
  const CASES = [[5_000, false], [17 * MiB, false], [11 * MiB, true]] as const
  it.each(CASES)('overwritten in the middle (%i bytes, parts %s): the newest arrives', async (size, parts) => {
    const all = await sides()
    const [old, recent] = [bytesOf(chance, size), bytesOf(chance, size - 1)]
    if (parts) await putInParts(all.source, 'key', old)
    else await all.source.put(target('key'), content(old))
    let gets = 0
    const overwrite = async () => void await all.source.put(target('key'), content(recent))
    const inTheMiddle = (asked: Asked): boolean => isGet(asked) && ++gets === (parts ? 2 : 1)
    proxies[0].rules = [{ when: inTheMiddle, times: 1, accident: { before: overwrite } }]
    expect(await copy(all)).toMatchObject({ source: { etag: md5(recent) }, destination: { etag: md5(recent) } })
    expect((await bytesAt(all.destination)).equals(recent)).toBe(true)
    expect(await uploadsIn(all.destination)).toEqual([])
  })

  it('deleted in the middle: OBJECT_MISSING, nothing visible, nothing left open', async () => {
    const all = await sides()
    const etag = await putInParts(all.source, 'key', bytesOf(chance, 11 * MiB))
    let gets = 0
    const remove = async () => void await all.source.remove('key', etag)
    proxies[0].rules = [{ when: (asked) => isGet(asked) && ++gets === 2, times: 1, accident: { before: remove } }]
    await expect(copy(all)).rejects.toMatchObject({ code: 'OBJECT_MISSING' })
    expect(await all.destination.head({ key: 'key', version: null })).toBeNull()
    expect(await uploadsIn(all.destination)).toEqual([])
  })
})

describe('a process that is killed in the middle of an upload', () => {
  let folder = ''
  beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'rekey-killed-')) })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  /** Ends the child at the n-th part that it sends. */
  async function killedAt(all: Sides, part: number): Promise<BegunUpload> {
    const file = join(folder, `begun-${++made}.json`)
    const options = [optionsFor(servers[0], all.source.bucket), optionsFor({ ...servers[1], url: proxies[1].url }, all.source.bucket)]
    const main = fileURLToPath(new URL('../support/copy-child.ts', import.meta.url))
    const args = ['--import', 'tsx', main, ...options.map((one) => JSON.stringify(one)), file]
    const child = spawn(process.execPath, args, { stdio: 'ignore' })
    let parts = 0
    const kill = async () => void child.kill('SIGKILL')
    proxies[1].rules = [{ when: ({ url }) => url.includes('partNumber=') && ++parts === part, times: 1, accident: { before: kill } }]
    await new Promise((resolve) => child.once('exit', resolve))
    expect(child.signalCode).toBe('SIGKILL')
    return JSON.parse(readFileSync(file, 'utf8')) as BegunUpload
  }

  it('another goes on with it: the parts that arrived are not sent again', async () => {
    const all = await sides()
    const bytes = bytesOf(chance, 28 * MiB)
    const etag = await putInParts(all.source, 'big', bytes)
    const begun = await killedAt(all, 4)
    expect(await all.destination.head({ key: 'big', version: null })).toBeNull()
    const there = (await all.destination.uploads.resume(target('big'), begun.id))!.parts.length
    expect(there).toBeGreaterThanOrEqual(2)
    proxies[1].forget()
    const copied = await copyObject(requestFor('big', 'big', { begun }), between(all.from, all.to))
    expect(copied).toMatchObject({ path: 'parts', destination: { etag } })
    expect(proxies[1].asked.filter(({ url }) => url.includes('partNumber='))).toHaveLength(6 - there)
    expect((await bytesAt(all.destination, 'big')).equals(bytes)).toBe(true)
    expect(await uploadsIn(all.destination)).toEqual([])
  })

  it('when nobody remembers it, it is aborted a day later, and those of others are not', async () => {
    const all = await sides()
    await putInParts(all.source, 'big', bytesOf(chance, 28 * MiB))
    await killedAt(all, 3)
    await all.destination.uploads.begin(target('theirs'), 'sent')
    const ours = async (keys: readonly string[]) => new Set(keys.filter((key) => key === 'big'))
    const day = 24 * 3_600_000
    expect(await abandonedUploads(all.destination, { prefix: '', before: Date.now() - day, ours })).toBe(0)
    expect(await abandonedUploads(all.destination, { prefix: '', before: Date.now() + 10_000, ours })).toBe(1)
    expect((await uploadsIn(all.destination)).map(({ key }) => key)).toEqual(['theirs'])
  })
})

describe('a bucket with versions', () => {
  it('the version that was named is copied, the newest otherwise; a deleted object is none', async () => {
    const [source, destination] = await Promise.all(servers.map((server) => newBucket(server, 'versions', { versions: true })))
    const one = await source.put(target('key'), content(Buffer.from('one')))
    await source.put(target('key'), content(Buffer.from('two')))
    expect(one.version).not.toBeNull()
    const old = { from: { key: 'key', version: one.version } }
    expect(await copyObject(requestFor('key', 'old', old), between(source, destination))).toMatchObject({ source: { version: one.version } })
    await copyObject(requestFor('key', 'new'), between(source, destination))
    expect((await bytesAt(destination, 'old')).toString()).toBe('one')
    expect((await bytesAt(destination, 'new')).toString()).toBe('two')
    expect(await copyObject(requestFor('key', 'near', old), between(source, source))).toMatchObject({ path: 'store' })
    expect((await bytesAt(source, 'near')).toString()).toBe('one')
    expect(await source.remove('key', md5(Buffer.from('two')))).toBe(true)
    expect(await source.head({ key: 'key', version: null })).toBeNull()
    await expect(copyObject(requestFor('key', 'gone'), between(source, destination))).rejects.toMatchObject({ code: 'OBJECT_MISSING' })
    expect(await copyObject(requestFor('key', 'still', old), between(source, destination))).toMatchObject({ path: 'whole' })
  })
})
