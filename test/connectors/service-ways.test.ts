import { mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { needed } from '../support/services/commands.ts'
import { fetched } from '../support/services/fetched.ts'
import { servicesOf } from '../support/services/global-setup.ts'
import { chooseWay, engine, enginePlaces } from '../support/services/way.ts'

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url))

describe('the way in which services run', () => {
  const [there, missing] = [true, false].map((answers) => ({ answers, at: 'unix:///run/engine.sock' }))

  test('is containers where an engine answers, and processes elsewhere', () => {
    expect(chooseWay(undefined, there)).toEqual({ way: 'containers', because: 'a container engine answers at unix:///run/engine.sock' })
    expect(chooseWay('', missing)).toEqual({ way: 'processes', because: 'no container engine answers at unix:///run/engine.sock' })
  })

  test('can be forced, but not to what is not there', () => {
    expect(chooseWay('processes', there)).toEqual({ way: 'processes', because: 'REKEY_TEST_SERVICES=processes' })
    expect(chooseWay('containers', there).way).toBe('containers')
    expect(() => chooseWay('containers', missing)).toThrow(
      'REKEY_TEST_SERVICES asks for containers, and no container engine answers at unix:///run/engine.sock. Run: unset REKEY_TEST_SERVICES')
    expect(() => chooseWay('docker', there)).toThrow('REKEY_TEST_SERVICES is "docker", and must be containers or processes.')
  })
})

describe('an engine', () => {
  const asked = async (listener: RequestListener) => {
    const server = createServer(listener)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const host = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`
    const began = Date.now()
    const { answers } = await engine({ DOCKER_HOST: host })
    server.closeAllConnections()
    server.close()
    return { answers, ms: Date.now() - began }
  }

  test('answers when it says OK to a ping', async () => {
    expect(await asked((request, answer) => answer.writeHead(request.url === '/_ping' ? 200 : 404).end('OK'))).toMatchObject({ answers: true })
    expect(await asked((_, answer) => answer.writeHead(500).end())).toMatchObject({ answers: false })
  })

  test('that hangs does not hold up the run', async () => {
    const { answers, ms } = await asked(() => {})
    expect(answers).toBe(false)
    expect(ms).toBeLessThan(2_000)
  })

  test('is looked for at DOCKER_HOST alone, or else at the usual sockets', async () => {
    expect(enginePlaces({ DOCKER_HOST: 'tcp://engine:2375', XDG_RUNTIME_DIR: '/run/user/1' })).toEqual(['tcp://engine:2375'])
    const desktop = `unix://${path.join(homedir(), '.docker', 'run', 'docker.sock')}`
    expect(enginePlaces({ XDG_RUNTIME_DIR: '/run/user/1' })).toEqual(['unix:///var/run/docker.sock', 'unix:///run/user/1/docker.sock', desktop])
    expect(await engine({ DOCKER_HOST: 'unix:///nowhere.sock' })).toEqual({ answers: false, at: 'unix:///nowhere.sock' })
    expect(await engine({ DOCKER_HOST: 'ssh://engine' })).toEqual({ answers: false, at: 'ssh://engine' })
  })
})

describe('before a run', () => {
  test('what the chosen files import, also through others, is fetched, and nothing else', () => {
    expect(servicesOf([file('services.test.ts')])).toEqual(['kafka.ts', 'moto.ts', 'prometheus.ts', 'redis.ts', 's3.ts'])
    expect(servicesOf([file('../support/services/moto.ts')])).toEqual(['moto.ts'])
  })

  test('the core tests need nothing', async () => {
    const core = file('../core')
    const names = (await readdir(core, { recursive: true })).filter((name) => name.endsWith('.test.ts'))
    expect(names.length).toBeGreaterThan(20)
    expect(servicesOf([...names.map((name) => path.join(core, name)), file('../floors.test.ts')])).toEqual([])
  })
})

test('a program that is missing is named in one sentence, with the command that gives it', () => {
  expect(() => needed({ program: 'no-such-program', title: 'A thing', remedy: 'apt-get install -y thing' })).toThrow(
    /^A thing cannot be had: no container engine is used, and there is no no-such-program on the PATH\. Run: apt-get install -y thing$/)
})

describe('what is fetched', () => {
  const inCache = async (work: (cache: string) => Promise<void>) => {
    const cache = await mkdtemp(path.join(tmpdir(), 'rekey-cache-'))
    await work(cache).finally(() => rm(cache, { recursive: true }))
  }

  test('is fetched once by two that want it at the same time, and never half', () => inCache(async (cache) => {
    let fetches = 0
    const what = {
      title: 'a thing', folder: 'thing-1', remedy: 'true',
      async fill(to: string) {
        fetches++
        await writeFile(path.join(to, 'one'), '1')
        await sleep(300)
        await writeFile(path.join(to, 'two'), '2')
      },
    }
    const folders = await Promise.all([fetched(what, cache), fetched(what, cache)])
    expect(folders).toEqual([path.join(cache, 'thing-1'), path.join(cache, 'thing-1')])
    expect(fetches).toBe(1)
    expect(await readdir(cache)).toEqual(['thing-1'])
    expect(await readFile(path.join(cache, 'thing-1', 'two'), 'utf8')).toBe('2')
  }))

  test('is tried again after a failure', () => inCache(async (cache) => {
    let online = false
    const fill = async (to: string) => {
      await writeFile(path.join(to, 'one'), '1')
      if (!online) throw new Error('offline')
    }
    const what = { title: 'a thing', folder: 'thing-1', remedy: 'true', fill }
    await expect(fetched(what, cache)).rejects.toMatchObject({
      message: 'a thing cannot be had: no container engine is used, and fetching it failed. Run: true', cause: { message: 'offline' },
    })
    expect(await readdir(cache)).toEqual([])
    online = true
    expect(await readdir(await fetched(what, cache))).toEqual(['one'])
  }))

  test('does not wait for a run that died with the lock, and removes what it left half', () => inCache(async (cache) => {
    await mkdir(path.join(cache, 'thing-1.part-abc', 'half'), { recursive: true })
    const lock = path.join(cache, 'thing-1.lock')
    await writeFile(lock, '')
    const before = new Date(Date.now() - 60_000)
    await utimes(lock, before, before)
    await fetched({ title: 'a thing', folder: 'thing-1', remedy: 'true', fill: (to) => writeFile(path.join(to, 'one'), '1') }, cache)
    expect(await readdir(cache)).toEqual(['thing-1'])
  }))
})
