import { etagMeans } from './objects/object.ts'

const MiB = 2 ** 20
const GiB = 2 ** 30

/** What S3 takes (User Guide, "Amazon S3 multipart upload limits", and CopyObject). Bytes. */
export const LIMITS = { whole: 5 * GiB, part: 5 * GiB, leastPart: 5 * MiB, parts: 10_000 } as const

/** Up to this an object is held in memory and its digest is known before it is written. */
export const IN_MEMORY = 16 * MiB

/** Parts up to this are held in memory; larger ones flow through. */
export const PART_IN_MEMORY = 64 * MiB

/**
 * How an object gets from one store to another.
 * - store: by one request of the store. store-parts: the same by parts.
 * - whole: read once, written by one request; `streams` where it is too large for memory.
 * - parts: ranges are read and written as parts.
 */
export type Way =
  | { readonly path: 'store' }
  | { readonly path: 'whole'; readonly streams: boolean }
  | { readonly path: 'store-parts' | 'parts'; readonly partSize: number; readonly parts: number }

export interface WayOptions {
  /** Both sides are one store. */
  readonly near: boolean
  readonly etags: 'keep' | 'free'
}

interface Source {
  readonly size: number
  readonly etag: string
  /** Bytes of its first part where the store tells. */
  readonly partSize: number | null
}

/** The way, and whether the copy's ETag can be expected to be the source's (where both stores make them of MD5). */
export function wayOf(source: Source, { near, etags }: WayOptions): { readonly way: Way; readonly sameEtag: boolean } {
  const { size } = source
  const parts = etagMeans(source.etag)?.parts ?? null
  const told = parts === null || size === 0 ? null : partSizeOf(source, parts)
  if (etags === 'keep' && told !== null) return { way: inParts(size, told, near), sameEtag: true }
  const plain = etagMeans(source.etag) !== null && parts === null
  if (near && size <= LIMITS.whole) return { way: { path: 'store' }, sameEtag: plain }
  if (size <= IN_MEMORY) return { way: { path: 'whole', streams: false }, sameEtag: plain }
  if (etags === 'keep' && plain && size <= LIMITS.whole) return { way: { path: 'whole', streams: true }, sameEtag: true }
  return { way: wayInParts(size, near), sameEtag: false }
}

export type PartsWay = Extract<Way, { partSize: number }>

/** For an object whose own parts do not matter. */
export const wayInParts = (size: number, near = false): PartsWay => inParts(size, partSizeFor(size, near), near)

function inParts(size: number, partSize: number, near: boolean): PartsWay {
  return { path: near ? 'store-parts' : 'parts', partSize, parts: Math.ceil(size / partSize) }
}

/** A store that copies by itself is asked for few large parts, a network for many small ones. Never more than 10,000. */
function partSizeFor(size: number, near: boolean): number {
  const wanted = near ? 256 * MiB : 16 * MiB
  return Math.max(wanted, Math.ceil(size / LIMITS.parts / MiB) * MiB)
}

/** What clients cut objects by, those that are met most first: AWS's tools, osparc, rclone and the least that S3 takes, MinIO's. */
const USUAL = [8, 10, 5, 16, 15, 64, 100, 50, 32, 128, 25, 20, 12, 200, 256, 400, 512, 600, 800, 1_024].map((n) => n * MiB)

/**
 * The size of the source's parts: what the store tells, else the usual size that gives this number of parts, else a size in whole MiB
 * that alone does. Null where it cannot be told, or no store would take such parts again. A wrong guess makes another ETag: which is
 * seen at the end, and reported.
 */
function partSizeOf({ size, partSize }: Source, parts: number): number | null {
  const gives = (bytes: number): boolean => bytes >= LIMITS.leastPart && bytes <= LIMITS.part && Math.ceil(size / bytes) === parts
  if (parts === 1) return size <= LIMITS.part ? Math.max(size, LIMITS.leastPart) : null
  if (partSize !== null) return gives(partSize) ? partSize : null
  const usual = USUAL.find(gives)
  if (usual !== undefined) return usual
  const [least, most] = [Math.ceil(size / parts / MiB), Math.floor((Math.ceil(size / (parts - 1)) - 1) / MiB)]
  return least === most && gives(least * MiB) ? least * MiB : null
}

/** First and last byte of a part, numbered from 1. */
export function rangeOf(size: number, partSize: number, number: number): { readonly from: number; readonly to: number } {
  const from = (number - 1) * partSize
  return { from, to: Math.min(size, from + partSize) - 1 }
}
