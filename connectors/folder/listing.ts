import type { Dirent } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { ListedObject } from '../../src/core/objects/object.ts'
import { ifThere } from './files.ts'
import { bytesOf } from './names.ts'
import { pathsOf, readRecord } from './record.ts'

const PAGE = 1_000

interface Entry {
  readonly bytes: Buffer
  readonly folder: string | null
}

/** Pages of the keys with this prefix above `after`, in the order of their bytes. Folders that can hold none are not opened. */
export async function* list(root: string, prefix: string, after: string | null): AsyncGenerator<readonly ListedObject[]> {
  let page: ListedObject[] = []
  const range = { prefix: Buffer.from(prefix), after: after === null ? null : Buffer.from(after) }
  for await (const key of walk(join(root, 'objects'), Buffer.alloc(0), range)) {
    const record = await readRecord(pathsOf(root, key))
    if (!record) continue
    page.push({ key, size: record.size, etag: record.etag, modified: record.modified })
    if (page.length < PAGE) continue
    yield page
    page = []
  }
  if (page.length > 0) yield page
}

interface Range {
  readonly prefix: Buffer
  readonly after: Buffer | null
}

async function* walk(path: string, base: Buffer, range: Range): AsyncGenerator<string> {
  const entries = (await ifThere(readdir(path, { withFileTypes: true })) ?? []).flatMap(entryOf)
  // A folder's keys all begin with its bytes, and no other entry's bytes do: so the order of the entries is the order of the keys.
  entries.sort((a, b) => Buffer.compare(a.bytes, b.bytes))
  for (const { bytes, folder } of entries) {
    const key = Buffer.concat([base, bytes])
    if (folder === null) {
      const wanted = startsWith(key, range.prefix) && (range.after === null || Buffer.compare(key, range.after) > 0)
      if (wanted) yield key.toString('utf8')
    } else if (mayHold(key, range)) {
      yield* walk(join(path, folder), key, range)
    }
  }
}

function entryOf(entry: Dirent): Entry[] {
  const folder = entry.isDirectory()
  if (!folder && !entry.name.endsWith('=')) return []
  const bytes = bytesOf(folder ? entry.name : entry.name.slice(0, -1), folder)
  return bytes ? [{ bytes, folder: folder ? entry.name : null }] : []
}

const startsWith = (bytes: Buffer, prefix: Buffer): boolean => bytes.subarray(0, prefix.length).equals(prefix)

function mayHold(base: Buffer, { prefix, after }: Range): boolean {
  const near = base.length < prefix.length ? startsWith(prefix, base) : startsWith(base, prefix)
  return near && (after === null || startsWith(after, base) || Buffer.compare(base, after) > 0)
}
