import { RekeyError } from '../core/errors.ts'
import type { NewKey } from '../core/objects/named.ts'
import { isObjectKey } from '../core/objects/object.ts'
import { isOurs } from '../core/objects/marks.ts'
import type { BegunUpload, Copied } from '../core/objects/copy.ts'
import type { FoundObject, JobResult, ObjectJob } from '../core/objects/job.ts'
import type { JobNotes, ListedJobs, ObjectStore } from '../ports.ts'

/** A job whose object has its key. */
export type KeyedJob = ObjectJob & { readonly newKey: string }

export interface JobDeps {
  readonly listed: ListedJobs
  readonly notes: JobNotes
  readonly source: (store: string) => ObjectStore
  readonly destination: (store: string) => ObjectStore
  /** Copies and proves one object; `begun` is told of an upload in parts as soon as it exists. Rejects as ObjectStore does. */
  readonly copy: (job: KeyedJob, begun: (upload: BegunUpload | null) => Promise<void>, signal: AbortSignal) => Promise<Copied>
  /** New keys of objects that no row names. */
  readonly keysFor: (store: string, keys: readonly string[]) => Promise<readonly NewKey[]>
  /** What objects of ours are marked with. */
  readonly run: string
  /** The first pause after a failure; each further one is twice as long, up to `mostMs`. */
  readonly firstMs: number
  readonly mostMs: number
  readonly point: (name: string) => Promise<void>
}

/** A row may come before its object, and a listing may lag behind: so often it is looked for. */
const MISSING_TRIES = 6
const EMPTY_TRIES = 3
/** How long a directory waits before it is asked again whether all that is in it is verified. */
const WHOLE_MS = 500

/** Does one job as far as it goes now; null when the job is another's by now. Rejects with what is a defect only. */
export async function doJob(job: ObjectJob, deps: JobDeps, signal: AbortSignal): Promise<JobResult | null> {
  let begun = job.begun
  try {
    if (job.state === 'tombstone') return await remove(job, deps)
    if (job.kind === 'sweep') return await sweep(job, deps)
    if (job.kind === 'directory') return await directory(job, deps)
    const { key, fault } = await newKeyOf(job, deps)
    if (key === null) return { state: 'parked', error: fault }
    const copied = await deps.copy({ ...job, newKey: key }, async (upload) => {
      begun = upload
      await deps.notes.begun(job, upload)
    }, signal)
    await deps.point('obj.copied')
    return { state: 'verified', copied }
  } catch (error) {
    return failed(error, { job, begun, aborted: signal.aborted }, deps)
  }
}

async function newKeyOf(job: ObjectJob, { notes, keysFor }: JobDeps): Promise<NewKey | { readonly key: null; readonly fault: 'CONFLICT' }> {
  if (job.newKey !== null) return { key: job.newKey, fault: null }
  const [made] = await keysFor(job.store, [job.key])
  if (made.key === null || job.kind === 'directory') return made
  return (await notes.give(job, made.key)) ? made : { key: null, fault: 'CONFLICT' }
}

/** The objects below a prefix that a row names have no rows of their own: their keys change as the prefix does. */
async function directory(job: ObjectJob, deps: JobDeps): Promise<JobResult | null> {
  if (job.state === 'copied') {
    return (await deps.listed.isWhole(job)) ? { state: 'verified', copied: null } : { state: 'copied', error: null, afterMs: WHOLE_MS }
  }
  const { key: into, fault } = await newKeyOf(job, deps)
  if (into === null) return { state: 'parked', error: fault }
  const [from, to] = [below(job.key), below(into)]
  const named = async (keys: readonly string[]): Promise<NewKey[]> => keys.map((key) => {
    const made = `${to}${key.slice(from.length)}`
    return isObjectKey(made) ? { key: made, fault: null } : { key: null, fault: 'KEY_TOO_LONG' }
  })
  const listed = await list(job, from, named, deps)
  if (listed === null) return null
  // An empty listing proves nothing by itself.
  if (listed === 0 && job.listedTo === null && job.attempts < EMPTY_TRIES) {
    return { state: 'wanted', error: 'EMPTY', afterMs: backoff(job.attempts, deps) }
  }
  return { state: 'copied', error: null, afterMs: 0 }
}

function below(key: string): string {
  return key.endsWith('/') ? key : `${key}/`
}

async function sweep(job: ObjectJob, deps: JobDeps): Promise<JobResult | null> {
  const listed = await list(job, job.key, (keys) => deps.keysFor(job.store, keys), deps)
  return listed === null ? null : { state: 'verified', copied: null }
}

/** Goes on where an earlier try has got to. How many objects were found; null when the job is another's by now. */
async function list(
  job: ObjectJob, prefix: string, named: (keys: readonly string[]) => Promise<readonly NewKey[]>, { listed, source, point }: JobDeps,
): Promise<number | null> {
  let found = 0
  for await (const page of source(job.store).list(prefix, job.listedTo)) {
    if (page.length === 0) continue
    const keys = await named(page.map(({ key }) => key))
    const objects = page.map(({ key, size, etag }, i): FoundObject => ({ key, size, etag, newKey: keys[i].key, fault: keys[i].fault }))
    if (!(await listed.found(job, objects))) return null
    found += page.length
    await point('obj.listed')
  }
  return found
}

/** Only what is still the object that we wrote is removed: by its ETag, or by our mark where a crash kept the ETag from being recorded. */
async function remove(job: ObjectJob, { destination, run }: JobDeps): Promise<JobResult> {
  if (job.kind !== 'object' || job.newKey === null) return { state: 'gone', error: null }
  const store = destination(job.to)
  let { etag } = job
  if (etag === null) {
    const there = await store.head({ key: job.newKey, version: null })
    if (there === null || !isOurs(there, run)) return { state: 'gone', error: null }
    etag = there.etag
  }
  return { state: 'gone', error: (await store.remove(job.newKey, etag)) ? null : 'OBJECT_CHANGED' }
}

interface Failure {
  readonly job: ObjectJob
  readonly begun: BegunUpload | null
  readonly aborted: boolean
}

/** Only what another try cannot mend is parked. */
function failed(error: unknown, { job, begun, aborted }: Failure, deps: JobDeps): JobResult {
  const leaving = job.state === 'tombstone'
  if (aborted && !leaving) return { state: 'wanted', error: null, afterMs: 0, begun }
  if (!(error instanceof RekeyError)) throw error
  const { code, exit } = error
  const again = exit === 6 || (code === 'OBJECT_MISSING' && job.attempts < MISSING_TRIES)
  if (leaving) return { state: 'tombstone', error: code, afterMs: backoff(job.attempts, deps) }
  if (again) return { state: 'wanted', error: code, afterMs: backoff(job.attempts, deps), begun }
  return { state: 'parked', error: code }
}

/** With a random part, so that what failed together is not tried together. */
function backoff(attempts: number, { firstMs, mostMs }: JobDeps): number {
  return Math.min(mostMs, firstMs * 2 ** Math.min(20, attempts - 1)) * (0.75 + Math.random() / 2)
}
