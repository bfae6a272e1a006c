import { expect, it } from 'vitest'
import type { ErrorCode } from '../../src/core/errors.ts'
import { CONTENT_HEADERS, type ListedObject } from '../../src/core/objects/object.ts'
import type { ObjectStore } from '../../src/ports.ts'
import { HOSTILE_KEYS, bytesIn, bytesOf, content, md5, partsEtag, sha256, target } from './objects.ts'
import { random } from './random.ts'

/** What an object store promises, whatever keeps the objects. `make` gives an empty bucket of this name, in one place with the others. */
export type MakeStore = (bucket: string) => Promise<ObjectStore>

const newest = (key: string) => ({ key, version: null })
const all = (key: string) => ({ key, version: null, etag: null, range: null })
const fails = (code: ErrorCode) => expect.objectContaining({ code })
const PART = 5 << 20

export async function keysIn(store: ObjectStore, prefix = '', after: string | null = null): Promise<ListedObject[]> {
  const listed: ListedObject[] = []
  for await (const page of store.list(prefix, after)) listed.push(...page)
  return listed
}

export function wholeObjects(make: MakeStore): void {
  it('gives back what was put: bytes, size, ETag, headers, metadata, tags', async () => {
    const store = await make('whole')
    const bytes = bytesOf(random(), 70_001)
    const headers = Object.fromEntries(CONTENT_HEADERS.map((name) => [name, VALUES[name]]))
    const said = target('dir/one.bin', { headers, metadata: { color: 'blue', 'x-y': 'z=1;' }, tags: { team: 'a b', 'k+1': 'v/2' } })
    const written = await store.put(said, content(bytes))
    expect(written.etag).toBe(md5(bytes))
    const info = (await store.head(newest('dir/one.bin')))!
    const { if: _, ...described } = said
    expect(info).toMatchObject({ ...described, size: bytes.length, etag: md5(bytes) })
    expect(Math.abs(info.modified - Date.now())).toBeLessThan(60_000)
    if (info.sha256 !== null) expect(info.sha256).toBe(sha256(bytes))
    const got = await store.read(all('dir/one.bin'))
    expect(got.info).toMatchObject({ size: bytes.length, etag: md5(bytes), headers, metadata: said.metadata })
    expect((await bytesIn(got)).equals(bytes)).toBe(true)
  })

  it('an object of no bytes is an object', async () => {
    const store = await make('empty')
    await store.put(target('none'), content(Buffer.alloc(0)))
    expect(await store.head(newest('none'))).toMatchObject({ size: 0, etag: md5(Buffer.alloc(0)), tags: {}, metadata: {} })
    expect(await bytesIn(await store.read(all('none')))).toEqual(Buffer.alloc(0))
  })

  it('takes a stream of a size that is known, and ranges of it can be read', async () => {
    const store = await make('streams')
    const bytes = bytesOf(random(), 300_000)
    await store.put(target('s'), { size: bytes.length, md5: md5(bytes), stream: chunksOf(bytes, 7_777) })
    const etag = md5(bytes)
    const part = async (from: number, to: number) => bytesIn(await store.read({ ...newest('s'), etag, range: { from, to } }))
    expect((await part(100, 299_998)).equals(bytes.subarray(100, 299_999))).toBe(true)
    expect((await part(299_999, 299_999)).equals(bytes.subarray(299_999))).toBe(true)
  })

  it('what breaks off on the way is not there', async () => {
    const store = await make('breaks')
    async function* breaking() {
      yield Buffer.alloc(50_000)
      throw new Error('the source broke off')
    }
    const whole = { size: 100_000, md5: md5(Buffer.alloc(100_000)) }
    await expect(store.put(target('b'), { ...whole, stream: breaking() })).rejects.toThrow('the source broke off')
    const other = chunksOf(Buffer.alloc(100_000, 1), 9_999)
    await expect(store.put(target('b'), { ...whole, stream: other })).rejects.toEqual(fails('OBJECT_CORRUPT'))
    expect(await store.head(newest('b'))).toBeNull()
    const upload = await store.uploads.begin(target('b'), 'sent')
    await expect(upload.part(1, { ...whole, md5: null, stream: breaking() })).rejects.toThrow('the source broke off')
    const part = await upload.part(1, { ...whole, md5: null, stream: chunksOf(Buffer.alloc(100_000), 9_999) })
    expect(await upload.finish([part])).toMatchObject({ etag: partsEtag(Buffer.alloc(100_000), PART) })
    expect((await store.head(newest('b')))!.headers['content-encoding']).toBeUndefined()
  })

  it('an absent object: null, and OBJECT_MISSING to a reader', async () => {
    const store = await make('absent')
    expect(await store.head(newest('nothing'))).toBeNull()
    await expect(store.read(all('nothing'))).rejects.toEqual(fails('OBJECT_MISSING'))
  })

  it('copies within its place, from another bucket, with the metadata of the target', async () => {
    const [store, other] = [await make('near'), await make('far')]
    expect(other.place).toBe(store.place)
    const bytes = bytesOf(random(), 10_000)
    const before = target('über/from ?', { metadata: { old: '1' }, headers: { 'content-type': 'text/plain' } })
    const { etag } = await other.put(before, content(bytes))
    const stored = { ...newest('über/from ?'), bucket: other.bucket, etag, range: null }
    const said = target('to', { metadata: { new: '2' }, headers: { 'content-type': 'text/html' }, tags: { t: '1' } })
    await store.put(said, { stored })
    const { if: _, ...described } = said
    expect(await store.head(newest('to'))).toMatchObject({ ...described, etag })
    expect(await bytesIn(await store.read(all('to')))).toEqual(bytes)
    const other2 = { ...stored, etag: md5(Buffer.from('other')) }
    await expect(store.put(target('to2'), { stored: other2 })).rejects.toEqual(fails('OBJECT_CHANGED'))
    await expect(store.put(target('to2'), { stored: { ...stored, key: 'absent' } })).rejects.toEqual(fails('OBJECT_MISSING'))
    expect(await store.head(newest('to2'))).toBeNull()
  })
}

