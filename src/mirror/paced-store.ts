import type { ObjectBody, ObjectContent, ObjectStore, ObjectUploads, Upload } from '../ports.ts'
import { isBusy, type Pace } from './pace.ts'

/** The same store, asked no faster than its pace: every request takes a place, and a body keeps it until it has ended. */
export function pacedStore(store: ObjectStore, pace: Pace): ObjectStore {
  const run = <T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> => inPlace(pace, work, signal)
  const write = async <T>(content: ObjectContent, work: (paced: ObjectContent) => Promise<T>, signal?: AbortSignal): Promise<T> => {
    if ('bytes' in content) await pace.bytes(content.bytes.length, signal)
    return run(() => work('stream' in content ? { ...content, stream: slowly(content.stream, pace, signal) } : content), signal)
  }
  const upload = (one: Upload): Upload => ({
    id: one.id, parts: one.parts,
    part: (number, content, signal) => write(content, (paced) => one.part(number, paced, signal), signal),
    finish: (parts) => run(() => one.finish(parts)),
  })
  const uploads: ObjectUploads = {
    begin: async (target, fill) => upload(await run(() => store.uploads.begin(target, fill))),
    resume: async (target, id) => {
      const found = await run(() => store.uploads.resume(target, id))
      return found && upload(found)
    },
    abort: (key, id) => run(() => store.uploads.abort(key, id)),
    list: (prefix) => pages(store.uploads.list(prefix), pace),
  }
  return {
    place: store.place, bucket: store.bucket, uploads,
    head: (name) => run(() => store.head(name)),
    read: (what, signal) => pacedBody(pace, () => store.read(what, signal), signal),
    list: (prefix, after) => pages(store.list(prefix, after), pace),
    put: (target, content, signal) => write(content, (paced) => store.put(target, paced, signal), signal),
    remove: (key, etag) => run(() => store.remove(key, etag)),
  }
}

async function inPlace<T>(pace: Pace, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const leave = await pace.enter(signal)
  try {
    const result = await work()
    leave(true)
    return result
  } catch (error) {
    leave(!isBusy(error))
    throw error
  }
}

async function pacedBody(pace: Pace, read: () => Promise<ObjectBody>, signal?: AbortSignal): Promise<ObjectBody> {
  const leave = await pace.enter(signal)
  try {
    const { info, body, cancel } = await read()
    async function* counted(): AsyncGenerator<Uint8Array> {
      try {
        yield* slowly(body, pace, signal)
        leave(true)
      } catch (error) {
        leave(!isBusy(error))
        throw error
      } finally {
        leave(true)
      }
    }
    return { info, body: counted(), cancel: () => { cancel(); leave(true) } }
  } catch (error) {
    leave(!isBusy(error))
    throw error
  }
}

async function* slowly(chunks: AsyncIterable<Uint8Array>, pace: Pace, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    await pace.bytes(chunk.length, signal)
    yield chunk
  }
}

/** A page is one request. */
async function* pages<T>(all: AsyncIterable<T>, pace: Pace): AsyncGenerator<T> {
  const iterator = all[Symbol.asyncIterator]()
  for (;;) {
    const { done, value } = await inPlace(pace, () => iterator.next())
    if (done) return
    yield value as T
  }
}
