import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { needed, run } from './commands.ts'
import { fetched } from './fetched.ts'
import { serve, type Served } from './serve.ts'

export interface S3 extends Served {
  /** The endpoint, `http://127.0.0.1:<port>`; path style. */
  readonly url: string
  readonly region: string
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
}

const VERSION = 'v1.8.0'
const TITLE = `versitygw ${VERSION}`
const REGION = 'us-east-1'
const CREDENTIALS = { accessKeyId: 'rekey-test', secretAccessKey: 'rekey-test-secret' }
const ENVIRONMENT = {
  ROOT_ACCESS_KEY: CREDENTIALS.accessKeyId, ROOT_SECRET_KEY: CREDENTIALS.secretAccessKey,
  VGW_HEALTH: '/health', VGW_QUIET: 'true', VGW_REGION: REGION,
}

/**
 * Starts an S3 server over a folder. It checks signatures and checksums; keys are file names, so hostile keys are for startMoto(). With
 * `keepAlive` it serves many requests over a connection, as S3 does; by itself it closes each.
 */
export async function startS3({ keepAlive = false } = {}): Promise<S3> {
  const environment = { ...ENVIRONMENT, VGW_KEEP_ALIVE: String(keepAlive) }
  const served = await serve({
    name: 'versitygw',
    ready: async (port) => (await fetch(`http://127.0.0.1:${port}/health`)).ok,
    async program({ port, folder }) {
      const [root, versions] = [path.join(folder, 'root'), path.join(folder, 'versions')]
      await mkdir(root)
      await mkdir(versions)
      const env = { ...environment, VGW_PORT: `127.0.0.1:${port}`, VGW_VERSIONING_DIR: versions }
      return { command: [await versitygw(), 'posix', root], env }
    },
    container: () => ({
      image: `versity/versitygw:${VERSION}`, port: 7070, env: { ...environment, VGW_VERSIONING_DIR: '/srv/versions' },
      entrypoint: ['sh', '-c'], command: ['mkdir -p /srv/root /srv/versions && exec versitygw posix /srv/root'],
    }),
  })
  return { ...served, url: `http://${served.host}:${served.port}`, region: REGION, credentials: CREDENTIALS }
}

export async function versitygw(): Promise<string> {
  const remedy = 'apt-get install -y golang-go'
  const folder = await fetched({
    title: `${TITLE} from the Go module proxy (built here)`, folder: `versitygw-${VERSION}-${process.platform}-${process.arch}`, remedy,
    async fill(to) {
      const go = needed({ program: 'go', title: TITLE, remedy })
      const source = `github.com/versity/versitygw/cmd/versitygw@${VERSION}`
      await run([go, 'install', '-trimpath', '-ldflags', '-s -w', source], { cwd: to, env: { GOBIN: to, CGO_ENABLED: '0' } })
    },
  })
  return path.join(folder, 'versitygw')
}
