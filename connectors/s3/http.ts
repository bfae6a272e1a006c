import type { Dispatcher, Pool } from 'undici'

export interface HttpRequest {
  readonly method: 'GET' | 'PUT'
  /** Encoded as it is sent. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | null
  readonly signal?: AbortSignal | undefined
}

export interface HttpAnswer {
  readonly status: number
  /** Names in lower case, values as Latin-1. */
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: HttpBody
}

/** The bytes of an answer, once; who does not read them to their end ends the request. */
export interface HttpBody extends AsyncIterable<Uint8Array> {
  cancel(): void
  /** Throws away whatever comes, so that the connection can be used again. */
  drain(): void
}

export interface Http {
  /** Resolves with the head of the answer. Rejects with what happened on the way, as undici says it, or with an AbortError. */
  ask(request: HttpRequest): Promise<HttpAnswer>
  close(): void
}

export interface HttpOptions {
  readonly origin: string
  /** Most at a time. */
  readonly sockets: number
  /** Milliseconds without a byte, and until an answer begins. */
  readonly timeout: number
}

/**
 * Requests to one server. Node's own client with its streams and listeners costs two to three times the CPU of undici's dispatcher (what
 * that saves is most of what a small object costs here), so answers are handed on as they come off the socket.
 */
export function openHttp(undici: { Pool: typeof Pool }, { origin, sockets, timeout }: HttpOptions): Http {
  const pool = new undici.Pool(origin, {
    connections: sockets, pipelining: 1, allowH2: false, connectTimeout: Math.min(timeout, 10_000), headersTimeout: timeout, bodyTimeout: timeout,
  })
  const underWay = new WeakMap<AbortSignal, Set<() => void>>()
  /** One listener to a signal, whatever the number of requests. */
  const abortsOf = (signal: AbortSignal): Set<() => void> => {
    const known = underWay.get(signal)
    if (known) return known
    const aborts = new Set<() => void>()
    underWay.set(signal, aborts)
    signal.addEventListener('abort', () => aborts.forEach((abort) => abort()), { once: true })
    return aborts
  }
  return {
    ask: ({ method, path, headers, body, signal }) => new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(aborted())
      const aborts = signal && abortsOf(signal)
      const { handler, abort } = exchange({ resolve, reject }, () => aborts?.delete(abort))
      aborts?.add(abort)
      pool.dispatch({ method, path, headers: headers as Record<string, string>, body }, handler)
    }),
    close: () => void pool.destroy().catch(() => {}),
  }
}

const aborted = (): Error => Object.assign(new Error('aborted'), { name: 'AbortError' })

interface Settle {
  resolve(answer: HttpAnswer): void
  reject(error: Error): void
}

interface Exchange {
  readonly handler: Dispatcher.DispatchHandler
  abort(): void
}

function exchange({ resolve, reject }: Settle, over: () => void): Exchange {
  let controller: Dispatcher.DispatchController | null = null
  let failure: Error | null = null
  const { body, come, end } = bodyFrom({
    pause: () => controller?.pause(), resume: () => controller?.resume(), cancel: () => fail(aborted()),
  })
  const fail = (error: Error): void => {
    if (failure !== null) return
    failure = error
    over()
    // After the head of the answer it is the body that fails.
    reject(error)
    end(error)
    controller?.abort(error)
  }
  return {
    abort: () => fail(aborted()),
    handler: {
      onRequestStart(begun) {
        controller = begun
        if (failure !== null) begun.abort(failure)
      },
      onResponseStart(_, status, headers) {
        if (status >= 200) resolve({ status, headers: single(headers), body })
      },
      onResponseData: (_, chunk) => come(chunk),
      onResponseEnd() {
        over()
        end(null)
      },
      onResponseError: (_, error) => fail(error),
    },
  }
}

/** Fields that come more than once are one list (RFC 9110, section 5.2). */
function single(headers: Record<string, string | string[] | undefined>): HttpAnswer['headers'] {
  for (const name in headers) if (Array.isArray(headers[name])) headers[name] = headers[name].join(', ')
  return headers as HttpAnswer['headers']
}

/** Bytes of one answer that wait for their reader: from the first on its socket rests, until there are fewer than the second. */
const WAITING = { most: 512 * 1_024, few: 128 * 1_024 } as const

interface Flow {
  pause(): void
  resume(): void
  cancel(): void
}

interface Coming {
  readonly body: HttpBody
  come(chunk: Uint8Array): void
  end(error: Error | null): void
}

function bodyFrom({ pause, resume, cancel }: Flow): Coming {
  const chunks: Uint8Array[] = []
  let [waiting, rests, drains, ended] = [0, false, false, false]
  let failure: Error | null = null
  let wake: (() => void) | null = null
  const news = (): void => {
    wake?.()
    wake = null
  }
  const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
    while (chunks.length === 0 && !ended) await new Promise<void>((resolve) => (wake = resolve))
    const value = chunks.shift()
    if (value === undefined) {
      if (failure !== null) throw failure
      return { done: true, value: undefined }
    }
    waiting -= value.length
    if (rests && waiting < WAITING.few) {
      rests = false
      resume()
    }
    return { done: false, value }
  }
  const stop = (): void => {
    if (!ended) cancel()
  }
  const leave = async (): Promise<{ done: true; value: undefined }> => {
    stop()
    return { done: true, value: undefined }
  }
  return {
    body: {
      [Symbol.asyncIterator]: () => ({ next, return: leave }),
      cancel: stop,
      drain() {
        drains = true
        chunks.length = 0
        if (rests) resume()
      },
    },
    come(chunk) {
      if (drains) return
      chunks.push(chunk)
      waiting += chunk.length
      if (waiting >= WAITING.most) {
        rests = true
        pause()
      }
      news()
    },
    end(error) {
      ended = true
      failure ??= error
      news()
    },
  }
}