export function objectConditions(make: MakeStore): void {
  it('create-only: one of many wins, and the others leave it as it is', async () => {
    const store = await make('races')
    for (const key of ['r1', 'r2', 'r3']) {
      const tries = Array.from({ length: 12 }, (_, i) => Buffer.from(`writer ${i}`))
      const ends = await Promise.allSettled(tries.map((bytes) => store.put(target(key, { if: 'absent' }), content(bytes))))
      const won = ends.flatMap((end, i) => end.status === 'fulfilled' ? [i] : [])
      expect(won).toHaveLength(1)
      for (const end of ends) if (end.status === 'rejected') expect(end.reason).toEqual(fails('OBJECT_EXISTS'))
      expect(await bytesIn(await store.read(all(key)))).toEqual(tries[won[0]])
    }
  })

  it('replaces and removes only what was meant', async () => {
    const store = await make('swaps')
    const [one, two] = [Buffer.from('one'), Buffer.from('two')]
    await expect(store.put(target('s', { if: { etag: md5(one) } }), content(two))).rejects.toEqual(fails('OBJECT_EXISTS'))
    await store.put(target('s'), content(one))
    await expect(store.put(target('s', { if: { etag: md5(two) } }), content(two))).rejects.toEqual(fails('OBJECT_EXISTS'))
    await store.put(target('s', { if: { etag: md5(one) } }), content(two))
    expect(await store.remove('s', md5(one))).toBe(false)
    expect(await bytesIn(await store.read(all('s')))).toEqual(two)
    expect(await store.remove('s', md5(two))).toBe(true)
    expect(await store.head(newest('s'))).toBeNull()
    expect(await store.remove('s', md5(two))).toBe(false)
  })

  it('a reader of an object that was overwritten is told so', async () => {
    const store = await make('changes')
    await store.put(target('c'), content(Buffer.from('one')))
    const meant = { ...newest('c'), etag: md5(Buffer.from('one')), range: { from: 0, to: 1 } }
    expect(await bytesIn(await store.read(meant))).toEqual(Buffer.from('on'))
    await store.put(target('c'), content(Buffer.from('two')))
    await expect(store.read(meant)).rejects.toEqual(fails('OBJECT_CHANGED'))
  })

  it('refuses bytes that are not the ones announced', async () => {
    const store = await make('corrupt')
    const lie = { bytes: Buffer.from('one'), sha256: sha256(Buffer.from('two')) }
    await expect(store.put(target('c'), lie)).rejects.toEqual(fails('OBJECT_CORRUPT'))
    expect(await store.head(newest('c'))).toBeNull()
  })
}

