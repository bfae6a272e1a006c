import { open, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { RekeyError } from '../../src/core/errors.ts'
import type { ObjectInfo, ObjectName, ObjectTarget, Written } from '../../src/core/objects/object.ts'
import type { ObjectBody, ObjectContent, ObjectRead, ObjectStore } from '../../src/ports.ts'
import { duplicate, find, store } from './content.ts'
import { codeOf, failure, syncFolder, unique } from './files.ts'
import { list } from './listing.ts'
import { named } from './names.ts'
import { infoOf, pathsOf, publish, readRecord, type ObjectRecord } from './record.ts'
import { turns } from './turns.ts'
import { folderUploads } from './uploads.ts'

/**
 * A store in a folder. Several processes may use it: whether a key is free is decided by the file system. To replace or remove an object
 * only if it is a certain one is decided among the callers of one process alone.
 */
export function folderStore(path: string): ObjectStore {
  const root = resolve(path)
  const inTurn = turns()
  const one: ObjectStore = {
    place: 'folder', bucket: root,
    uploads: folderUploads(root, inTurn),
    async head({ key, version }: ObjectName): Promise<ObjectInfo | null> {
      const record = version === null ? await readRecord(pathsOf(root, named(key))) : null
      return record && infoOf(key, record)
    },
    async read(what: ObjectRead): Promise<ObjectBody> {
      const { record, file } = await find(root, { ...what, key: named(what.key) })
      const info = infoOf(what.key, record)
      try {
        const handle = await open(file, 'r')
        const body = handle.createReadStream(what.range ? { start: what.range.from, end: what.range.to } : {})
        return { info, body, cancel: () => void body.destroy() }
      } catch (error) {
        // The record was read just before another took its place.
        throw codeOf(error) === 'ENOENT' ? new RekeyError('OBJECT_CHANGED', 'the object is another by now') : failure(error)
      }
    },
    list: (prefix, after) => list(root, prefix, after),
    async put(target: ObjectTarget, content: ObjectContent): Promise<Written> {
      const paths = pathsOf(root, named(target.key))
      const data = unique()
      const { headers, metadata, tags } = target
      const bytes = await bytesFor(paths.data(data), content)
      const record = { ...bytes, data, modified: Date.now(), headers, metadata, tags }
      return inTurn(target.key, () => publish(paths, record, target.if))
    },
    remove: (key, etag) => inTurn(key, async () => {
      const paths = pathsOf(root, named(key))
      const record = await readRecord(paths)
      if (record?.etag !== etag) return false
      await rm(paths.record)
      await syncFolder(paths.folder)
      await rm(paths.data(record.data), { force: true })
      return true
    }),
  }
  return one
}

type BytesRecord = Pick<ObjectRecord, 'size' | 'etag' | 'sha256' | 'partSize'>

async function bytesFor(path: string, content: ObjectContent): Promise<BytesRecord> {
  if ('stored' in content && content.stored.range === null) {
    const { size, etag, sha256, partSize } = await duplicate(path, content.stored)
    return { size, etag, sha256, partSize }
  }
  const { size, md5, sha256 } = await store(path, content)
  return { size, etag: md5, sha256, partSize: null }
}
