import { createHash } from 'node:crypto'
import type { ObjectInfo } from '../../src/core/objects/object.ts'
import type { ObjectStore } from '../../src/ports.ts'

/** As a bucket with SSE-KMS or SSE-C answers: ETags that look like an MD5 and are the digest of something else. */
export function disguised(store: ObjectStore, particulars: Readonly<Record<string, string>> = {}): ObjectStore {
  const mask = (etag: string): string => `${createHash('md5').update(`masked ${etag}`).digest('hex')}${/-\d+$/.exec(etag)?.[0] ?? ''}`
  const real = new Map<string, string>()
  const told = (info: ObjectInfo): ObjectInfo => {
    const etag = mask(info.etag)
    real.set(etag, info.etag)
    return { ...info, etag, particulars }
  }
  return {
    ...store,
    async head(name) {
      const info = await store.head(name)
      return info && told(info)
    },
    async read(what, signal) {
      const etag = what.etag === null ? null : real.get(what.etag) ?? what.etag
      const got = await store.read({ ...what, etag }, signal)
      return { ...got, info: told(got.info) }
    },
  }
}
