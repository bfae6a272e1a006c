import { createServer, connect, type AddressInfo, type Socket } from 'node:net'

/** up: from the client to the server; down: from the server to the client. */
export type Direction = 'up' | 'down'

export interface Proxy {
  readonly port: number
  /** Connections open now. */
  readonly connections: number
  /** The same URL by way of this proxy. */
  through(url: string): string
  /** Resets all connections (RST to both ends). New ones are taken. */
  cut(): void
  /** Stops forwarding, both ways, without closing: senders fill their buffers and wait. New connections are taken and wait, too. */
  freeze(): void
  /** Reads what comes one way and throws it away. A connection that lost bytes is reset by thaw(). */
  blackhole(direction: Direction): void
  /** Ends freeze() and blackhole(). */
  thaw(): void
  /** Every byte arrives this many milliseconds later, each way, in order. 0 ends it. */
  delay(ms: number): void
  /** So many bytes a second go each way, each in a segment of its own. 0 ends it. */
  narrow(bytesPerSecond: number): void
  /** Forwards this many more bytes one way, over all connections, then resets the connection that reached the number. Once. */
  cutAfterBytes(bytes: number, direction?: Direction): void
  /** Resets all connections and stops listening. */
  close(): Promise<void>
}

interface Faults {
  frozen: boolean
  lost: Direction | null
  delay: number
  rate: number
  budget: { left: number; direction: Direction } | null
}

interface Link {
  readonly lossy: boolean
  wake(): void
  reset(): void
}

/** A TCP proxy on 127.0.0.1 between a client and `target`, with faults on request. */
export async function startProxy(target: { readonly host: string; readonly port: number }): Promise<Proxy> {
  const faults: Faults = { frozen: false, lost: null, delay: 0, rate: 0, budget: null }
  const links = new Set<Link>()
  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (downstream) => {
    const upstream = connect({ ...target, allowHalfOpen: true, noDelay: true })
    const link = linkOf({ downstream, upstream }, faults, () => links.delete(link))
    links.add(link)
  })
  await new Promise<void>((resolve, reject) => listener.once('error', reject).listen(0, '127.0.0.1', resolve))
  const { port } = listener.address() as AddressInfo
  const cut = () => { for (const link of links) link.reset() }
  return {
    port, cut,
    get connections() { return links.size },
    through(url) {
      const rewritten = new URL(url)
      rewritten.hostname = '127.0.0.1'
      rewritten.port = String(port)
      return rewritten.href
    },
    freeze() { faults.frozen = true },
    blackhole(direction) { faults.lost = direction },
    thaw() {
      faults.frozen = false
      faults.lost = null
      for (const link of links) {
        if (link.lossy) link.reset()
        else link.wake()
      }
    },
    delay(ms) { faults.delay = ms },
    narrow(bytesPerSecond) { faults.rate = bytesPerSecond },
    cutAfterBytes(bytes, direction = 'down') { faults.budget = { left: bytes, direction } },
    close: () => new Promise((resolve) => {
      listener.close(() => resolve())
      cut()
    }),
  }
}

/** Two one-way pumps over a pair of sockets. Either end's failure resets the other, as a network without the proxy would show it. */
function linkOf(ends: { downstream: Socket; upstream: Socket }, faults: Faults, gone: () => void): Link {
  const { downstream, upstream } = ends
  let lossy = false
  const reset = (): void => {
    for (const pump of pumps) pump.stop()
    for (const end of [downstream, upstream]) end.resetAndDestroy()
    gone()
  }
  const watch = { lose: () => { lossy = true }, reset }
  const pumps = [pumpOf({ from: downstream, to: upstream, direction: 'up' }, faults, watch),
    pumpOf({ from: upstream, to: downstream, direction: 'down' }, faults, watch)]
  let open = 2
  for (const end of [downstream, upstream]) {
    end.on('error', reset)
    end.on('close', () => { if (--open === 0) gone() })
  }
  return { get lossy() { return lossy }, reset, wake: () => { for (const pump of pumps) pump.run() } }
}

interface Way {
  readonly from: Socket
  readonly to: Socket
  readonly direction: Direction
}

/**
 * Moves chunks from one socket to the other. It reads by hand (the socket stays paused otherwise), so what it does not take stays in
 * the kernel's buffers and the sender feels it. At most 1 MiB waits here, delayed or not yet written.
 */
function pumpOf(way: Way, faults: Faults, watch: { lose(): void; reset(): void }): { run(): void; stop(): void } {
  const queue: { chunk: Buffer | null; due: number }[] = []
  let queued = 0
  let timer: NodeJS.Timeout | null = null
  let stopped = false
  let full = false

  function run(): void {
    do {
      if (stopped || faults.frozen) return
      take()
      give()
    } while (queue.length === 0 && way.from.readableLength > 0)
  }
  function take(): void {
    while (queued < 1 << 20) {
      const chunk = way.from.read() as Buffer | null
      if (chunk === null) return
      push(chunk)
    }
  }
  function push(chunk: Buffer | null): void {
    if (faults.lost === way.direction) {
      watch.lose()
      return
    }
    queue.push({ chunk, due: Date.now() + faults.delay })
    queued += chunk?.length ?? 0
  }
  function give(): void {
    while (queue.length > 0 && !full && !stopped && !faults.frozen) {
      const wait = queue[0].due - Date.now()
      if (wait > 0) {
        timer ??= setTimeout(() => { timer = null; run() }, wait)
        return
      }
      if (faults.rate > 0 && queue[0].chunk) return trickle(queue[0].chunk)
      const { chunk } = queue.shift()!
      queued -= chunk?.length ?? 0
      if (chunk) write(chunk)
      else way.to.end()
    }
  }
  /** What may go within 10 ms, byte by byte; the rest stays first. */
  function trickle(chunk: Buffer): void {
    if (timer) return
    const most = Math.min(chunk.length, Math.ceil(faults.rate / 100))
    for (let i = 0; i < most; i++) write(chunk.subarray(i, i + 1))
    queued -= most
    if (most === chunk.length) queue.shift()
    else queue[0].chunk = chunk.subarray(most)
    timer = setTimeout(() => { timer = null; run() }, 10)
  }
  function write(chunk: Buffer): void {
    const budget = faults.budget?.direction === way.direction ? faults.budget : null
    if (budget && budget.left <= chunk.length) {
      faults.budget = null
      stopped = true
      way.to.write(chunk.subarray(0, budget.left), () => watch.reset())
      return
    }
    if (budget) budget.left -= chunk.length
    full = !way.to.write(chunk)
  }
  way.to.on('drain', () => { full = false; run() })
  way.from.on('readable', run)
  way.from.on('end', () => { push(null); run() })
  return { run, stop: () => { stopped = true; if (timer) clearTimeout(timer) } }
}
