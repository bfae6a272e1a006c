import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { folderStore } from '../../connectors/folder/store.ts'
import { openS3Store } from '../../connectors/s3/store.ts'
import { newBucket, optionsFor } from '../support/buckets.ts'
import { hostileKeys, objectConditions, objectLists, objectUploads, wholeObjects } from '../support/object-contract.ts'
import { HOSTILE_KEYS, bytesIn, content, md5, target } from '../support/objects.ts'
import { startMoto } from '../support/services/moto.ts'
import { startS3, type S3 } from '../support/services/s3.ts'

describe('a folder', () => {
  let root = ''
  beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'rekey-objects-')) })
  afterAll(() => rm(root, { recursive: true, force: true }))

  const make = (bucket: string) => Promise.resolve(folderStore(join(root, bucket)))
  wholeObjects(make)
  objectConditions(make)
  objectLists(make)
  objectUploads(make)
  hostileKeys(make)
})

describe('an S3 server that keeps files', () => {
  let server: S3
  beforeAll(async () => { server = await startS3() }, 300_000)
  afterAll(() => server.stop())

  const make = (bucket: string) => newBucket(server, bucket)
  wholeObjects(make)
  objectConditions(make)
  objectLists(make)
  objectUploads(make)

  it('the first request of a client, which the SDK sends, and the later ones, which go past it, say the same', async () => {
    const first = await make('routes')
    const said = target('a b/ü', {
      headers: { 'content-type': 'a/b', 'cache-control': 'no-store', expires: '0' }, metadata: { a: 'é', b: '2' }, tags: { t: 'x y' },
    })
    await first.put(said, content(Buffer.from('one')))
    const later = { ...said, key: 'a+b/ü' }
    await first.put(later, content(Buffer.from('one')))
    const infos = []
    for (const key of [said.key, later.key]) {
      const fresh = await openS3Store(optionsFor(server, 'routes'))
      const read = async () => {
        const got = await fresh.read({ key, version: null, etag: md5(Buffer.from('one')), range: null })
        expect((await bytesIn(got)).toString()).toBe('one')
        return { ...got.info, key: '', modified: 0 }
      }
      infos.push(await read(), await read())
      await expect(fresh.read({ key: 'none', version: null, etag: null, range: null })).rejects.toMatchObject({ code: 'OBJECT_MISSING' })
    }
    for (const info of infos) expect(info).toEqual(infos[0])
    expect(infos[0]).toMatchObject({ headers: said.headers, metadata: said.metadata, tags: null })
  })
})

describe('an S3 server that takes every key', () => {
  let server: S3
  beforeAll(async () => { server = await startMoto() }, 300_000)
  afterAll(() => server.stop())

  const make = (bucket: string) => newBucket(server, bucket)
  // Its routes are regular expressions whose dot is no newline: it answers 404 to such a key.
  hostileKeys(make, HOSTILE_KEYS.filter((key) => !key.includes('\n')))
})
