import { createServer } from 'node:net'

/** Ports of each of the processes in which tests run side by side. */
const RANGE = 750
const FIRST = 20_000 + (Number(process.env.VITEST_POOL_ID ?? 0) % 16) * RANGE
/** A server may take seconds until it listens: until then its port is nobody's, but not free. */
const given = new Set<number>()

/**
 * A port of the loopback that nobody has at this moment, and that was not given before. It lies below the range from which systems choose for
 * outgoing connections (32768 on Linux, 49152 elsewhere): otherwise a client's connection could take a killed server's port before it is
 * back. Test processes that run side by side have ranges of their own.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 1; attempt <= 2 * RANGE; attempt++) {
    if (given.size >= RANGE / 2) given.clear()
    const port = FIRST + Math.floor(Math.random() * RANGE)
    if (given.has(port)) continue
    given.add(port)
    if (await isFree(port)) return port
  }
  throw new Error(`no free port between ${FIRST} and ${FIRST + RANGE} on 127.0.0.1`)
}

/** Starts something on a free port, and again on another when somebody was quicker. Resolves with what `start` gave. */
export async function onFreePort<T>(start: (port: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    try {
      return await start(port)
    } catch (error) {
      if (attempt >= 10 || (await isFree(port))) throw error
    }
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}
