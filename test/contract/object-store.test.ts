import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe } from 'vitest'
import { folderStore } from '../../connectors/folder/store.ts'
import { newBucket } from '../support/buckets.ts'
import { hostileKeys, objectConditions, objectLists, objectUploads, wholeObjects } from '../support/object-contract.ts'
import { HOSTILE_KEYS } from '../support/objects.ts'
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
})

describe('an S3 server that takes every key', () => {
  let server: S3
  beforeAll(async () => { server = await startMoto() }, 300_000)
  afterAll(() => server.stop())

  const make = (bucket: string) => newBucket(server, bucket)
  // Its routes are regular expressions whose dot is no newline: it answers 404 to such a key.
  hostileKeys(make, HOSTILE_KEYS.filter((key) => !key.includes('\n')))
})