export function objectLists(make: MakeStore): void {
  it('lists by prefix, after a key, in the order of bytes, each key once', async () => {
    const store = await make('lists')
    expect(await keysIn(store)).toEqual([])
    const keys = ['b', 'a/1', 'a/2', 'a-1', 'a0', 'A', 'a/é', 'a/z', 'ab/c/d', 'zz']
    await Promise.all(keys.map((key) => store.put(target(key), content(Buffer.from(key)))))
    const sorted = keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    const listed = await keysIn(store)
    expect(listed.map(({ key }) => key)).toEqual(sorted)
    for (const one of listed) expect(one).toMatchObject({ size: Buffer.byteLength(one.key), etag: md5(Buffer.from(one.key)) })
    expect((await keysIn(store, 'a/')).map(({ key }) => key)).toEqual(['a/1', 'a/2', 'a/z', 'a/é'])
    for (const after of [...sorted, 'a/', 'a/15', '', 'zzz']) {
      const expected = sorted.filter((key) => Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0)
      expect((await keysIn(store, '', after)).map(({ key }) => key)).toEqual(expected)
    }
  })

  it('lists more than a page', async () => {
    const store = await make('pages')
    const keys = Array.from({ length: 1_103 }, (_, i) => `p/${String(i).padStart(5, '0')}`)
    for (let at = 0; at < keys.length; at += 32) {
      await Promise.all(keys.slice(at, at + 32).map((key) => store.put(target(key), content(Buffer.from('x')))))
    }
    expect((await keysIn(store, 'p/')).map(({ key }) => key)).toEqual(keys)
    expect((await keysIn(store, 'p/', 'p/01050')).map(({ key }) => key)).toEqual(keys.slice(1_051))
  })
}

