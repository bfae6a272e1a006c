import { once } from 'node:events'
import { Agent, createServer, request, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Random } from './random.ts'

/** A request as it came in. */
export interface Asked {
  readonly method: string
  /** Path and query, byte by byte. */
  readonly url: string
  readonly headers: IncomingMessage['headers']
}

/** What happens to a request instead of being forwarded and answered. */
export type Accident =
  /** Answered by the proxy; the server never hears of it. */
  | { readonly answer: number; readonly body?: string; readonly headers?: Readonly<Record<string, string>> }
  /** Something happens before it is forwarded. */
  | { readonly before: () => Promise<void> }
  /** The server does it, and the connection is reset instead of the answer. */
  | 'lose-answer'
  /** The connection is reset after so many bytes of the answer's body. */
  | { readonly cutAfter: number }
  /** The answer's body ends after so many bytes, as if it was whole. */
  | { readonly shortenTo: number }
  /** One bit of this byte of the answer's body is flipped. */
  | { readonly flipByte: number }
  /** The same of the request's body. */
  | { readonly flipSentByte: number }

export interface Rule {
  readonly when?: (asked: Asked) => boolean
  /** How often the rule still applies; without it, always. */
  times?: number
  /** With which probability it applies to a request that fits. */
  readonly chance?: number
  readonly accident: Accident
}

export interface S3Proxy {
  readonly url: string
  /** The first that fits a request applies. */
  rules: Rule[]
  /** All requests since the last forget(), and most of them under way at a time. */
  readonly asked: readonly Asked[]
  readonly mostInFlight: number
  forget(): void
  close(): Promise<void>
}

/** The body of an answer that is an error of this code. */
export const errorBody = (code: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>no</Message></Error>`

/** An HTTP proxy before an S3 server on the loopback, with accidents on request. Hosts and paths pass as they are, so signatures hold. */
export async function startS3Proxy(target: { readonly host: string; readonly port: number }, random: Random): Promise<S3Proxy> {
  const agent = new Agent({ keepAlive: true })
  const state = { rules: [] as Rule[], asked: [] as Asked[], inFlight: 0, most: 0 }
  const server = createServer((incoming, outgoing) => {
    const asked = { method: incoming.method ?? '', url: incoming.url ?? '', headers: incoming.headers }
    state.asked.push(asked)
    state.most = Math.max(state.most, ++state.inFlight)
    outgoing.on('close', () => state.inFlight--)
    const rule = state.rules.find((one) => (one.times ?? 1) > 0 && (one.when?.(asked) ?? true) && random.chance(one.chance ?? 1))
    if (rule?.times !== undefined) rule.times--
    const fail = (): void => void incoming.socket.destroy()
    handle({ incoming, outgoing, target, agent }, rule?.accident).catch(fail)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get rules() { return state.rules },
    set rules(rules) { state.rules = rules },
    get asked() { return state.asked },
    get mostInFlight() { return state.most },
    forget() {
      state.asked = []
      state.most = 0
    },
    close: () => new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
      agent.destroy()
    }),
  }
}

interface Exchange {
  readonly incoming: IncomingMessage
  readonly outgoing: ServerResponse
  readonly target: { readonly host: string; readonly port: number }
  readonly agent: Agent
}

async function handle(exchange: Exchange, accident: Accident | undefined): Promise<void> {
  const { incoming, outgoing } = exchange
  if (typeof accident === 'object' && 'answer' in accident) {
    for await (const _ of incoming) continue
    const body = accident.body ?? ''
    const headers = { 'content-type': 'application/xml', 'content-length': Buffer.byteLength(body), ...accident.headers }
    outgoing.writeHead(accident.answer, headers)
    outgoing.end(incoming.method === 'HEAD' ? undefined : body)
    return
  }
  if (typeof accident === 'object' && 'before' in accident) await accident.before()
  const answer = await forward(exchange, typeof accident === 'object' && 'flipSentByte' in accident ? accident.flipSentByte : null)
  if (accident === 'lose-answer') {
    for await (const _ of answer) continue
    incoming.socket.destroy()
    return
  }
  await giveBack(exchange, answer, accident)
}

function forward({ incoming, target, agent }: Exchange, flip: number | null): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { method, url: path, rawHeaders } = incoming
    const out = request({ ...target, method, path, agent, headers: rawHeaders as unknown as readonly string[] }, resolve)
    out.on('error', reject)
    let at = 0
    incoming.on('data', (chunk: Buffer) => {
      out.write(flip === null ? chunk : flipped(chunk, flip - at))
      at += chunk.length
    })
    incoming.on('end', () => out.end())
    incoming.on('error', (error) => out.destroy(error))
    incoming.on('close', () => { if (!incoming.complete) out.destroy() })
  })
}

interface Change {
  readonly cutAfter?: number
  readonly shortenTo?: number
  readonly flipByte?: number
}

async function giveBack({ incoming, outgoing }: Exchange, answer: IncomingMessage, accident: Accident | undefined): Promise<void> {
  const { cutAfter, shortenTo, flipByte } = (typeof accident === 'object' ? accident : {}) as Change
  const most = cutAfter ?? shortenTo ?? Infinity
  const headers = { ...answer.headers }
  if (shortenTo !== undefined) headers['content-length'] = String(Math.min(most, Number(headers['content-length'])))
  outgoing.writeHead(answer.statusCode ?? 502, headers)
  const closed = new Promise((resolve) => outgoing.once('close', resolve))
  let sent = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    const part = (flipByte === undefined ? chunk : flipped(chunk, flipByte - sent)).subarray(0, most - sent)
    sent += part.length
    if (outgoing.destroyed) return
    if (!outgoing.write(part)) await Promise.race([once(outgoing, 'drain'), closed])
    if (cutAfter !== undefined && sent >= cutAfter) {
      incoming.socket.resetAndDestroy()
      return
    }
  }
  outgoing.end()
}

function flipped(chunk: Buffer, at: number): Buffer {
  if (at < 0 || at >= chunk.length) return chunk
  const copy = Buffer.from(chunk)
  copy[at] ^= 1
  return copy
}
