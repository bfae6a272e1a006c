import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { folderStore } from '../../connectors/folder/store.ts'
import type { Copied, CopyRequest } from '../../src/core/objects/copy.ts'
import { copyObject } from '../../src/mirror/copy.ts'
import type { ObjectStore } from '../../src/ports.ts'
import { newBucket } from '../support/buckets.ts'
import { between, requestFor } from '../support/copying.ts'
import { disguised } from '../support/disguised.ts'
import { bytesIn, bytesOf, content, md5, partsEtag, sha256, target } from '../support/objects.ts'
import { random } from '../support/random.ts'
import { startS3, type S3 } from '../support/services/s3.ts'

const MiB = 1 << 20
const chance = random()
const described = {
  headers: { 'content-type': 'text/css', 'cache-control': 'no-cache', 'content-encoding': 'br' }, metadata: { owner: 'née', n: '1' },
  tags: { team: 'a/b', level: '2' },
}

let servers: readonly [S3, S3]
let root = ''
beforeAll(async () => {
  servers = await Promise.all([startS3(), startS3()])
  root = await mkdtemp(join(tmpdir(), 'rekey-copy-'))
}, 300_000)
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()))
  await rm(root, { recursive: true, force: true })
})

let made = 0
type Pair = readonly [ObjectStore, ObjectStore]

const PAIRS: Record<string, () => Promise<Pair>> = {
  'between two S3 servers': async () => [await newBucket(servers[0], `far-${++made}`), await newBucket(servers[1], `far-${made}`)],
  'between two buckets of one server': async () => [await newBucket(servers[0], `a-${++made}`), await newBucket(servers[0], `b-${made}`)],
  'from a folder to S3': async () => [folderStore(join(root, `f${++made}`)), await newBucket(servers[1], `from-${made}`)],
  'from S3 to a folder': async () => [await newBucket(servers[0], `to-${++made}`), folderStore(join(root, `t${made}`))],
  'between two folders': async () => [folderStore(join(root, `g${++made}`)), folderStore(join(root, `h${made}`))],
}

interface Cut {
  readonly bytes: Buffer
  readonly partSize: number
}

async function putInParts(store: ObjectStore, key: string, { bytes, partSize }: Cut): Promise<void> {
  const upload = await store.uploads.begin(target(key, described), 'sent')
  const parts = []
  for (let at = 0; at < bytes.length; at += partSize) {
    parts.push(await upload.part(parts.length + 1, content(bytes.subarray(at, at + partSize))))
  }
  await upload.finish(parts)
}

/** The copy, and that it is what the source was: bytes, headers, metadata, tags, and ours. */
async function copyAndLook([from, to]: Pair, bytes: Buffer, more: Partial<CopyRequest> = {}): Promise<Copied> {
  const copied = await copyObject(requestFor('old/key', 'new/key', more), between(from, to))
  const got = await to.read({ key: 'new/key', version: null, etag: copied.destination.etag, range: null })
  expect((await bytesIn(got)).equals(bytes)).toBe(true)
  const info = (await to.head({ key: 'new/key', version: null }))!
  expect(info).toMatchObject({ ...described, metadata: { ...described.metadata, 'rekey-run': 'test' } })
  expect(copied.source).toMatchObject({ size: bytes.length })
  for await (const open of to.uploads.list('')) expect(open).toEqual([])
  return copied
}

describe.each(Object.entries(PAIRS))('%s', (_, make) => {
  it.each([0, 70_000, 300_000])('an object of %i bytes in one piece, with its ETag', async (size) => {
    const pair = await make()
    const bytes = bytesOf(chance, size)
    await pair[0].put(target('old/key', described), content(bytes))
    const copied = await copyAndLook(pair, bytes)
    expect(copied).toMatchObject({ destination: { etag: md5(bytes) }, lost: [] })
    expect(copied.evidence).toBeGreaterThanOrEqual(1)
    if (copied.path === 'whole') expect(copied.checksum).toEqual({ sha256: sha256(bytes), parts: null })
    const { destination } = copied
    expect(await copyObject(requestFor('old/key', 'new/key'), between(...pair))).toMatchObject({ path: 'present', destination })
  })

  it('too large for memory: in one piece with its ETag, or in parts', async () => {
    const pair = await make()
    const bytes = bytesOf(chance, 17 * MiB)
    await pair[0].put(target('old/key', described), content(bytes))
    expect(await copyAndLook(pair, bytes)).toMatchObject({ destination: { etag: md5(bytes) }, lost: [] })
    await pair[1].remove('new/key', md5(bytes))
    const free = await copyAndLook(pair, bytes, { etags: 'free', verify: 2 })
    if (free.path !== 'parts') return
    expect(free).toMatchObject({ destination: { etag: partsEtag(bytes, 16 * MiB) }, lost: [{ what: 'etag', name: 'etag' }] })
    expect(free.checksum?.parts).toEqual({ count: 2, partSize: 16 * MiB })
  })

  it.each([[5, 1], [8, 2], [5, 3]] as const)('20 MB in parts of %i MiB keeps its ETag; evidence %i', async (mib, verify) => {
    const pair = await make()
    const bytes = bytesOf(chance, verify === 2 ? 20 * MiB : 11 * MiB)
    await putInParts(pair[0], 'old/key', { bytes, partSize: mib * MiB })
    const copied = await copyAndLook(pair, bytes, { verify })
    expect(copied).toMatchObject({ destination: { etag: partsEtag(bytes, mib * MiB) }, lost: [] })
    expect(copied.evidence).toBeGreaterThanOrEqual(verify)
    expect(copied.path).toMatch(/^(store-)?parts$/)
  })
})

