import type { Checksum, ObjectName } from './object.ts'

/**
 * What to do when the destination key holds another object that this pipeline did not write. What it did write itself is replaced when
 * the source has changed, whatever this says.
 */
export type OnExisting = 'fail' | 'keep' | 'overwrite'

/** 1: size and ETag. 2: SHA-256 of both sides. 3: the copy was read back and hashed. 0: only that the store said it was written. */
export type Evidence = 0 | 1 | 2 | 3

/** An upload in parts as a job remembers it, so that another process can go on with it. */
export interface BegunUpload {
  readonly id: string
  readonly partSize: number
  /** The bytes that it is made of: a source with another ETag needs a new upload. */
  readonly sourceEtag: string
}

/** One object to copy. */
export interface CopyRequest {
  readonly from: ObjectName
  /** Destination key. */
  readonly to: string
  /** Name of the pipeline: stored with what it writes (`rekey-run`), and how it knows its own objects again. */
  readonly run: string
  readonly existing: OnExisting
  /** The evidence asked for; where the stores cannot give it more cheaply, the copy is read back. */
  readonly verify: 1 | 2 | 3
  /** keep: large objects are copied in the parts of the source, or in one piece where it was written in one. free: whatever is fastest. */
  readonly etags: 'keep' | 'free'
  /** Bytes of the source as a listing showed them, or null: it spares a request where it is right. */
  readonly size: number | null
  /** What an earlier try of the job left behind. */
  readonly begun: BegunUpload | null
}

/** Something that the source object has and its copy has not. */
export interface Loss {
  readonly what: 'etag' | 'tags' | 'metadata' | 'particular' | 'mark'
  /** Names only (of a header, a tag, a setting), never values. */
  readonly name: string
}

/** How a copy came about: already there · kept as it was · by the store, whole or in parts · through this process, whole or in parts. */
export type CopyPath = 'present' | 'kept' | 'store' | 'store-parts' | 'whole' | 'parts'

/** What is true after a copy. */
export interface Copied {
  readonly path: CopyPath
  /** The source as it was copied: its newest version at that time. */
  readonly source: { readonly size: number; readonly etag: string; readonly version: string | null }
  readonly destination: { readonly etag: string; readonly version: string | null }
  /** SHA-256 of the bytes, by us or by the store; null where evidence 1 was had without one, and for path `kept`. */
  readonly checksum: Checksum | null
  readonly evidence: Evidence
  readonly lost: readonly Loss[]
}