export function objectUploads(make: MakeStore): void {
  it('an upload in parts is invisible until it is finished, and then has headers, metadata and tags', async () => {
    const store = await make('uploads')
    const bytes = bytesOf(random(), 2 * PART + 1_234)
    const said = target('up/big', { if: 'absent', headers: { 'content-type': 'a/b' }, metadata: { m: '1' }, tags: { t: 'x' } })
    const upload = await store.uploads.begin(said, 'sent')
    const parts = await Promise.all([2, 1, 0].map((n) => upload.part(n + 1, content(bytes.subarray(n * PART, (n + 1) * PART)))))
    expect(await store.head(newest('up/big'))).toBeNull()
    expect(await keysIn(store)).toEqual([])
    const again = (await store.uploads.resume(said, upload.id))!
    expect(again.parts.map(({ number, size, etag }) => ({ number, size, etag }))).toEqual(
      parts.toReversed().map(({ number, size, etag }) => ({ number, size, etag })))
    const written = await again.finish(again.parts)
    expect(written.etag).toBe(partsEtag(bytes, PART))
    const { if: _, ...described } = said
    expect(await store.head(newest('up/big'))).toMatchObject({ ...described, size: bytes.length, etag: partsEtag(bytes, PART) })
    expect((await bytesIn(await store.read(all('up/big')))).equals(bytes)).toBe(true)
    expect(await store.uploads.resume(said, upload.id)).toBeNull()
  })

  it('a create-only upload loses to an object that came meanwhile', async () => {
    const store = await make('late')
    const upload = await store.uploads.begin(target('l', { if: 'absent' }), 'sent')
    const part = await upload.part(1, content(Buffer.from('mine')))
    await store.put(target('l'), content(Buffer.from('theirs')))
    await expect(upload.finish([part])).rejects.toEqual(fails('OBJECT_EXISTS'))
    expect(await bytesIn(await store.read(all('l')))).toEqual(Buffer.from('theirs'))
  })

  it('parts are copied within the place, and an open upload is listed until it is aborted', async () => {
    const [store, other] = [await make('parts'), await make('whole-ones')]
    const bytes = bytesOf(random(), PART + 100)
    const { etag } = await other.put(target('w'), content(bytes))
    const said = target('dir/p')
    const upload = await store.uploads.begin(said, 'copied')
    const ranges = [{ from: 0, to: PART - 1 }, { from: PART, to: bytes.length - 1 }]
    const parts = await Promise.all(ranges.map((range, i) =>
      upload.part(i + 1, { stored: { ...newest('w'), bucket: other.bucket, etag, range } })))
    expect(parts.map((part) => part.etag)).toEqual([md5(bytes.subarray(0, PART)), md5(bytes.subarray(PART))])
    await upload.finish(parts)
    expect((await bytesIn(await store.read(all('dir/p')))).equals(bytes)).toBe(true)
    const open = await store.uploads.begin(said, 'sent')
    await open.part(1, content(Buffer.from('x')))
    const listed = await openIn(store, 'dir/')
    expect(listed).toEqual([{ key: 'dir/p', id: open.id, begun: expect.closeTo(Date.now(), -5) }])
    expect(await openIn(store, 'other/')).toEqual([])
    await store.uploads.abort('dir/p', open.id)
    await store.uploads.abort('dir/p', open.id)
    expect(await openIn(store, '')).toEqual([])
    expect(await store.uploads.resume(said, open.id)).toBeNull()
    await expect(open.part(2, content(Buffer.from('y')))).rejects.toEqual(fails('OBJECT_MISSING'))
  })
}

export function hostileKeys(make: MakeStore, keys: readonly string[] = HOSTILE_KEYS): void {
  it('keys are exact bytes, and all of them can be there together', async () => {
    const store = await make('hostile')
    for (const key of keys) await store.put(target(key, { if: 'absent' }), content(Buffer.from(`at ${key}`)))
    for (const key of keys) {
      expect((await bytesIn(await store.read(all(key)))).toString(), JSON.stringify(key)).toBe(`at ${key}`)
      const stored = { ...newest(key), bucket: store.bucket, etag: md5(Buffer.from(`at ${key}`)), range: null }
      await store.put(target('copies/1'), { stored })
      expect((await bytesIn(await store.read(all('copies/1')))).toString(), JSON.stringify(key)).toBe(`at ${key}`)
    }
    const listed = (await keysIn(store)).map(({ key }) => key).filter((key) => !key.startsWith('copies/'))
    expect(listed).toEqual(keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))))
    for (const key of keys) expect(await store.remove(key, md5(Buffer.from(`at ${key}`))), JSON.stringify(key)).toBe(true)
    expect(await keysIn(store, '', 'copies0')).toEqual([])
  })

  it('refuses keys that no store takes', async () => {
    const store = await make('refused')
    for (const key of ['', 'k'.repeat(1_025), 'a\ud800']) {
      await expect(store.put(target(key), content(Buffer.from('x')))).rejects.toEqual(fails('OBJECT_REFUSED'))
      await expect(store.head(newest(key))).rejects.toEqual(fails('OBJECT_REFUSED'))
    }
  })
}

const VALUES: Record<(typeof CONTENT_HEADERS)[number], string> = {
  'cache-control': 'max-age=60, private', 'content-disposition': 'attachment; filename="a b.txt"', 'content-encoding': 'gzip',
  'content-language': 'de-CH', 'content-type': 'text/plain; charset=utf-8', expires: 'Thu, 01 Dec 2033 16:00:00 GMT',
}

async function openIn(store: ObjectStore, prefix: string) {
  const found = []
  for await (const page of store.uploads.list(prefix)) found.push(...page)
  return found
}

async function* chunksOf(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}
