import { createReadStream } from 'node:fs'
import { constants, copyFile, open, rm } from 'node:fs/promises'
import { RekeyError } from '../../src/core/errors.ts'
import type { ObjectContent, ObjectRead, StoredBytes } from '../../src/ports.ts'
import { failure, writeNew, type Digests } from './files.ts'
import { pathsOf, readRecord, type ObjectRecord } from './record.ts'

/** Writes content as a new file. Resolves when it is on the disk; nothing is left of it when it is not what it was said to be. */
export async function store(path: string, content: ObjectContent): Promise<Digests> {
  if ('stored' in content) {
    const { file } = await find(content.stored.bucket, content.stored)
    const { range } = content.stored
    return writeNew(path, createReadStream(file, range ? { start: range.from, end: range.to } : {}))
  }
  const digests = await writeNew(path, 'bytes' in content ? [content.bytes] : content.stream)
  const right = 'bytes' in content
    ? digests.sha256 === content.sha256 : digests.size === content.size && digests.md5 === (content.md5 ?? digests.md5)
  if (right) return digests
  await rm(path, { force: true })
  throw new RekeyError('OBJECT_CORRUPT', 'the bytes are not the ones that were announced')
}

/** Another object's bytes, whole, by the file system: they may share their blocks. Resolves with its record when they are on the disk. */
export async function duplicate(path: string, from: StoredBytes): Promise<ObjectRecord> {
  const { record, file } = await find(from.bucket, from)
  try {
    await writeNew(path, [])
    await copyFile(file, path, constants.COPYFILE_FICLONE)
    const copy = await open(path, 'r+')
    await copy.sync().finally(() => copy.close())
    return record
  } catch (error) {
    await rm(path, { force: true })
    throw failure(error)
  }
}

/** The record of an object and the file with its bytes, which never change. */
export async function find(root: string, what: Omit<ObjectRead, 'range'>): Promise<{ record: ObjectRecord; file: string }> {
  const paths = pathsOf(root, what.key)
  const record = what.version === null ? await readRecord(paths) : null
  if (!record) throw new RekeyError('OBJECT_MISSING', 'the folder has no such object')
  if (what.etag !== null && record.etag !== what.etag) throw new RekeyError('OBJECT_CHANGED', 'the object is another by now')
  return { record, file: paths.data(record.data) }
}
