import { createHmac, createSecretKey, hash, type BinaryLike, type KeyObject } from 'node:crypto'
import { encoded } from './text.ts'

export interface S3Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
  readonly expiration?: Date
}

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

/** The headers of a request with its signature (SigV4), made at `now`, milliseconds since 1970. */
export type Sign = (request: Unsigned, credentials: S3Credentials, now: number) => Record<string, string>

const hmac = (key: BinaryLike | KeyObject, text: string): Buffer => createHmac('sha256', key).update(text).digest()

/** When a request is signed, as signatures say it. */
interface Moment {
  readonly second: number
  readonly time: string
  readonly day: string
}

function momentOf(second: number): Moment {
  const time = new Date(second * 1_000).toISOString().replace(/[-:]|\.\d{3}/g, '')
  return { second, time, day: time.slice(0, 8) }
}

const isSigned = (name: string): boolean => name === 'host' || name === 'content-type' || name.startsWith('x-amz-')

/** The key of a day is derived once for all its requests, and a second is written once. */
export function signerFor({ region, service }: Scope): Sign {
  let known: { readonly of: string; readonly key: KeyObject } | null = null
  let moment = momentOf(0)
  const keyFor = (secret: string, day: string): KeyObject => {
    const of = `${day} ${secret}`
    if (known?.of !== of) {
      const key = createSecretKey(hmac(hmac(hmac(hmac(`AWS4${secret}`, day), region), service), 'aws4_request'))
      known = { of, key }
    }
    return known.key
  }
  return ({ method, host, path, query, headers, sha256 }, { accessKeyId, secretAccessKey, sessionToken }, now) => {
    const second = Math.floor(now / 1_000)
    if (moment.second !== second) moment = momentOf(second)
    const { time, day } = moment
    const sent: Record<string, string> = { host, ...headers, 'x-amz-content-sha256': sha256, 'x-amz-date': time }
    if (sessionToken !== undefined) sent['x-amz-security-token'] = sessionToken
    const names = Object.keys(sent).filter(isSigned).sort()
    const signed = names.join(';')
    let lines = ''
    for (const name of names) lines += `${name}:${sent[name].trim().replace(/ +/g, ' ')}\n`
    const scope = `${day}/${region}/${service}/aws4_request`
    const text = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${hash('sha256', `${method}\n${path}\n${queryOf(query)}\n${lines}\n${signed}\n${sha256}`)}`
    sent['authorization'] = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${
      hmac(keyFor(secretAccessKey, day), text).toString('hex')}`
    return sent
  }
}

/** Sorted by name, as it is sent and signed. */
export const queryOf = (query: Readonly<Record<string, string>>): string =>
  Object.keys(query).sort().map((name) => `${encoded(name)}=${encoded(query[name])}`).join('&')
