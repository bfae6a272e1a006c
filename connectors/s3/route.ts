import type { S3Client } from '@aws-sdk/client-s3'
import type { Http, HttpAnswer, HttpBody } from './http.ts'
import { queryOf, signerFor } from './signature.ts'
import { encodedKey } from './text.ts'

/**
 * The SDK's middleware costs more CPU than all else that a small object takes (about 0.4 ms a request), so objects are read and written
 * without it: with its credentials, to where it sends such requests itself, which the first one of a client shows.
 * What it would do beyond that (checksums, endpoints, expired credentials, clocks that differ) is done here, in ask(), or left to it.
 */
export interface Route {
  send(request: RouteRequest): Promise<HttpAnswer>
  /** Ends its idle connections. */
  close(): void
}

export interface RouteRequest {
  readonly method: 'GET' | 'PUT'
  readonly key: string
  readonly query: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | null
  /** Hex; of the body. */
  readonly sha256: string
  readonly abortSignal?: AbortSignal | undefined
}

interface Addressed {
  readonly protocol: string
  readonly hostname: string
  readonly port?: number
  readonly path: string
}

interface Scheme {
  readonly name: string
  readonly signingRegion?: string
  readonly signingName?: string
}

/** Tells the route as soon as a request for a key has shown it; buckets with other signatures than SigV4 have none. */
export function learnRoute(client: S3Client, open: (origin: string) => Http, learn: (route: Route) => void): void {
  let known = false
  client.middlewareStack.add((next, context) => (args) => {
    const { Key: key } = args.input as { Key?: string }
    const request = args.request as Addressed
    const scheme = (context.endpointV2?.properties?.['authSchemes'] as Scheme[] | undefined)?.[0]
    if (!known && key !== undefined && scheme?.name === 'sigv4' && scheme.signingRegion !== undefined && request.path.endsWith(`/${encodedKey(key)}`)) {
      known = true
      const http = open(`${request.protocol}//${hostOf(request)}`)
      learn(routeFrom(client, { ...request, path: request.path.slice(0, -encodedKey(key).length) }, { scheme, http }))
    }
    return next(args)
  }, { step: 'build', name: 'learnRoute' })
}

function routeFrom({ config }: S3Client, address: Addressed, { scheme, http }: { readonly scheme: Scheme; readonly http: Http }): Route {
  const sign = signerFor({ region: scheme.signingRegion ?? '', service: scheme.signingName ?? 's3' })
  const host = hostOf(address)
  return {
    async send({ method, key, query, headers, body, sha256, abortSignal }) {
      const path = address.path + encodedKey(key)
      const signed = sign({ method, host, path, query, headers, sha256 }, await config.credentials(), Date.now() + config.systemClockOffset)
      const asked = queryOf(query)
      const answer = await http.ask({ method, path: asked === '' ? path : `${path}?${asked}`, headers: signed, body, signal: abortSignal })
      if (answer.status < 300) return answer
      throw await errorOf(answer.status, answer.body)
    },
    close: () => http.close(),
  }
}

const hostOf = ({ hostname, port }: Addressed): string => port === undefined ? hostname : `${hostname}:${port}`

/** As the SDK would throw it: the code of the S3 API and the status. An error is small, and what is longer is not one of S3's. */
async function errorOf(status: number, body: HttpBody): Promise<Error> {
  let text = ''
  for await (const chunk of body) if (text.length < 65_536) text += Buffer.from(chunk).toString('utf8')
  const name = /<Code>([A-Za-z0-9.]{1,100})<\/Code>/.exec(text)?.[1] ?? 'UnknownError'
  return Object.assign(new Error(name), { name, $metadata: { httpStatusCode: status } })
}
