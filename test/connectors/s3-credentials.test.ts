import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { openS3Store } from '../../connectors/s3/store.ts'
import { newBucket, optionsFor } from '../support/buckets.ts'
import { content, target } from '../support/objects.ts'
import { startS3, type S3 } from '../support/services/s3.ts'

/** Where AWS's own chain looks for credentials, against a server that checks signatures. */
let server: S3
let folder = ''
let before: NodeJS.ProcessEnv
beforeAll(async () => {
  server = await startS3()
  folder = await mkdtemp(join(tmpdir(), 'rekey-credentials-'))
  await (await newBucket(server, 'chain')).put(target('key'), content(Buffer.from('x')))
  before = { ...process.env }
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
  // Nothing of this machine may take part.
  Object.assign(process.env, { AWS_EC2_METADATA_DISABLED: 'true', AWS_SHARED_CREDENTIALS_FILE: join(folder, 'none'), AWS_CONFIG_FILE: join(folder, 'none') })
}, 300_000)
const given: string[] = []
afterEach(() => { for (const name of given.splice(0)) delete process.env[name] })
afterAll(async () => {
  for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name]
  Object.assign(process.env, before)
  await server.stop()
  await rm(folder, { recursive: true, force: true })
})

function give(values: Readonly<Record<string, string>>): void {
  given.push(...Object.keys(values))
  Object.assign(process.env, values)
}

/** Reads twice: the SDK signs the first request of a client, we sign the later ones. */
async function reads(): Promise<number[]> {
  const store = await openS3Store({ ...optionsFor(server, 'chain'), credentials: null })
  const sizes: number[] = []
  for (let i = 0; i < 2; i++) {
    const { info, cancel } = await store.read({ key: 'key', version: null, etag: null, range: null })
    cancel()
    sizes.push(info.size)
  }
  store.close()
  return sizes
}

it('the environment', async () => {
  give({ AWS_ACCESS_KEY_ID: server.credentials.accessKeyId, AWS_SECRET_ACCESS_KEY: server.credentials.secretAccessKey })
  expect(await reads()).toEqual([1, 1])
  give({ AWS_SECRET_ACCESS_KEY: 'another secret' })
  await expect(reads()).rejects.toMatchObject({ code: 'OBJECT_REFUSED' })
})

it('a profile of the shared file', async () => {
  const file = join(folder, 'credentials')
  const { accessKeyId, secretAccessKey } = server.credentials
  await writeFile(file, `[default]\naws_access_key_id = nobody\naws_secret_access_key = wrong\n
[mover]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`)
  process.env['AWS_SHARED_CREDENTIALS_FILE'] = file
  await expect(reads()).rejects.toMatchObject({ code: 'OBJECT_REFUSED' })
  give({ AWS_PROFILE: 'mover' })
  expect(await reads()).toEqual([1, 1])
  process.env['AWS_SHARED_CREDENTIALS_FILE'] = join(folder, 'none')
})

it('a container’s endpoint, which is asked again when what it gave is about to end', async () => {
  let asked = 0
  const metadata: Server = createServer((_, answer) => {
    asked++
    const Expiration = new Date(Date.now() + (asked === 1 ? 1_000 : 3_600_000)).toISOString()
    answer.setHeader('content-type', 'application/json')
    answer.end(JSON.stringify({ AccessKeyId: server.credentials.accessKeyId, SecretAccessKey: server.credentials.secretAccessKey, Token: '', Expiration }))
  })
  await new Promise<void>((resolve) => metadata.listen(0, '127.0.0.1', resolve))
  give({ AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${(metadata.address() as AddressInfo).port}/credentials` })
  expect(await reads()).toEqual([1, 1])
  expect(asked).toBeGreaterThan(1)
  await new Promise((resolve) => metadata.close(resolve))
})

it('none at all is told; it is tried again, as what gives them may be away', async () => {
  await expect(reads()).rejects.toMatchObject({ code: 'REMOTE', message: expect.stringContaining('CredentialsProviderError') })
})
