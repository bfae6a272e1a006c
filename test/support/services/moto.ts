import { fileURLToPath } from 'node:url'
import { needed, run } from './commands.ts'
import { fetched } from './fetched.ts'
import { serve } from './serve.ts'
import type { S3 } from './s3.ts'

const VERSION = '5.2.5'
const TITLE = `moto ${VERSION}`
const REMEDY = 'apt-get install -y python3-pip'

/**
 * Starts an S3 server that takes every key as it is (`//`, `..`, `a` beside `a/b`) and keeps all in memory: a kill or restart empties it.
 * It checks neither signatures nor checksums, and some races have two winners, so it is for tests of keys alone.
 */
export async function startMoto(): Promise<S3> {
  const served = await serve({
    name: 'moto',
    ready: async (port) => (await fetch(`http://127.0.0.1:${port}/moto-api/data.json`)).ok,
    async program({ port }) {
      const [python, packages] = [needed({ program: 'python3', title: TITLE, remedy: REMEDY }), await moto()]
      const env = { PYTHONPATH: packages, PYTHONNOUSERSITE: '1' }
      return { command: [python, '-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], env }
    },
    container: () => ({ image: `motoserver/moto:${VERSION}`, port: 5000 }),
  })
  const credentials = { accessKeyId: 'rekey-test', secretAccessKey: 'rekey-test-secret' }
  return { ...served, url: `http://${served.host}:${served.port}`, region: 'us-east-1', credentials }
}

/** Resolves with a folder of Python packages. Some are compiled for one version of Python, so each version has a folder. */
export async function moto(): Promise<string> {
  const python = needed({ program: 'python3', title: TITLE, remedy: REMEDY })
  const version = (await run([python, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])'])).trim()
  const requirements = fileURLToPath(new URL('moto-requirements.txt', import.meta.url))
  return fetched({
    title: `${TITLE} from PyPI`, folder: `moto-${VERSION}-python${version}-${process.platform}-${process.arch}`, remedy: REMEDY,
    fill: async (to) => void await run([python, '-m', 'pip', 'install', '-q', '--no-deps', '--target', to, '-r', requirements]),
  })
}
