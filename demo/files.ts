import type { ObjectStore } from '../src/ports.ts'
import type { TextRow } from '../test/support/database.ts'
import { bytesIn, content, target } from '../test/support/objects.ts'

/** What is in a file, by its row: another version, another text. A file without an etag has not been uploaded yet. */
function bytesOf({ path, size, etag }: TextRow): Buffer {
  return Buffer.alloc(Number(size), `${etag} ${path}\n`)
}

const AT_ONCE = 8

/** As the application does it: the object is there when its row says so. */
export async function keepFiles(store: ObjectStore, rows: readonly TextRow[]): Promise<void> {
  const open = rows.filter(({ etag }) => etag !== null)
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let row = open.shift(); row; row = open.shift()) await store.put(target(row.path!), content(bytesOf(row)))
  }))
}

/** All objects of a store with their bytes, as latin1 text. */
export async function readFiles(store: ObjectStore): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for await (const page of store.list('', null)) {
    for (const { key } of page) {
      const body = await store.read({ key, version: null, etag: null, range: null })
      found.set(key, (await bytesIn(body)).toString('latin1'))
    }
  }
  return found
}
