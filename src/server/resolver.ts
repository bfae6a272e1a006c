import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { urlOf } from '../core/url-template.ts'
import { RekeyError } from '../core/errors.ts'
import type { Answer, Resolver } from '../id-map/resolver.ts'
import { failure } from './http.ts'

/** Answers may change while rows are still carried, and a permanent redirect is kept for good unless it says otherwise. */
const CACHE = 'private, max-age=300'

/**
 * - GET /<entity>/<old id>: 308 to where it is now, by the entity's template; with `Accept: application/json`, or without a template, 200
 *   and what is known. 410 with the reason for what will not come, 404 for what nothing is known of.
 * - GET /_new/<new id>[?entity=<name>]: 200 and the old id, 410, 404.
 */
export function resolverRoutes(resolver: Resolver, urls: Readonly<Record<string, string>>): (app: FastifyInstance) => void {
  return (app) => {
    app.get<{ Params: { id: string }; Querystring: { entity?: unknown } }>('/_new/:id', async (request, reply) => {
      const { entity } = request.query
      const answer = await known(resolver.fromNew(request.params.id, typeof entity === 'string' ? entity : null), request.params.id)
      return say(answer, reply)
    })
    app.get<{ Params: { entity: string; old: string } }>('/:entity/:old', async (request, reply) => {
      const { entity, old } = request.params
      const answer = await known(resolver.fromOld(entity, old), old)
      const template = Object.hasOwn(urls, entity) ? urls[entity] : undefined
      const url = answer?.status === 'here' && template !== undefined && answer.new !== null ? urlOf(template, answer.new) : null
      reply.header('vary', 'accept')
      if (url === null || wantsJson(request)) return say(answer, reply, url)
      return reply.code(308).header('location', url).header('cache-control', CACHE).send()
    })
  }
}

/** Null for what cannot be asked: an entity that is not there, a text that no database takes. */
async function known(answer: Promise<Answer>, text: string): Promise<Answer | null> {
  return answer.catch((error: unknown) => {
    if (error instanceof RekeyError && error.code === 'USAGE') return null
    if (text.includes('\0')) return null
    throw error
  })
}

function say(answer: Answer | null, reply: FastifyReply, url: string | null = null): FastifyReply {
  if (answer === null) return reply.code(404).send(failure('NOT_FOUND', 'there is nothing of that name'))
  const { status, ...known } = answer
  const code = { here: 200, gone: 410, unknown: 404 }[status]
  return reply.code(code).header('cache-control', code === 404 ? 'no-store' : CACHE).send({ ...known, status, url })
}

function wantsJson({ headers }: FastifyRequest): boolean {
  return /\bapplication\/json\b/i.test(headers.accept ?? '')
}
