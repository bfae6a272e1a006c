import { createHash } from 'node:crypto'
import {
  CreateBucketCommand, GetObjectAclCommand, HeadObjectCommand, PutObjectCommand, PutObjectLockConfigurationCommand, RestoreObjectCommand,
  type PutObjectCommandInput, type S3Client,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openS3Store } from '../../connectors/s3/store.ts'
import { copyObject } from '../../src/mirror/copy.ts'
import type { ObjectStore } from '../../src/ports.ts'
import { checkStores } from '../../src/prepare/check-objects.ts'
import { clientFor, newBucket, optionsFor } from '../support/buckets.ts'
import { between, requestFor } from '../support/copying.ts'
import { bytesAt } from '../support/object-sides.ts'
import { bytesOf, content, md5, target } from '../support/objects.ts'
import { random } from '../support/random.ts'
import { errorBody, startS3Proxy } from '../support/s3-proxy.ts'
import { startMoto } from '../support/services/moto.ts'
import type { S3 } from '../support/services/s3.ts'

/** What only some servers know: archives, locks, encryption by key, access lists. Two servers, as two regions would be. */
let servers: readonly [S3, S3]
let client: S3Client
let made = 0
beforeAll(async () => {
  servers = await Promise.all([startMoto(), startMoto()])
  client = clientFor(servers[0])
}, 300_000)
afterAll(async () => {
  client.destroy()
  await Promise.all(servers.map((server) => server.stop()))
})

interface Sides {
  readonly bucket: string
  readonly source: ObjectStore
  readonly near: ObjectStore
  readonly far: ObjectStore
}

/** A bucket on each server, and a second one beside the first. */
async function sides(): Promise<Sides> {
  const bucket = `particular-${++made}`
  return {
    bucket, source: await newBucket(servers[0], bucket), near: await newBucket(servers[0], `${bucket}-near`), far: await newBucket(servers[1], bucket),
  }
}

const put = (bucket: string, Key: string, more: Partial<PutObjectCommandInput>) =>
  client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: Buffer.from('x'), ContentMD5: createHash('md5').update('x').digest('base64'), ...more }))

const told = (name: string) => ({ what: 'particular', name })

describe('an object in an archive', () => {
  it.each(['GLACIER', 'DEEP_ARCHIVE'] as const)('%s: is refused with the code of the store, and copied when it was restored', async (StorageClass) => {
    const { bucket, source, near, far } = await sides()
    await put(bucket, 'key', { StorageClass })
    for (const to of [near, far]) {
      await expect(copyObject(requestFor('key', 'to'), between(source, to))).rejects.toMatchObject({ code: 'OBJECT_REFUSED', exit: 5 })
      expect(await to.head({ key: 'to', version: null })).toBeNull()
    }
    await client.send(new RestoreObjectCommand({ Bucket: bucket, Key: 'key', RestoreRequest: { Days: 1 } }))
    for (const to of [near, far]) {
      expect(await copyObject(requestFor('key', 'to'), between(source, to))).toMatchObject({ lost: [told('storage-class')] })
      expect((await bytesAt(to, 'to')).toString()).toBe('x')
    }
  })

  it('another storage class is read like any other, and told as not carried', async () => {
    const { bucket, source, far } = await sides()
    await put(bucket, 'key', { StorageClass: 'STANDARD_IA' })
    expect(await copyObject(requestFor('key', 'to'), between(source, far))).toMatchObject({ lost: [told('storage-class')] })
  })
})

describe('an object under lock', () => {
  const until = new Date(Date.now() + 3_600_000)
  const lockable = async (retention: boolean): Promise<{ bucket: string; store: ObjectStore }> => {
    const bucket = `locked-${++made}`
    await client.send(new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: true }))
    const Rule = { DefaultRetention: { Mode: 'GOVERNANCE' as const, Days: 1 } }
    if (retention) {
      await client.send(new PutObjectLockConfigurationCommand({ Bucket: bucket, ObjectLockConfiguration: { ObjectLockEnabled: 'Enabled', Rule } }))
    }
    return { bucket, store: await openS3Store(optionsFor(servers[0], bucket)) }
  }

  it('is copied without its lock, which is told', async () => {
    const { bucket, store } = await lockable(false)
    const { far } = await sides()
    await put(bucket, 'kept', { ObjectLockMode: 'GOVERNANCE', ObjectLockRetainUntilDate: until })
    await put(bucket, 'held', { ObjectLockLegalHoldStatus: 'ON' })
    expect(await copyObject(requestFor('kept', 'kept'), between(store, far))).toMatchObject({ lost: [told('lock-mode')] })
    expect(await copyObject(requestFor('held', 'held'), between(store, far))).toMatchObject({ lost: [told('legal-hold')] })
  })

  it('a bucket that locks what is written takes copies; a newer one replaces, a removal hides, and no version goes', async () => {
    const { bucket, store } = await lockable(true)
    const { far: source } = await sides()
    await source.put(target('key'), content(Buffer.from('one')))
    await copyObject(requestFor('key', 'key'), between(source, store))
    const first = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: 'key' }))
    expect(first.ObjectLockMode).toBe('GOVERNANCE')
    await source.put(target('key'), content(Buffer.from('two')))
    await copyObject(requestFor('key', 'key'), between(source, store))
    expect(await store.remove('key', md5(Buffer.from('two')))).toBe(true)
    expect(await store.head({ key: 'key', version: null })).toBeNull()
    const old = await store.read({ key: 'key', version: first.VersionId!, etag: null, range: null })
    for await (const bytes of old.body) expect(Buffer.from(bytes).toString()).toBe('one')
  })
})

