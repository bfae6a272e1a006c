/** The content headers that travel with an object, by their HTTP names. */
export const CONTENT_HEADERS = [
  'cache-control', 'content-disposition', 'content-encoding', 'content-language', 'content-type', 'expires',
] as const

export type ContentHeaders = Readonly<Partial<Record<(typeof CONTENT_HEADERS)[number], string>>>

/**
 * SHA-256 of an object. Without parts: of all its bytes. With parts: of the parts' digests one after the other, as S3 makes its composite
 * checksums (User Guide, "Checking object integrity"); every part but the last had `partSize` bytes.
 */
export interface Checksum {
  /** 64 lower-case hexadecimal digits. */
  readonly sha256: string
  readonly parts: { readonly count: number; readonly partSize: number } | null
}

/** Which bytes: a key, and the version that a versioned bucket keeps, or null for the newest. A key is its exact text, never a URL. */
export interface ObjectName {
  readonly key: string
  readonly version: string | null
}

/** An object as the store describes it. */
export interface ObjectInfo {
  readonly key: string
  /** Bytes. */
  readonly size: number
  /** Without quotes. An MD5 only where the store says nothing of KMS and there is no `-N`: see etagMeans(). */
  readonly etag: string
  /** Null where the bucket keeps no versions. */
  readonly version: string | null
  /** Milliseconds since 1970. */
  readonly modified: number
  readonly headers: ContentHeaders
  /** User metadata; names in lower case, without `x-amz-meta-`. */
  readonly metadata: Readonly<Record<string, string>>
  /** Null where it has some that were not read along with it: head() reads them, read() and listings do not. */
  readonly tags: Readonly<Record<string, string>> | null
  /** SHA-256 that the store keeps with the object: of all bytes (`<hex>`) or of parts (`<hex>-N`); null where it keeps none. */
  readonly sha256: string | null
  /** Bytes of its first part, for an object in parts where the store tells head() so; else null. */
  readonly partSize: number | null
  /** What a copy does not carry by itself, for the list of what was lost: storage class, encryption, lock, redirect. */
  readonly particulars: Readonly<Record<string, string>>
}

/** An object as a listing shows it. A listing is never proof that a key is absent. */
export interface ListedObject {
  readonly key: string
  readonly size: number
  readonly etag: string
  readonly modified: number
}

/** What the destination must look like for a write to happen: nothing there, exactly this there, or anything. */
export type WriteIf = 'absent' | 'any' | { readonly etag: string }

/** An object to be written, without its bytes. */
export interface ObjectTarget {
  readonly key: string
  readonly if: WriteIf
  readonly headers: ContentHeaders
  readonly metadata: Readonly<Record<string, string>>
  readonly tags: Readonly<Record<string, string>>
}

/** What a store says of an object that it has written. */
export interface Written {
  readonly etag: string
  readonly version: string | null
  /** The SHA-256 that the store computed and keeps, in the form of ObjectInfo.sha256; null where it keeps none. */
  readonly sha256: string | null
}

/** A part that the store has. */
export interface UploadedPart {
  /** From 1. */
  readonly number: number
  readonly size: number
  readonly etag: string
  /** Hex; null where the store keeps none. */
  readonly sha256: string | null
}

/** An upload in parts that was begun and is neither finished nor aborted. */
export interface OpenUpload {
  readonly key: string
  readonly id: string
  /** Milliseconds since 1970. */
  readonly begun: number
}

/** Longest key of S3, in bytes of UTF-8 (User Guide, "Naming Amazon S3 objects"). */
export const MAX_KEY_BYTES = 1_024

/** True for keys that every store takes: 1 to 1,024 bytes of well-formed text. */
export function isObjectKey(key: string): boolean {
  return key.length > 0 && !/\p{Surrogate}/u.test(key) && utf8Length(key) <= MAX_KEY_BYTES
}

function utf8Length(text: string): number {
  let bytes = 0
  for (const char of text) {
    const point = char.codePointAt(0)!
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4
  }
  return bytes
}

/**
 * What an ETag's form says of the bytes: their MD5, the MD5 of so many parts' MD5s, or nothing. The form can lie (SSE-KMS and SSE-C
 * answer digests of something else), so an ETag that differs from ours proves nothing, and one that is equal does.
 */
export function etagMeans(etag: string): { readonly md5: string; readonly parts: number | null } | null {
  const [, md5, parts] = /^([0-9a-f]{32})(?:-([1-9]\d{0,4}))?$/.exec(etag) ?? []
  return md5 ? { md5, parts: parts === undefined ? null : Number(parts) } : null
}
