import { createHmac, createSecretKey, hash, type BinaryLike, type KeyObject } from 'node:crypto'
import type { S3Credentials } from './client.ts'
import { encoded } from './text.ts'

export interface Unsigned {
  readonly method: string
  readonly host: string
  /** Encoded as it is sent; S3 signs it like that (API Reference, "Signature Calculations for the Authorization Header"). */
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  /** Hex; of the payload. */
  readonly sha256: string
}

export interface Scope {
  readonly region: string
  readonly service: string
}

/** The headers of a request with its signature (SigV4), made at `now`. */
export type Sign = (request: Unsigned, credentials: S3Credentials, now: Date) => Record<string, string>

const hmac = (key: BinaryLike | KeyObject, text: string): Buffer => createHmac('sha256', key).update(text).digest()

/** The key of a day is derived once for all its requests. */
export function signerFor({ region, service }: Scope): Sign {
  let known: { readonly of: string; readonly key: KeyObject } | null = null
  const keyFor = (secret: string, day: string): KeyObject => {
    const of = `${day} ${secret}`
    if (known?.of !== of) {
      const key = createSecretKey(hmac(hmac(hmac(hmac(`AWS4${secret}`, day), region), service), 'aws4_request'))
      known = { of, key }
    }
    return known.key
  }
  return ({ method, host, path, query, headers, sha256 }, { accessKeyId, secretAccessKey, sessionToken }, now) => {
    const time = now.toISOString().replace(/[-:]|\.\d{3}/g, '')
    const day = time.slice(0, 8)
    const sent: Record<string, string> = {
      host, ...headers, 'x-amz-content-sha256': sha256, 'x-amz-date': time,
      ...(sessionToken === undefined ? {} : { 'x-amz-security-token': sessionToken }),
    }
    const names = Object.keys(sent).filter((name) => name === 'host' || name === 'content-type' || name.startsWith('x-amz-')).sort()
    const lines = names.map((name) => `${name}:${sent[name].trim().replace(/ +/g, ' ')}\n`).join('')
    const canonical = `${method}\n${path}\n${queryOf(query)}\n${lines}\n${names.join(';')}\n${sha256}`
    const scope = `${day}/${region}/${service}/aws4_request`
    const text = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${hash('sha256', canonical)}`
    const signature = hmac(keyFor(secretAccessKey, day), text).toString('hex')
    return { ...sent,
      authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}` }
  }
}

/** Sorted by name, as it is sent and signed. */
export const queryOf = (query: Readonly<Record<string, string>>): string =>
  Object.keys(query).sort().map((name) => `${encoded(name)}=${encoded(query[name])}`).join('&')
