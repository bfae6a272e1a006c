import { createHash, randomBytes } from 'node:crypto'
import { mkdir, open, rm, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { RekeyError } from '../../src/core/errors.ts'

/** A word that nothing else has. */
export const unique = (): string => randomBytes(16).toString('hex')

/** Code of a failed system call, such as ENOENT. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined
}

/** Resolves with null where there is no such file. */
export async function ifThere<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return null
    throw failure(error)
  }
}

/** Full disks and broken ones are tried again, as an operator may mend them; what is forbidden is for the operator at once. */
export function failure(error: unknown): unknown {
  const code = codeOf(error)
  if (error instanceof RekeyError || !code) return error
  const refused = ['EACCES', 'EPERM', 'EROFS', 'ENAMETOOLONG'].includes(code)
  return new RekeyError(refused ? 'OBJECT_REFUSED' : 'REMOTE', `the folder answered ${code}`, { cause: error })
}

export interface Digests {
  readonly size: number
  /** Hex. */
  readonly md5: string
  readonly sha256: string
}

/** Writes a new file, making its folder, and resolves when it is on the disk. Nothing is left of it when the bytes fail. */
export async function writeNew(path: string, chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Digests> {
  const file = await create(path)
  try {
    const md5 = createHash('md5')
    const sha256 = createHash('sha256')
    let size = 0
    for await (const chunk of chunks) {
      await whole(file, chunk)
      md5.update(chunk)
      sha256.update(chunk)
      size += chunk.length
    }
    await file.sync()
    return { size, md5: md5.digest('hex'), sha256: sha256.digest('hex') }
  } catch (error) {
    await rm(path, { force: true })
    throw failure(error)
  } finally {
    await file.close()
  }
}

async function create(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'wx')
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw failure(error)
    await makeFolder(dirname(path))
    return open(path, 'wx')
  }
}

/** Each folder that is made lasts when the one that it is in is on the disk. */
async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true })
  if (first === undefined) return
  for (let at = path; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at))
}

async function whole(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length;) at += (await file.write(chunk, at)).bytesWritten
}

/** A name in a folder lasts when the folder itself is on the disk. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