describe('what is under the destination key', () => {
  const pair = () => PAIRS['between two S3 servers']()
  const copy = ([from, to]: Pair, more: Partial<CopyRequest> = {}) => copyObject(requestFor('old/key', 'new/key', more), between(from, to))
  const [one, two] = [Buffer.from('the one'), Buffer.from('the other')]

  it('another object of the same key: refused, kept or overwritten, as asked', async () => {
    const [from, to] = await pair()
    await from.put(target('old/key'), content(one))
    await to.put(target('new/key'), content(two))
    await expect(copy([from, to])).rejects.toMatchObject({ code: 'OBJECT_EXISTS' })
    expect(await copy([from, to], { existing: 'keep' }))
      .toMatchObject({ path: 'kept', destination: { etag: md5(two) } })
    expect(await to.head({ key: 'new/key', version: null })).toMatchObject({ etag: md5(two) })
    expect(await copy([from, to], { existing: 'overwrite' }))
      .toMatchObject({ path: 'whole', destination: { etag: md5(one) } })
  })

  it('an equal object of another: present, also when only its bytes can tell', async () => {
    const [from, to] = await pair()
    const bytes = bytesOf(chance, 12 * MiB)
    await from.put(target('old/key'), content(bytes))
    await putInParts(to, 'new/key', { bytes, partSize: 5 * MiB })
    expect(await copy([from, to]))
      .toMatchObject({ path: 'present', destination: { etag: partsEtag(bytes, 5 * MiB) }, lost: [{ what: 'etag' }] })
    const other = Buffer.from(bytes)
    other[7_000_000] ^= 1
    await from.put(target('old/key'), content(other))
    await expect(copy([from, to])).rejects.toMatchObject({ code: 'OBJECT_EXISTS' })
  })

  it('our own earlier copy is replaced when the source has changed', async () => {
    const [from, to] = await pair()
    await from.put(target('old/key'), content(one))
    await copy([from, to])
    await from.put(target('old/key'), content(two))
    expect(await copy([from, to])).toMatchObject({ path: 'whole', destination: { etag: md5(two) } })
    await expect(copy([from, to], { run: 'other' })).resolves.toMatchObject({ path: 'present' })
    await from.put(target('old/key'), content(one))
    await expect(copy([from, to], { run: 'other' })).rejects.toMatchObject({ code: 'OBJECT_EXISTS' })
  })

  it('a source that says something else of the same bytes is copied again, and what the destination has added since stays else', async () => {
    const [from, to] = await pair()
    await from.put(target('old/key', described), content(one))
    await copy([from, to])
    const ours = (await to.head({ key: 'new/key', version: null }))!
    await to.put(target('new/key', { headers: ours.headers, metadata: ours.metadata, tags: { scan: 'clean' } }), content(one))
    expect(await copy([from, to])).toMatchObject({ path: 'present' })
    const next = { headers: { 'content-type': 'text/html' }, metadata: { owner: 'x' }, tags: { team: 'c' } }
    await from.put(target('old/key', next), content(one))
    expect(await copy([from, to])).toMatchObject({ path: 'whole' })
    expect(await to.head({ key: 'new/key', version: null })).toMatchObject(next)
  })

  it('no source: OBJECT_MISSING, and nothing is written', async () => {
    const [from, to] = await pair()
    await expect(copy([from, to])).rejects.toMatchObject({ code: 'OBJECT_MISSING' })
    expect(await to.head({ key: 'new/key', version: null })).toBeNull()
  })
})

describe('ETags that are no MD5', () => {
  it.each([[5_000, null], [300_000, null], [17 * MiB, null], [11 * MiB, 5 * MiB]] as const)(
    'raise no false alarm, and the copy is whole (%i bytes, parts %s)', async (size, partSize) => {
      for (const particulars of [{}, { encryption: 'aws:kms' }]) {
        const [source, to] = await PAIRS['from a folder to S3']()
        const bytes = bytesOf(chance, size)
        if (partSize === null) await source.put(target('old/key', described), content(bytes))
        else await putInParts(source, 'old/key', { bytes, partSize })
        const copied = await copyAndLook([disguised(source, particulars), to], bytes, { verify: 2 })
        expect(copied.lost).toEqual([
          { what: 'etag', name: 'etag' }, ...Object.keys(particulars).map((name) => ({ what: 'particular', name })),
        ])
        expect(copied.evidence).toBeGreaterThanOrEqual(2)
      }
    })
})
