import { createHash, timingSafeEqual } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { fastify, type FastifyInstance } from 'fastify'
import { isLoopback, parseAddress } from '../core/address.ts'
import { RekeyError } from '../core/errors.ts'

export interface ListenOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string
  /** Every request must carry it as `Authorization: Bearer …`; may be absent only where nobody but the own machine can ask. */
  readonly token?: string | undefined
}

export interface Listening {
  /** `http://host:port`, with the port that was taken. */
  readonly url: string
  /** Resolves when nobody is answered any more. */
  close(): Promise<void>
}

/**
 * Opens a listener with these routes and resolves when it answers. Beyond the own machine only with a token. What a route throws is
 * answered with 500 and nothing of the error, or with 503 when a server of ours did not answer. Rejects with RekeyError CONFIG when the address cannot be used.
 */
export async function listen({ listen: text, token }: ListenOptions, routes: (app: FastifyInstance) => void): Promise<Listening> {
  const address = parseAddress(text)
  if (address === null) throw new RekeyError('CONFIG', `not an address to listen at: ${text}`)
  if (!isLoopback(address) && token === undefined) throw new RekeyError('CONFIG', `listening at ${text} needs a token`)
  const app = fastify({ forceCloseConnections: true, bodyLimit: 1 << 20, requestTimeout: 10_000 })
  if (token !== undefined) {
    const isRight = bearer(token)
    app.addHook('onRequest', async (request, reply) => {
      if (isRight(request.headers.authorization)) return
      return reply.code(401).header('www-authenticate', 'Bearer').send(failure('UNAUTHORIZED', 'a token is needed'))
    })
  }
  app.setNotFoundHandler((_request, reply) => reply.code(404).send(failure('NOT_FOUND', 'there is nothing here')))
  app.setErrorHandler((error: { statusCode?: number }, _request, reply) => {
    if (error instanceof RekeyError && error.code === 'REMOTE') return reply.code(503).send(failure('REMOTE', 'a server does not answer'))
    const { statusCode = 500 } = error
    if (statusCode >= 500) return reply.code(500).send(failure('INTERNAL', 'it failed'))
    return reply.code(statusCode).send(failure('USAGE', 'the request cannot be understood'))
  })
  routes(app)
  try {
    await app.listen({ ...address, listenTextResolver: () => '' })
  } catch (cause) {
    throw new RekeyError('CONFIG', `cannot listen at ${text} (${(cause as { code?: string }).code ?? 'no reason given'})`, { cause })
  }
  const taken = app.server.address() as AddressInfo
  const host = taken.family === 'IPv6' ? `[${taken.address}]` : taken.address
  return { url: `http://${host}:${taken.port}`, close: () => app.close() }
}

/** The body of every answer that is not the one that was asked for. */
export function failure(code: string, message: string): { readonly error: { readonly code: string; readonly message: string } } {
  return { error: { code, message } }
}

/** Compares digests, so that neither the time nor the length of the answer tells anything of the token. */
function bearer(token: string): (header: string | undefined) => boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  const wanted = digest(token)
  return (header) => {
    const given = /^bearer +(\S+)$/i.exec(header ?? '')
    return timingSafeEqual(digest(given?.[1] ?? ''), wanted) && given !== null
  }
}
