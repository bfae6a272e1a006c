import { hash } from 'node:crypto'
import type { Checksum, ObjectInfo, ObjectTarget, WriteIf, Written } from '../core/objects/object.ts'
import type { BegunUpload, Copied, CopyPath, CopyRequest, Evidence, Loss } from '../core/objects/copy.ts'
import { aboutText, lossesOf, marked } from '../core/objects/marks.ts'
import type { ObjectStore } from '../ports.ts'
import type { Budget } from './budget.ts'

export interface CopyContext {
  readonly from: ObjectStore
  readonly to: ObjectStore
  readonly budget: Budget
  /** Parts of one object under way at a time. */
  readonly ranges: number
  /** Told of an upload in parts as soon as it exists, and with null when it is no more: whoever remembers it can have it resumed. */
  readonly begun: (upload: BegunUpload | null) => Promise<void> | void
  readonly signal: AbortSignal
}

/** An object on its way: what is asked, with what, and the source as it was when the copy began. */
export interface Copying extends CopyContext {
  readonly request: CopyRequest
  readonly source: ObjectInfo
}

export const bytesOf = ({ size, etag, version }: ObjectInfo): Copied['source'] => ({ size, etag, version })

/** Told apart from what it was before, and short enough for metadata. */
export const aboutOf = (source: ObjectInfo): string => hash('sha256', aboutText(source)).slice(0, 16)

/** The object to be written: all that the source says of itself, and our marks. */
export function targetOf({ source, request }: Copying, condition: WriteIf, sha256: string | null): { target: ObjectTarget; lost: Loss[] } {
  const { metadata, lost } = marked(source, { run: request.run, about: aboutOf(source), sha256 })
  return { target: { key: request.to, if: condition, headers: source.headers, metadata, tags: source.tags ?? {} }, lost }
}

interface Made {
  readonly path: CopyPath
  readonly written: Written
  readonly checksum: Checksum | null
  readonly evidence: Evidence
  readonly lost: readonly Loss[]
}

export function copied({ source }: Copying, { path, written, checksum, evidence, lost }: Made): Copied {
  const { etag, version } = written
  return { path, source: bytesOf(source), destination: { etag, version }, checksum, evidence, lost: [...lost, ...lossesOf(source, etag)] }
}
