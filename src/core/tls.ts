import { RekeyError } from './errors.ts'

/** Codes of Node and of OpenSSL for a server that does not prove who it is; ours for one that does not speak TLS at all. */
const TROUBLE: Readonly<Record<string, readonly [what: string, hint: string]>> = {
  NO_TLS: ['it does not offer TLS', 'Turn `ssl` on at the server; or take sslmode out of the URL, where nobody can listen or answer on the way.'],
  CERT_HAS_EXPIRED: ['its certificate has expired', 'Give the server a new certificate, and have it read that (`select pg_reload_conf()`).'],
  CERT_NOT_YET_VALID: ['its certificate is not valid yet', 'Compare the clocks of both machines, or give the server a certificate that is valid now.'],
  CERT_REVOKED: ['its certificate was revoked', 'Give the server a new certificate.'],
  ERR_TLS_CERT_ALTNAME_INVALID: [
    'its certificate is for another name', 'Name the server in the URL as its certificate does, or give it a certificate that holds this name.',
  ],
}

const OTHER = [
  'its certificate is by an authority that is not trusted here',
  'Add sslrootcert=<file of the authority that signed it> to the URL. If you do not know who did, ask: somebody else may be answering.',
] as const

const CERTIFICATE = /^(CERT_|ERR_TLS_CERT|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_(GET|VERIFY|DECRYPT|DECODE)|HOSTNAME_MISMATCH|INVALID_(CA|PURPOSE))/

/** A server that was not let in for its TLS, as an error that says what to do; null for any other trouble. `side`: source, destination. */
export function tlsError(code: string | undefined, side: string): RekeyError | null {
  if (code === undefined || (!Object.hasOwn(TROUBLE, code) && !CERTIFICATE.test(code))) return null
  const [what, hint] = TROUBLE[code] ?? OTHER
  return new RekeyError('TLS', `the ${side} was not trusted: ${what} (${code})`, { hint })
}
