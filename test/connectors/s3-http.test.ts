import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as undici from 'undici'
import { afterEach, describe, expect, it } from 'vitest'
import { openHttp, type Http, type HttpRequest } from '../../connectors/s3/http.ts'

type Reply = (request: IncomingMessage, response: ServerResponse) => void

const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

async function serving(reply: Reply, { sockets = 4, timeout = 5_000 } = {}): Promise<Http & { readonly server: Server }> {
  const server = createServer(reply).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const http = openHttp(undici, { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets, timeout })
  ends.push(() => {
    http.close()
    server.closeAllConnections()
    server.close()
  })
  return { ...http, server }
}

const get: HttpRequest = { method: 'GET', path: '/a%20b?x=1', headers: { 'x-own': 'v' }, body: null }

async function bytesOf(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks)
}

describe('requests to an object store', () => {
  it('sends path, headers and body as they are, and gives status, headers and bytes', async () => {
    const http = await serving((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
        response.writeHead(201, [['X-Many', 'one'], ['X-Many', 'two'], ['ETag', '"e"']].flat())
        response.end(JSON.stringify([request.method, request.url, request.headers['x-own'], request.headers['content-length'], Buffer.concat(chunks).toString('hex')]))
      })
    })
    const body = new Uint8Array([1, 0, 255])
    const answer = await http.ask({ ...get, method: 'PUT', headers: { 'x-own': 'v', 'content-length': '3' }, body })
    expect([answer.status, answer.headers['x-many'], answer.headers['etag']]).toEqual([201, 'one, two', '"e"'])
    expect(JSON.parse((await bytesOf(answer.body)).toString())).toEqual(['PUT', '/a%20b?x=1', 'v', '3', '0100ff'])
  })

  it('gives header values as the bytes that came, one character each', async () => {
    const http = await serving((_, response) => response.writeHead(200, { 'x-amz-meta-name': Buffer.from('é', 'utf8').toString('latin1') }).end())
    const { headers, body } = await http.ask(get)
    body.drain()
    expect(Buffer.from(headers['x-amz-meta-name']!, 'latin1').toString('utf8')).toBe('é')
  })

  it('waits for a reader: a body that nobody reads is not all taken from the socket', async () => {
    const size = 64 * 1_024 * 1_024
    let sent = 0
    const http = await serving((_, response) => {
      response.writeHead(200, { 'content-length': size })
      const chunk = Buffer.alloc(65_536, 7)
      const more = (): void => {
        while (sent < size) {
          sent += chunk.length
          if (!response.write(chunk)) return void response.once('drain', more)
        }
        response.end()
      }
      more()
    })
    const { body } = await http.ask(get)
    let before = -1
    while (sent !== before) {
      before = sent
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    // What waits with us, and what the sockets of both sides hold.
    expect(sent).toBeLessThan(size / 2)
    expect((await bytesOf(body)).length).toBe(size)
  })

  it('uses a connection again after a body that was read or drained, and not after one that was cancelled', async () => {
    const ports = new Set<number>()
    const http = await serving((request, response) => {
      ports.add(request.socket.remotePort!)
      response.end(Buffer.alloc(100_000))
    }, { sockets: 1 })
    for (let i = 0; i < 3; i++) {
      (await http.ask(get)).body.drain()
      await bytesOf((await http.ask(get)).body)
    }
    expect(ports.size).toBe(1)
    const { body } = await http.ask(get)
    body.cancel()
    await expect(bytesOf(body)).rejects.toMatchObject({ name: 'AbortError' })
    await bytesOf((await http.ask(get)).body)
    expect(ports.size).toBe(2)
  })

  it('ends what is under way when the signal aborts: before the answer, within its body, and in the queue for a socket', async () => {
    const http = await serving((request, response) => {
      if (request.url === '/body') response.writeHead(200, { 'content-length': 10 }).write('12345')
    }, { sockets: 2 })
    const stop = new AbortController()
    const { signal } = stop
    const within = await http.ask({ ...get, path: '/body', signal })
    const bytes = bytesOf(within.body)
    const waiting = http.ask({ ...get, path: '/never', signal })
    const queued = http.ask({ ...get, path: '/queued', signal })
    const all = Promise.allSettled([bytes, waiting, queued])
    await new Promise((resolve) => setTimeout(resolve, 100))
    stop.abort()
    expect((await all).map((one) => one.status === 'rejected' && (one.reason as Error).name)).toEqual(['AbortError', 'AbortError', 'AbortError'])
    await expect(http.ask({ ...get, signal })).rejects.toMatchObject({ name: 'AbortError' })
  })

  it('fails where the connection breaks, in the head or in the body', async () => {
    const http = await serving((request, response) => {
      if (request.url === '/body') response.writeHead(200, { 'content-length': 10 }).write('12345', () => response.destroy())
      else response.destroy()
    })
    await expect(http.ask(get)).rejects.toThrow()
    const { body } = await http.ask({ ...get, path: '/body' })
    await expect(bytesOf(body)).rejects.toThrow()
  })

  it('waits no longer than it was told for an answer and for a byte', async () => {
    const http = await serving((request, response) => {
      if (request.url === '/body') response.writeHead(200, { 'content-length': 10 }).write('12345')
    }, { timeout: 300 })
    await expect(http.ask(get)).rejects.toMatchObject({ name: 'HeadersTimeoutError' })
    const { body } = await http.ask({ ...get, path: '/body' })
    await expect(bytesOf(body)).rejects.toMatchObject({ name: 'BodyTimeoutError' })
  })
})
