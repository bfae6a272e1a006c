import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { startProxy, type Proxy } from '../support/proxy.ts'
import { random } from '../support/random.ts'

let echo: Server
let proxy: Proxy
const open = new Set<Socket>()

beforeEach(async () => {
  echo = createServer((socket) => {
    open.add(socket)
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve))
  proxy = await startProxy({ host: '127.0.0.1', port: (echo.address() as AddressInfo).port })
})

afterEach(async () => {
  await proxy.close()
  for (const socket of open) socket.destroy()
  open.clear()
  await new Promise((resolve) => echo.close(resolve))
})

interface Talk {
  readonly socket: Socket
  received(): Buffer
  readonly error: Promise<string>
  until(bytes: number): Promise<void>
}

async function talk(): Promise<Talk> {
  const socket = connect(proxy.port, '127.0.0.1')
  open.add(socket)
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  const error = new Promise<string>((resolve) => socket.once('error', (e: NodeJS.ErrnoException) => resolve(e.code ?? '')))
  await once(socket, 'connect')
  const received = (): Buffer => Buffer.concat(chunks)
  return { socket, received, error, until: (bytes) => expect.poll(() => received().length, { timeout: 10_000, interval: 10 }).toBe(bytes) }
}

describe('the proxy', () => {
  test('forwards every byte, more than its own buffer, and the end', async () => {
    const one = await talk()
    const sent = Buffer.alloc(9_000_000, 'abcdefghijk')
    one.socket.end(sent)
    await once(one.socket, 'end')
    expect(one.received().equals(sent)).toBe(true)
    await expect.poll(() => proxy.connections).toBe(0)
  })

  test('cut resets all connections and takes new ones', async () => {
    const one = await talk()
    one.socket.write('hello')
    await one.until(5)
    proxy.cut()
    expect(await one.error).toBe('ECONNRESET')
    expect(proxy.connections).toBe(0)
    const two = await talk()
    two.socket.write('again')
    await two.until(5)
  })

  test('freeze stops both ways without closing, and the sender feels it; thaw loses nothing', async () => {
    const one = await talk()
    one.socket.write('before')
    await one.until(6)
    proxy.freeze()
    const sent = Buffer.alloc(32_000_000, 'x')
    one.socket.write(sent)
    await sleep(200)
    expect(one.received().length).toBe(6)
    expect(one.socket.writableLength).toBeGreaterThan(0)
    expect(one.socket.destroyed).toBe(false)
    const late = await talk()
    late.socket.write('late')
    await sleep(50)
    expect(late.received().length).toBe(0)
    proxy.thaw()
    await one.until(6 + sent.length)
    await late.until(4)
  })

  test('a black hole swallows one way only, and thaw resets who lost bytes', async () => {
    const one = await talk()
    proxy.blackhole('down')
    one.socket.write('lost')
    await expect.poll(() => [...open].find((socket) => socket !== one.socket)?.bytesRead).toBe(4)
    await sleep(50)
    expect(one.received().length).toBe(0)
    proxy.thaw()
    expect(await one.error).toBe('ECONNRESET')
    const two = await talk()
    two.socket.write('fine')
    await two.until(4)
  })

  test('delay keeps the order', async () => {
    proxy.delay(60)
    const one = await talk()
    const start = performance.now()
    for (const part of ['a', 'b', 'c']) one.socket.write(part)
    await one.until(3)
    expect(performance.now() - start).toBeGreaterThan(110)
    expect(one.received().toString()).toBe('abc')
  })

  test('cutAfterBytes lets exactly so many through, once', async () => {
    const one = await talk()
    proxy.cutAfterBytes(70_001)
    one.socket.write(Buffer.alloc(500_000, 'x'))
    // With data right before it, a reset may look like an end to this side (libuv), so only the close is sure.
    await new Promise((resolve) => one.socket.once('close', resolve))
    expect(one.received().length).toBe(70_001)
    const two = await talk()
    two.socket.write(Buffer.alloc(100_000))
    await two.until(100_000)
  })

  test('leads a URL through itself', () => {
    expect(proxy.through('postgres://me:p%40ss@db.example:5432/x?sslmode=disable'))
      .toBe(`postgres://me:p%40ss@127.0.0.1:${proxy.port}/x?sslmode=disable`)
  })

  test('a server that is not there is a reset connection', async () => {
    const nowhere = await startProxy({ host: '127.0.0.1', port: 1 })
    const socket = connect(nowhere.port, '127.0.0.1')
    const [error] = await once(socket, 'error').catch((e: NodeJS.ErrnoException) => [e]) as [NodeJS.ErrnoException]
    expect(error.code).toBe('ECONNRESET')
    await nowhere.close()
  })
})

describe('random', () => {
  test('the same seed gives the same sequence', () => {
    const draw = (seed: number): unknown => {
      const r = random({ seed, quiet: true })
      return [r.next(), r.int(1, 6), r.pick('abc'.split('')), r.chance(0.5), r.shuffle([1, 2, 3, 4])]
    }
    expect(draw(7)).toEqual(draw(7))
    expect(draw(7)).not.toEqual(draw(8))
  })

  test('whole numbers cover their range and nothing else', () => {
    const r = random()
    const seen = new Set(Array.from({ length: 1000 }, () => r.int(-2, 3)))
    expect([...seen].sort((a, b) => a - b)).toEqual([-2, -1, 0, 1, 2, 3])
  })
})
