import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, readFile, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { RekeyError } from '../../src/core/errors.ts'
import type { ObjectTarget, OpenUpload, UploadedPart, Written } from '../../src/core/objects/object.ts'
import type { ObjectContent, ObjectUploads, Upload } from '../../src/ports.ts'
import { store } from './content.ts'
import { ifThere, unique, writeNew } from './files.ts'
import { named } from './names.ts'
import { pathsOf, publish } from './record.ts'
import type { Turns } from './turns.ts'

/** `uploads/<id>/begun` (JSON) and one file for each part, whose name says what is in it. */
export function folderUploads(root: string, inTurn: Turns): ObjectUploads {
  const folder = (id: string): string => join(root, 'uploads', id)
  const upload = (target: ObjectTarget, id: string, parts: readonly UploadedPart[]): Upload => ({
    id, parts,
    part: (number, content) => inTurn(`${id} ${number}`, () => addPart(folder(id), number, content)),
    finish: (list) => inTurn(target.key, () => finish({ root, folder: folder(id), target, parts: list })),
  })
  return {
    async begin(target) {
      const id = unique()
      const begun: OpenUpload = { key: named(target.key), id, begun: Date.now() }
      await writeNew(join(folder(id), 'begun'), [Buffer.from(JSON.stringify(begun))])
      return upload(target, id, [])
    },
    async resume(target, id) {
      const begun = await read(folder(id))
      return begun?.key === target.key ? upload(target, id, await partsIn(folder(id))) : null
    },
    abort: async (_, id) => {
      if (ID.test(id)) await rm(folder(id), { recursive: true, force: true })
    },
    async *list(prefix) {
      const ids = await ifThere(readdir(join(root, 'uploads'))) ?? []
      const all = await Promise.all(ids.map((id) => read(folder(id))))
      yield all.filter((one) => one !== null && one.key.startsWith(prefix)).map((one) => one!)
    },
  }
}

const ID = /^[0-9a-f]{32}$/

/** Null for an upload that is gone; an id from elsewhere never becomes a path. */
async function read(folder: string): Promise<OpenUpload | null> {
  if (!ID.test(basename(folder))) return null
  const text = await ifThere(readFile(join(folder, 'begun'), 'utf8'))
  return text === null ? null : JSON.parse(text) as OpenUpload
}

const nameOf = ({ number, size, etag, sha256 }: UploadedPart): string => `${String(number).padStart(5, '0')}-${size}-${etag}-${sha256}`

async function partsIn(folder: string): Promise<UploadedPart[]> {
  const names = await ifThere(readdir(folder)) ?? []
  return names.toSorted().flatMap((name) => {
    const [, number, size, etag, sha256] = /^(\d{5})-(\d+)-([0-9a-f]{32})-([0-9a-f]{64})$/.exec(name) ?? []
    return number ? [{ number: Number(number), size: Number(size), etag, sha256 }] : []
  })
}

async function addPart(folder: string, number: number, content: ObjectContent): Promise<UploadedPart> {
  if (!await read(folder)) throw gone()
  const draft = join(folder, `${unique()};`)
  const { size, md5, sha256 } = await store(draft, content)
  for (const other of await partsIn(folder)) {
    if (other.number === number) await rm(join(folder, nameOf(other)), { force: true })
  }
  const part = { number, size, etag: md5, sha256 }
  await rename(draft, join(folder, nameOf(part)))
  return part
}

interface Finish {
  readonly root: string
  readonly folder: string
  readonly target: ObjectTarget
  readonly parts: readonly UploadedPart[]
}

/** The ETag and the SHA-256 of an object in parts are digests of the parts' digests, and their number: as S3 makes them. */
async function finish({ root, folder, target, parts }: Finish): Promise<Written> {
  if (!await read(folder)) throw gone()
  const there = new Set((await partsIn(folder)).map(nameOf))
  if (parts.length === 0 || parts.some((part) => !there.has(nameOf(part)))) {
    throw new RekeyError('OBJECT_CORRUPT', 'the upload has other parts than it was to be finished with')
  }
  const paths = pathsOf(root, target.key)
  const data = unique()
  const { size } = await writeNew(paths.data(data), bytesOf(parts.map((part) => join(folder, nameOf(part)))))
  const digest = (algorithm: string, hex: readonly string[]): string =>
    `${createHash(algorithm).update(Buffer.from(hex.join(''), 'hex')).digest('hex')}-${parts.length}`
  const written = await publish(paths, {
    data, size, etag: digest('md5', parts.map((part) => part.etag)), sha256: digest('sha256', parts.map((part) => part.sha256 ?? '')),
    partSize: parts[0].size, modified: Date.now(), headers: target.headers, metadata: target.metadata, tags: target.tags,
  }, target.if)
  await rm(folder, { recursive: true, force: true })
  return written
}

async function* bytesOf(files: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const file of files) yield* createReadStream(file) as AsyncIterable<Uint8Array>
}

const gone = (): RekeyError => new RekeyError('OBJECT_MISSING', 'the upload was finished or aborted')
