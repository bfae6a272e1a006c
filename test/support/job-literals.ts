import type { Copied } from '../../src/core/objects/copy.ts'
import type { NamedObject, RowObjects } from '../../src/core/objects/named.ts'

/** What a worker reports of a copy with this ETag. */
export const copied = (etag: string): Copied => ({
  path: 'whole', source: { size: 7, etag: `${etag}-there`, version: null }, destination: { etag, version: null },
  checksum: { sha256: 'ab'.repeat(32), parts: null }, evidence: 2, lost: [],
})

/** An object that a row names. */
export function object(key: string, more: Partial<NamedObject> = {}): NamedObject {
  return { kind: 'object', store: 'main', key, to: 'main', newKey: `new/${key}`, fault: null, stamp: '', size: null, when: 'with', ...more }
}

/** What a row names from here on. */
export function names(key: string, ...objects: (string | NamedObject)[]): RowObjects {
  return { table: 'public.parents', key, names: objects.map((one) => (typeof one === 'string' ? object(one) : one)) }
}
