/**
 * Keys and values between S3's forms and ours.
 *
 * `x-amz-copy-source` is percent-encoded by the caller (API Reference, CopyObject): every byte but the unreserved ones of RFC 3986 and
 * `/`, which the SDK sends as it is.
 */
export function copySource(from: { readonly bucket: string; readonly key: string; readonly version: string | null }): string {
  const path = `${encoded(from.bucket)}/${encodedKey(from.key)}`
  return from.version === null ? path : `${path}?versionId=${encoded(from.version)}`
}

export const encodedKey = (key: string): string => key.split('/').map(encoded).join('/')

/** encodeURIComponent leaves five characters that RFC 3986 reserves. */
export const encoded = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)

/** Tags as a query string (API Reference, `x-amz-tagging`). */
export const tagging = (tags: Readonly<Record<string, string>>): string =>
  Object.entries(tags).map(([name, value]) => `${encoded(name)}=${encoded(value)}`).join('&')

/** A key of a listing that was asked for with `encoding-type=url`, which is the one of forms: `+` is a space. */
export const listedKey = (text: string): string => decodeURIComponent(text.replaceAll('+', ' '))

export const etagOf = (text: string | undefined): string => (text ?? '').replace(/^(?:W\/)?"?/, '').replace(/"$/, '')

/** Base64 to hex; what follows a composite checksum (`-N`) stays. */
export function hexOf(text: string | undefined): string | null {
  const [, base64, parts] = /^([A-Za-z0-9+/=]+)(-\d+)?$/.exec(text ?? '') ?? []
  return base64 ? Buffer.from(base64, 'base64').toString('hex') + (parts ?? '') : null
}

export const base64Of = (hex: string): string => Buffer.from(hex, 'hex').toString('base64')

/** Metadata beyond ASCII travels as S3 itself answers it: as encoded words (RFC 2047, section 2). */
export function sentValue(text: string): string {
  return /^[\t\x20-\x7e]*$/.test(text) ? text : `=?UTF-8?B?${Buffer.from(text, 'utf8').toString('base64')}?=`
}

/** The reverse; servers that answer raw UTF-8 are read, too: Node gives the bytes of a header as Latin-1. */
export function receivedValue(text: string): string {
  const [, encoding, word] = /^=\?utf-8\?([bq])\?([^?]*)\?=$/i.exec(text) ?? []
  if (encoding) return encoding.toLowerCase() === 'b' ? Buffer.from(word, 'base64').toString('utf8') : quoted(word)
  return Buffer.from(text, 'latin1').toString('utf8')
}

const quoted = (word: string): string => {
  const bytes = word.replaceAll('_', ' ').replace(/=([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(bytes, 'latin1').toString('utf8')
}
