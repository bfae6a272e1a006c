import type { S3Client } from '@aws-sdk/client-s3'

const HEADERS = Symbol('headers')

type Headers = Readonly<Record<string, string>>

/** The input of a command, and headers that the SDK would parse or act upon: they are sent as they are. */
export function withHeaders<T extends object>(input: T, headers: Headers): T {
  return Object.assign(input, { [HEADERS]: headers })
}

/** Makes a client send them, signed like the others. */
export function sendHeaders(client: S3Client): void {
  client.middlewareStack.add((next) => (args) => {
    const headers = (args.input as { [HEADERS]?: Headers })[HEADERS]
    if (headers) Object.assign((args.request as { headers: Record<string, string> }).headers, headers)
    return next(args)
  }, { step: 'build', name: 'headersAsTheyAre' })
}
