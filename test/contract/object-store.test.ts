import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe } from 'vitest'
import { folderStore } from '../../connectors/folder/store.ts'
import { hostileKeys, objectConditions, objectLists, objectUploads, wholeObjects } from '../support/object-contract.ts'

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
