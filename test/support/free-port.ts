import { createServer } from 'node:net'

/**
 * A port of the loopback that nobody has at this moment, and that is not `taken`. It lies below the range from which systems choose for
 * outgoing connections (32768 on Linux, 49152 elsewhere): otherwise a client's connection could take a killed server's port before it is
 * back.
 */
export async function freePort(taken: readonly number[] = []): Promise<number> {
  for (let attempt = 1; attempt <= 1_000; attempt++) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    if (!taken.includes(port) && (await isFree(port))) return port
  }
  throw new Error('no free port between 20000 and 32000 on 127.0.0.1')
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