describe('encryption', () => {
  const key = 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'
  it.each([['AES256', null], ['aws:kms', key], ['aws:kms:dsse', null]] as const)('%s is asked for in every way of writing', async (mode, keyId) => {
    const { source, bucket } = await sides()
    const store = await openS3Store({ ...optionsFor(servers[0], bucket), encryption: { mode, key: keyId } })
    // The first write of a client goes the SDK's way, later ones do not.
    for (const name of ['first', 'later']) await store.put(target(name), content(Buffer.from(name)))
    const stored = { key: 'first', version: null, bucket, etag: md5(Buffer.from('first')), range: null }
    await store.put(target('copied'), { stored })
    const bytes = bytesOf(random(), 300_000)
    await store.put(target('streamed'), { stream: (async function* () { yield bytes })(), size: bytes.length, md5: md5(bytes) })
    const upload = await store.uploads.begin(target('parts'), 'sent')
    await upload.finish([await upload.part(1, content(bytes))])
    for (const name of ['first', 'later', 'copied', 'streamed', 'parts']) {
      const said = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: name }))
      expect([name, said.ServerSideEncryption, said.SSEKMSKeyId ?? null]).toEqual([name, mode, keyId])
    }
    await source.put(target('plain'), content(Buffer.from('plain')))
    const plain = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: 'plain' }))
    expect(plain.SSEKMSKeyId).toBeUndefined()
  })

  it('by a key of the source is told as not carried, and its ETag is not believed', async () => {
    const { bucket, source, far } = await sides()
    await put(bucket, 'key', { ServerSideEncryption: 'aws:kms', SSEKMSKeyId: key })
    const copied = await copyObject(requestFor('key', 'to', { verify: 2 }), between(source, far))
    expect(copied.lost).toContainEqual(told('encryption'))
    expect(copied.evidence).toBeGreaterThanOrEqual(2)
  })

  it('by a customer’s own key (SSE-C) is refused, as S3 answers it: there is no key to read it with', async () => {
    const { bucket, source, far } = await sides()
    await source.put(target('key'), content(Buffer.from('x')))
    const proxy = await startS3Proxy(servers[0], random())
    proxy.rules = [{ accident: { answer: 400, body: errorBody('InvalidRequest') } }]
    const store = await openS3Store(optionsFor({ ...servers[0], url: proxy.url }, bucket))
    await expect(copyObject(requestFor('key', 'to'), between(store, far))).rejects.toMatchObject({ code: 'OBJECT_REFUSED', exit: 5 })
    expect(await far.head({ key: 'to', version: null })).toBeNull()
    await proxy.close()
  })
})

it('an access list is not carried: a copy has what the bucket gives, and the check says so', async () => {
  const { bucket, source, near } = await sides()
  await put(bucket, 'key', { ACL: 'public-read' })
  await copyObject(requestFor('key', 'to'), between(source, near))
  const grants = async (Bucket: string, Key: string) => (await client.send(new GetObjectAclCommand({ Bucket, Key }))).Grants?.length
  expect([await grants(bucket, 'key'), await grants(`${bucket}-near`, 'to')]).toEqual([2, 1])
  const rules = [{ name: 'main', to: 'main', keys: [], sweep: [] }]
  const findings = await checkStores({ rules, source: () => source, destination: () => near, hasAccessLists: () => true })
  expect(findings).toMatchObject([{ group: 'objects', severity: 'info', code: 'NOT_CARRIED', subject: 'source store main' }])
})
