import { link, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { RekeyError } from '../../src/core/errors.ts'
import type { ObjectInfo, ObjectTarget, WriteIf, Written } from '../../src/core/objects/object.ts'
import { codeOf, failure, ifThere, syncFolder, unique, writeNew } from './files.ts'
import { placeOf } from './names.ts'

/**
 * What is kept of an object: a record (`<name>=`, JSON), which names the file with its bytes (`<data>,<name>`, beside it). Bytes are
 * never changed in place: a new object is a new file, and the record is put in place by one link or rename.
 */
export interface ObjectRecord extends Pick<ObjectTarget, 'headers' | 'metadata' | 'tags'> {
  readonly data: string
  readonly size: number
  readonly etag: string
  readonly sha256: string
  readonly partSize: number | null
  readonly modified: number
}

export interface Paths {
  readonly folder: string
  readonly record: string
  data(word: string): string
}

export function pathsOf(root: string, key: string): Paths {
  const { folders, name } = placeOf(key)
  const folder = join(root, 'objects', ...folders)
  return { folder, record: join(folder, `${name}=`), data: (word) => join(folder, `${word},${name}`) }
}

export async function readRecord(paths: Paths): Promise<ObjectRecord | null> {
  const text = await ifThere(readFile(paths.record, 'utf8'))
  return text === null ? null : JSON.parse(text) as ObjectRecord
}

export function infoOf(key: string, record: ObjectRecord): ObjectInfo {
  const { size, etag, sha256, modified, headers, metadata, tags, partSize } = record
  return { key, size, etag, sha256, modified, headers, metadata, tags, partSize, version: null, particulars: {} }
}

/** Puts a record in place whose bytes are on the disk already; removes them when the condition does not hold. */
export async function publish(paths: Paths, record: ObjectRecord, condition: WriteIf): Promise<Written> {
  const draft = join(paths.folder, `${unique()};`)
  try {
    await writeNew(draft, [Buffer.from(JSON.stringify(record))])
    const before = condition === 'absent' ? null : await readRecord(paths)
    if (typeof condition === 'object' && before?.etag !== condition.etag) throw existing()
    if (condition === 'absent') await link(draft, paths.record)
    else await rename(draft, paths.record)
    await syncFolder(paths.folder)
    if (before) await rm(paths.data(before.data), { force: true })
    return { etag: record.etag, version: null, sha256: record.sha256 }
  } catch (error) {
    await rm(paths.data(record.data), { force: true })
    throw codeOf(error) === 'EEXIST' ? existing() : failure(error)
  } finally {
    await rm(draft, { force: true })
  }
}

const existing = (): RekeyError => new RekeyError('OBJECT_EXISTS', 'the folder holds another object under this key')
