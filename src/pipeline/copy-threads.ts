import { setMaxListeners } from 'node:events'
import { Worker } from 'node:worker_threads'
import { RekeyError, type ErrorCode } from '../core/errors.ts'
import type { StoreRule } from '../core/mapping.ts'
import type { BegunUpload, Copied } from '../core/objects/copy.ts'
import type { Copy, CopyOrder } from './copying.ts'
import type { ObjectsConfig } from './stores.ts'

/** What a thread begins with: its share of the limits, and which stores it copies between. */
export interface ThreadData {
  readonly objects: ObjectsConfig
  readonly rules: readonly Pick<StoreRule, 'name' | 'to'>[]
}

/** An error on its way between threads. `code` is null for an abort and for what is a defect. */
export interface Failure {
  readonly code: ErrorCode | null
  readonly name: string
  readonly message: string
}

/** What the parent says. Copies have numbers; `noted` answers `begun`. */
export type Asked =
  | { readonly ask: 'copy'; readonly n: number; readonly order: CopyOrder }
  | { readonly ask: 'noted'; readonly n: number; readonly failure: Failure | null }
  | { readonly ask: 'stop' }

/** What a thread says. `allowed`: how many requests it has under way at a time at most, as things are. */
export type Answer =
  | { readonly answer: 'begun'; readonly n: number; readonly upload: BegunUpload | null }
  | { readonly answer: 'copied'; readonly n: number; readonly copied: Copied; readonly allowed: number }
  | { readonly answer: 'failed'; readonly n: number; readonly failure: Failure; readonly allowed: number }

export function failureOf(error: unknown): Failure {
  const { name, message } = error instanceof Error ? error : new Error(String(error))
  return { code: error instanceof RekeyError ? error.code : null, name, message }
}

export function errorOf({ code, name, message }: Failure): Error {
  return code === null ? Object.assign(new Error(message), { name }) : new RekeyError(code, message)
}

/** Objects that are copied by several threads, each with connections of its own. */
export interface CopyThreads {
  readonly copy: Copy
  /** Requests that may be under way at the store that may be asked least, of all threads together. */
  inFlightLimit(): number
  /** When no copy is under way. */
  close(): Promise<void>
}

interface Waiting {
  readonly begun: (upload: BegunUpload | null) => Promise<void>
  readonly resolve: (copied: Copied) => void
  readonly reject: (error: Error) => void
}

interface Thread {
  readonly worker: Worker
  readonly waiting: Map<number, Waiting>
  allowed: number
  broken: Error | null
}

/**
 * One thread can use one processor: signing, sockets and digests of small objects take all of it. Each thread has its share of the
 * limits, so that together they keep them. When `signal` aborts, copies under way reject as those of this thread would.
 */
export function startThreads(count: number, { objects, rules }: ThreadData, signal: AbortSignal): CopyThreads {
  const data: ThreadData = { objects: shareOf(objects, count), rules: rules.map(({ name, to }) => ({ name, to })) }
  const threads = Array.from({ length: count }, () => startThread(data))
  const stop = (): void => threads.forEach(({ worker }) => worker.postMessage({ ask: 'stop' } satisfies Asked))
  setMaxListeners(0, signal)
  signal.addEventListener('abort', stop, { once: true })
  let made = 0
  return {
    copy: (order, begun) => new Promise((resolve, reject) => {
      const thread = threads.reduce((least, one) => (one.waiting.size < least.waiting.size ? one : least))
      if (thread.broken) return reject(thread.broken)
      const n = ++made
      thread.waiting.set(n, { begun, resolve, reject })
      thread.worker.postMessage({ ask: 'copy', n, order } satisfies Asked)
    }),
    inFlightLimit: () => threads.reduce((sum, { allowed }) => sum + allowed, 0),
    async close() {
      signal.removeEventListener('abort', stop)
      await Promise.all(threads.map(({ worker }) => worker.terminate()))
    },
  }
}

function shareOf(objects: ObjectsConfig, threads: number): ObjectsConfig {
  const share = (all: number): number => Math.max(1, Math.floor(all / threads))
  const { requests, rate, bandwidth } = objects.limits
  const limits = {
    requests: share(requests), ...(rate === undefined ? {} : { rate: share(rate) }),
    ...(bandwidth === undefined ? {} : { bandwidth: share(bandwidth) }),
  }
  return { ...objects, limits, memory: share(objects.memory) }
}

/** Built, a thread is a file; from source (tests, demo) it must load the loader first: hooks of the main thread are not those of others. */
function newWorker(workerData: ThreadData): Worker {
  const built = import.meta.url.endsWith('.js')
  const main = new URL(built ? './copy-thread.js' : './copy-thread.ts', import.meta.url)
  if (built) return new Worker(main, { workerData })
  const loader = import.meta.resolve('tsx/esm/api')
  const load = `import(${JSON.stringify(loader)}).then(({ register }) => (register(), import(${JSON.stringify(main.href)})))`
  return new Worker(load, { workerData, eval: true, execArgv: [] })
}

function startThread(data: ThreadData): Thread {
  const worker = newWorker(data)
  const thread: Thread = { worker, waiting: new Map(), allowed: data.objects.limits.requests, broken: null }
  const breakAll = (error: Error): void => {
    thread.broken ??= error
    for (const { reject } of thread.waiting.values()) reject(error)
    thread.waiting.clear()
  }
  worker.on('message', (answer: Answer) => hear(thread, answer))
  worker.on('error', breakAll)
  // No RekeyError: that would be the object's fault, and the job would be parked.
  worker.on('exit', () => breakAll(new Error('a thread that copies objects has ended')))
  return thread
}

function hear(thread: Thread, answer: Answer): void {
  const { n } = answer
  const one = thread.waiting.get(n)
  if (one === undefined) return
  if (answer.answer === 'begun') {
    const noted = (failure: Failure | null): void => thread.worker.postMessage({ ask: 'noted', n, failure } satisfies Asked)
    one.begun(answer.upload).then(() => noted(null), (error: unknown) => noted(failureOf(error)))
    return
  }
  thread.waiting.delete(n)
  thread.allowed = answer.allowed
  if (answer.answer === 'copied') one.resolve(answer.copied)
  else one.reject(errorOf(answer.failure))
}
