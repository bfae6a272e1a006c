import { RekeyError } from '../core/errors.ts'
import type { Checksum } from '../core/objects/object.ts'
import type { ObjectStore } from '../ports.ts'
import { checksumOf } from './digest.ts'

/** A copy as its job has it. `algorithm`: `sha256`, or `sha256-<parts>x<part size>`. */
export interface RecordedCopy {
  readonly id: string
  readonly store: string
  readonly key: string
  readonly to: string
  readonly newKey: string | null
  readonly size: number | null
  readonly source: { readonly etag: string | null }
  readonly destination: { readonly etag: string | null }
  readonly algorithm: string | null
  readonly checksum: string | null
}

/**
 * MISSING: not at the destination. CHANGED: another object is there. SIZE, CHECKSUM: its bytes are not those that were copied. UNPROVEN:
 * no checksum was recorded that could be compared. SOURCE_CHANGED, SOURCE_MISSING: the source has moved on since.
 */
export type CopyProblem = 'MISSING' | 'CHANGED' | 'SIZE' | 'CHECKSUM' | 'UNPROVEN' | 'SOURCE_CHANGED' | 'SOURCE_MISSING'

export interface FoundProblem {
  readonly id: string
  readonly key: string
  readonly newKey: string
  readonly problem: CopyProblem
}

export interface VerifyOptions {
  readonly source: (store: string) => ObjectStore
  readonly destination: (store: string) => ObjectStore
  /** 1: size and ETag of the copy. 2: the source's ETag, and the checksum that the store keeps, too. 3: every copy is read and hashed. */
  readonly level: 1 | 2 | 3
  readonly workers: number
  readonly onChecked: (objects: number, bytes: number) => void
}

/** Checks copies against what was recorded of them, several at once, in pages. Rejects when a store does not answer. */
export async function verifyObjects(pages: AsyncIterable<readonly RecordedCopy[]>, options: VerifyOptions): Promise<FoundProblem[]> {
  const found: FoundProblem[] = []
  for await (const page of pages) {
    const open = [...page]
    const worker = async (): Promise<void> => {
      for (let copy = open.shift(); copy; copy = open.shift()) {
        const problem = await problemOf(copy, options)
        if (problem !== null) found.push({ id: copy.id, key: copy.key, newKey: copy.newKey!, problem })
        options.onChecked(1, copy.size ?? 0)
      }
    }
    await Promise.all(Array.from({ length: options.workers }, worker))
  }
  return found
}

async function problemOf(copy: RecordedCopy, { source, destination, level }: VerifyOptions): Promise<CopyProblem | null> {
  const store = destination(copy.to)
  const there = await store.head({ key: copy.newKey!, version: null })
  if (there === null) return 'MISSING'
  if (copy.size !== null && there.size !== copy.size) return 'SIZE'
  if (there.etag !== copy.destination.etag) return 'CHANGED'
  if (level === 1) return null
  const here = await source(copy.store).head({ key: copy.key, version: null })
  if (here === null) return 'SOURCE_MISSING'
  if (here.etag !== copy.source.etag) return 'SOURCE_CHANGED'
  const recorded = recordedOf(copy)
  if (recorded === null) return 'UNPROVEN'
  if (level === 2 && there.sha256 !== null) return there.sha256.split('-')[0] === recorded.sha256 ? null : 'CHECKSUM'
  try {
    const { body } = await store.read({ key: copy.newKey!, version: null, etag: there.etag, range: null })
    const { sha256 } = await checksumOf(body, there.size, recorded.parts)
    return sha256 === recorded.sha256 ? null : 'CHECKSUM'
  } catch (error) {
    if (!(error instanceof RekeyError)) throw error
    if (error.code === 'OBJECT_CORRUPT') return 'CHECKSUM'
    if (error.code === 'OBJECT_MISSING') return 'MISSING'
    if (error.code === 'OBJECT_CHANGED') return 'CHANGED'
    throw error
  }
}

function recordedOf({ algorithm, checksum }: RecordedCopy): Checksum | null {
  if (algorithm === null || checksum === null) return null
  const [, count, partSize] = /^sha256-(\d+)x(\d+)$/.exec(algorithm) ?? []
  return { sha256: checksum, parts: count === undefined ? null : { count: Number(count), partSize: Number(partSize) } }
}
