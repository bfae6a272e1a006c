import { readFile } from 'node:fs/promises'
import { type AddressInfo, connect } from 'node:net'
import { createServer, type Server } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { redisCache } from '../../connectors/redis/cache.ts'
import { redisFacts } from '../../connectors/redis/facts.ts'
import { makeCertificates } from '../support/certificates.ts'
import { startRedis } from '../support/services/redis.ts'

/** Redis behind an end of TLS, as stunnel would be: not every build of Redis speaks TLS itself. */
const [redis, { at, remove }] = await Promise.all([startRedis(), makeCertificates(['server'])])
const strangers = await makeCertificates(['server'])
let ends: Server

beforeAll(async () => {
  const [key, cert] = await Promise.all([readFile(at('server.key')), readFile(at('server.pem'))])
  ends = createServer({ key, cert }, (socket) => {
    const server = connect(redis.port, '127.0.0.1')
    for (const one of [socket, server]) one.on('error', () => void (socket.destroy(), server.destroy()))
    socket.pipe(server).pipe(socket)
  })
  ends.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => ends.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  ends.close()
  await Promise.all([redis.stop(), remove(), strangers.remove()])
})

const url = (scheme = 'rediss', host = '127.0.0.1'): string => `${scheme}://${host}:${(ends.address() as AddressInfo).port}`

describe('rediss://', () => {
  it('lets a server in whose certificate is of the authority that is named', async () => {
    expect(await redisFacts({ url: url(), ca: at('ca.pem') })).toMatchObject({ role: 'master' })
    const cache = redisCache({ url: url(), ca: at('ca.pem'), prefix: 'tls', pipeline: 'p', key: Buffer.from('key'), generation: 'one', timeoutMs: 2_000 })
    await expect.poll(() => cache.state()).toBe('empty')
    await cache.filled()
    cache.keep([{ entity: 'users', key: '1', id: 'usr_1', kind: 'merged', rule: 'email', evidence: '' }])
    await cache.flushed()
    expect((await cache.find('users', ['1'])).entries.get('1')).toMatchObject({ id: 'usr_1' })
    await cache.close()
  })

  it.each([
    ['an authority that nobody named', () => ({ url: url(), ca: null })],
    ['another authority', () => ({ url: url(), ca: strangers.at('ca.pem') })],
    ['a certificate for another name', () => ({ url: url('rediss', 'localhost'), ca: at('ca.pem') })],
    ['TLS where a plain server is', () => ({ url: redis.url.replace('redis:', 'rediss:'), ca: at('ca.pem') })],
    ['a plain connection where TLS is', () => ({ url: url('redis') })],
  ])('refuses %s', async (_name, of) => {
    expect(await redisFacts(of())).toBeNull()
  })

  it('refuses it whatever the environment says', async () => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0')
    try {
      expect(await redisFacts({ url: url(), ca: null })).toBeNull()
    } finally {
      vi.unstubAllEnvs()
    }
  })

  it('names a file that cannot be read', async () => {
    const open = (): unknown => redisCache({ url: url(), ca: at('nowhere.pem'), prefix: 'tls', pipeline: 'p', key: Buffer.from('key'), generation: 'one', timeoutMs: 500 })
    expect(open).toThrowError(expect.objectContaining({ code: 'CONFIG', message: `redis.ca: ${at('nowhere.pem')} cannot be read` }) as Error)
    await expect(redisFacts({ url: url(), ca: at('nowhere.pem') })).rejects.toMatchObject({ code: 'CONFIG' })
  })
})
