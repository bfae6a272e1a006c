import { describe, expect, it } from 'vitest'
import type { Copied, CopyRequest } from '../../src/core/objects/copy.ts'
import { copyObject } from '../../src/mirror/copy.ts'
import { newBucket } from '../support/buckets.ts'
import { between, requestFor } from '../support/copying.ts'
import { MiB, bytesAt, putInParts, twoServers, uploadsIn, type Sides } from '../support/object-sides.ts'
import { bytesOf, content, md5, partsEtag, target } from '../support/objects.ts'
import type { Asked, S3Proxy } from '../support/s3-proxy.ts'

const two = twoServers()

const copy = ({ from, to }: Sides, more: Partial<CopyRequest> = {}): Promise<Copied> =>
  copyObject(requestFor('key', 'key', more), between(from, to))

const isGet = ({ method }: Asked): boolean => method === 'GET'
const isPut = ({ method }: Asked): boolean => method === 'PUT'

describe('bytes that change on the way', () => {
  it.each<[string, S3Proxy['rules'][number]]>([
    ['a bit flipped', { when: isGet, times: 1, accident: { flipByte: 1_000 } }],
    ['a body that ends early', { when: isGet, times: 1, accident: { shortenTo: 1_000 } }],
    ['a body that is cut', { when: isGet, times: 1, accident: { cutAfter: 1_000 } }],
  ])('%s is seen and read again, whatever the way', async (_, rule) => {
    for (const [size, parts] of [[5_000, false], [300_000, false], [17 * MiB, false], [11 * MiB, true]] as const) {
      const all = await two.sides()
      const bytes = bytesOf(two.chance, size)
      if (parts) await putInParts(all.source, 'key', bytes)
      else await all.source.put(target('key'), content(bytes))
      two.proxies[0].rules = [{ ...rule }]
      const copied = await copy(all)
      expect(copied).toMatchObject({ destination: { etag: parts ? partsEtag(bytes, 5 * MiB) : md5(bytes) }, lost: [] })
      expect((await bytesAt(all.destination)).equals(bytes)).toBe(true)
      expect(two.proxies[0].rules[0].times).toBe(0)
      expect(await uploadsIn(all.destination)).toEqual([])
    }
  })

  it('what arrives changed at the destination is refused there, and sent again', async () => {
    for (const [size, parts] of [[5_000, false], [17 * MiB, false], [11 * MiB, true]] as const) {
      const all = await two.sides()
      const bytes = bytesOf(two.chance, size)
      if (parts) await putInParts(all.source, 'key', bytes)
      else await all.source.put(target('key'), content(bytes))
      two.proxies[1].rules = [{ when: isPut, times: 1, accident: { flipSentByte: 1_000 } }]
      await copy(all)
      expect((await bytesAt(all.destination)).equals(bytes)).toBe(true)
      expect(two.proxies[1].rules[0].times).toBe(0)
    }
  })

  it('a copy whose bytes are wrong at the destination does not stay there, nor is it believed', async () => {
    const all = await two.sides()
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
    const all = await two.sides()
    const [old, recent] = [bytesOf(two.chance, size), bytesOf(two.chance, size - 1)]
    if (parts) await putInParts(all.source, 'key', old)
    else await all.source.put(target('key'), content(old))
    let gets = 0
    const overwrite = async () => void await all.source.put(target('key'), content(recent))
    const inTheMiddle = (asked: Asked): boolean => isGet(asked) && ++gets === (parts ? 2 : 1)
    two.proxies[0].rules = [{ when: inTheMiddle, times: 1, accident: { before: overwrite } }]
    expect(await copy(all)).toMatchObject({ source: { etag: md5(recent) }, destination: { etag: md5(recent) } })
    expect((await bytesAt(all.destination)).equals(recent)).toBe(true)
    expect(await uploadsIn(all.destination)).toEqual([])
  })

  it('deleted in the middle: OBJECT_MISSING, nothing visible, nothing left open', async () => {
    const all = await two.sides()
    const etag = await putInParts(all.source, 'key', bytesOf(two.chance, 11 * MiB))
    let gets = 0
    const remove = async () => void await all.source.remove('key', etag)
    two.proxies[0].rules = [{ when: (asked) => isGet(asked) && ++gets === 2, times: 1, accident: { before: remove } }]
    await expect(copy(all)).rejects.toMatchObject({ code: 'OBJECT_MISSING' })
    expect(await all.destination.head({ key: 'key', version: null })).toBeNull()
    expect(await uploadsIn(all.destination)).toEqual([])
  })
})

describe('a bucket with versions', () => {
  it('the version that was named is copied, the newest otherwise; a deleted object is none', async () => {
    const [source, destination] = await Promise.all(two.servers.map((server) => newBucket(server, 'versions', { versions: true })))
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

describe('a source that changes', () => {
  it('while its bytes wait to be written: a copy of the newer ones, made meanwhile, is not written over', async () => {
    const all = await two.sides()
    await all.source.put(target('key'), content(Buffer.from('old')))
    const before = async (): Promise<void> => {
      await all.source.put(target('key'), content(Buffer.from('new')))
      await copy({ ...all, to: all.destination })
    }
    two.proxies[1].rules = [{ when: isPut, times: 1, accident: { before } }]
    expect(await copy(all)).toMatchObject({ path: 'present', source: { etag: md5(Buffer.from('new')) } })
    expect((await bytesAt(all.destination)).toString()).toBe('new')
  })
})
