import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface Certificates {
  /** A file of the folder: `ca.pem`, `server.pem`, `server.key`, `client.pem`, … */
  at(name: string): string
  remove(): Promise<void>
}

/** A certificate authority, and certificates of it for the address 127.0.0.1, by these names; one named `expired` was good until yesterday. */
export async function makeCertificates(names: readonly string[]): Promise<Certificates> {
  const folder = await mkdtemp(join(tmpdir(), 'rekey-tls-'))
  const at = (name: string): string => join(folder, name)
  const openssl = (...args: string[]): Promise<unknown> => run('openssl', args)
  await openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=tests', '-keyout', at('ca.key'), '-out', at('ca.pem'))
  await writeFile(at('san'), 'subjectAltName=IP:127.0.0.1\n')
  for (const name of names) {
    await openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${name}`, '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`))
    await openssl('x509', '-req', '-days', name === 'expired' ? '-1' : '2', '-in', at(`${name}.csr`), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-extfile', at('san'), '-out', at(`${name}.pem`))
  }
  return { at, remove: () => rm(folder, { recursive: true, force: true }) }
}
