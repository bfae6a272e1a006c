import { RekeyError } from '../../src/core/errors.ts'
import { isObjectKey } from '../../src/core/objects/object.ts'

/**
 * File names for keys, one path for each key and one key for each path, on file systems that fold case or normalise unicode, too.
 *
 * A key is cut at `/`. Lower-case letters, digits, `-`, `_` and dots (but not at the beginning of a name) stay; an upper-case letter becomes `!` and
 * its lower case, as in Go's module cache; any other byte of its UTF-8 becomes `%xx`; an empty segment is `%`. A folder that stands for a
 * `/` ends in `+`, so that `a` and `a/b` can both be there; a segment of more than about 200 characters is cut, and a folder that goes on
 * with the same segment ends in `~`. Nothing made this way is `.` or `..`, or has a separator in it.
 */
const CHUNK = 200

/** Folders below the root and the name of the object in the last of them. */
export interface Place {
  readonly folders: readonly string[]
  readonly name: string
}

export function placeOf(key: string): Place {
  const folders: string[] = []
  const segments = key.split('/')
  let name = ''
  segments.forEach((segment, index) => {
    const chunks = chunksOf(segment)
    name = chunks.pop()!
    folders.push(...chunks.map((chunk) => `${chunk}~`))
    if (index < segments.length - 1) folders.push(`${name}+`)
  })
  return { folders, name }
}

/** Full chunks are always followed by another, be it empty: so no name is the beginning of a folder's that goes on with it. */
function chunksOf(segment: string): string[] {
  const chunks: string[] = []
  let chunk = ''
  for (const byte of Buffer.from(segment, 'utf8')) {
    chunk += unit(byte, chunk === '')
    if (chunk.length < CHUNK) continue
    chunks.push(chunk)
    chunk = ''
  }
  return [...chunks, chunk === '' ? '%' : chunk]
}

function unit(byte: number, first: boolean): string {
  const char = String.fromCharCode(byte)
  if (/[a-z0-9_-]/.test(char) || (char === '.' && !first)) return char
  if (/[A-Z]/.test(char)) return `!${char.toLowerCase()}`
  return `%${byte.toString(16).padStart(2, '0')}`
}

/** The bytes that a name stands for, with the `/` of a folder; null for a name that none of ours could be. */
export function bytesOf(name: string, folder: boolean): Buffer | null {
  const ending = name.at(-1)
  if (folder && ending !== '+' && ending !== '~') return null
  const text = folder ? name.slice(0, -1) : name
  const slash = ending === '+' && folder ? '/' : ''
  if (text === '%') return Buffer.from(slash)
  if (!/^(?:[a-z0-9_.-]|![a-z]|%[0-9a-f]{2})+$/.test(text)) return null
  const units = text.match(/![a-z]|%[0-9a-f]{2}|./g)!
  return Buffer.concat([...units.map(byteOf), Buffer.from(slash)])
}

function byteOf(text: string): Buffer {
  if (text[0] === '%') return Buffer.from(text.slice(1), 'hex')
  return Buffer.from(text[0] === '!' ? text[1].toUpperCase() : text)
}

/** Keys that no S3 takes are refused here, too, so that a move out of the folder is possible. */
export function named(key: string): string {
  if (isObjectKey(key)) return key
  throw new RekeyError('OBJECT_REFUSED', 'an object key is 1 to 1,024 bytes of well-formed text')
}
