import { createHash } from 'node:crypto'
import type { ObjectTarget } from '../../src/core/objects/object.ts'
import type { ObjectBody, ObjectContent } from '../../src/ports.ts'
import type { Random } from './random.ts'

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
export const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex')

/** The ETag that S3 gives an object that was uploaded in parts of this size. */
export function partsEtag(bytes: Buffer, partSize: number): string {
  const digests: Buffer[] = []
  for (let at = 0; at < bytes.length || at === 0; at += partSize) {
    digests.push(createHash('md5').update(bytes.subarray(at, at + partSize)).digest())
  }
  return `${md5(Buffer.concat(digests))}-${digests.length}`
}

/** Bytes that do not repeat within a part. */
export function bytesOf(random: Random, size: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let at = 0; at + 4 <= size; at += 4) bytes.writeUInt32LE(Math.floor(random.next() * 2 ** 32), at)
  return bytes
}

export const content = (bytes: Uint8Array): ObjectContent => ({ bytes, sha256: sha256(bytes) })

export const target = (key: string, more: Partial<ObjectTarget> = {}): ObjectTarget =>
  ({ key, if: 'any', headers: {}, metadata: {}, tags: {}, ...more })

export async function bytesIn(body: ObjectBody): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body.body) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Keys that servers and clients get wrong: each is told apart from all others, byte by byte. */
export const HOSTILE_KEYS: readonly string[] = [
  'plain', 'a', 'a/b', 'a//b', 'a/b/', 'a/', '/a', '//a', '/', '//', './a', '../a', 'a/../b', 'a/./b', '..', '.', 'a/..', 'a/.',
  'a b', ' a', 'a ', 'a+b', 'a%2Bb', 'a%b', '%', '%2e%2e/a', '%00', 'a#b', 'a?b', 'a&b=c', 'a=b', 'a;b', 'a,b', 'a:b', 'a@b',
  "a'b", 'a"b', 'a`b',
  'a\\b', 'a|b', 'a*b', 'a<b>', 'a{b}', 'a[b]', 'a^b', 'a~b', 'a$b', 'a!b', '(a)', 'a\tb', 'a\nb', 'a\u0001b', 'a\u007fb',
  'A', 'a/B',
  'é', 'e\u0301', 'ß', '日本語/ファイル.txt', '\u{1F600}', '\ufeffa', '\u200b', '\uffff',
  'con', 'nul.txt', 'a.', '-a', '=a', 'a=', '~', 'a~/b',
  'x'.repeat(200), 'x'.repeat(201), `${'x'.repeat(200)}/y`, `${'x'.repeat(200)}!`, 'X'.repeat(255),
  'é'.repeat(512), '/'.repeat(1_024), 'k'.repeat(1_024),
]
