import { createHash, randomUUID } from 'node:crypto'
import { RekeyError } from '../core/errors.ts'
import { reportOf, type Finding } from '../core/check/finding.ts'
import type { StoreRule } from '../core/mapping.ts'
import type { ObjectStore } from '../ports.ts'

export interface CheckedStores {
  readonly rules: readonly StoreRule[]
  readonly source: (name: string) => ObjectStore
  readonly destination: (name: string) => ObjectStore
  /** Whether objects of this source store can have access lists of their own. */
  readonly hasAccessLists: (name: string) => boolean
}

/**
 * Whether every store does what a run asks of it: reading and listing at the source, and at the destination writing, reading and removing
 * an object under a name that nobody has, of which nothing is left.
 */
export async function checkStores({ rules, source, destination, hasAccessLists }: CheckedStores): Promise<Finding[]> {
  const report = reportOf('objects')
  const tried = async (subject: string, doing: string, work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work()
      return true
    } catch (error) {
      if (!(error instanceof RekeyError)) throw error
      report.error({ code: error.code, subject, message: `${doing} failed: ${error.message}`, fix: error.hint })
      return false
    }
  }
  for (const name of new Set(rules.map((rule) => rule.name))) {
    const store = source(name)
    const subject = `source store ${name}`
    const key = probe()
    if (hasAccessLists(name)) {
      report.info({ code: 'NOT_CARRIED', subject, fix: '',
        message: 'access lists, storage classes, locks and redirects of objects stay behind: copies have what the destination bucket gives' })
    }
    if (await tried(subject, 'reading', () => store.head({ key, version: null }))) {
      const prefix = rules.find((rule) => rule.name === name)?.sweep[0] ?? key
      await tried(subject, 'listing', () => firstPage(store, prefix))
    }
  }
  for (const name of new Set(rules.map((rule) => rule.to))) await checkWriting(destination(name), `destination store ${name}`, tried)
  return report.findings
}

const probe = (): string => `rekey-check-${randomUUID()}`

async function firstPage(store: ObjectStore, prefix: string): Promise<void> {
  for await (const _ of store.list(prefix, null)) return
}

async function checkWriting(
  store: ObjectStore, subject: string, tried: (subject: string, doing: string, work: () => Promise<unknown>) => Promise<boolean>,
): Promise<void> {
  const key = probe()
  const bytes = Buffer.from(key)
  let etag: string | null = null
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const written = await tried(subject, 'writing', async () => {
    etag = (await store.put({ key, if: 'absent', headers: {}, metadata: {}, tags: {} }, { bytes, sha256 })).etag
  })
  if (!written || etag === null) return
  const made: string = etag
  await tried(subject, 'reading what was written', async () => {
    if ((await store.head({ key, version: null }))?.etag !== made) throw new RekeyError('OBJECT_CORRUPT', 'it is not what was written')
  })
  await tried(subject, 'removing', async () => {
    if (!(await store.remove(key, made))) throw new RekeyError('OBJECT_REFUSED', `${key} is still there`)
  })
}
