import { describe, expect, it } from 'vitest'
import { openS3Store } from '../../connectors/s3/store.ts'
import { codeOf } from '../../src/mirror/again.ts'
import { copyObject } from '../../src/mirror/copy.ts'
import { newPace } from '../../src/mirror/pace.ts'
import { pacedStore } from '../../src/mirror/paced-store.ts'
import { newBucket, optionsFor } from '../support/buckets.ts'
import { between, requestFor } from '../support/copying.ts'
import { MiB, bytesAt, putInParts, twoServers, uploadsIn, type Sides } from '../support/object-sides.ts'
import { bytesOf, content, md5, target } from '../support/objects.ts'
import { errorBody, type Asked } from '../support/s3-proxy.ts'

const two = twoServers()
let made = 0

const copy = ({ from, to }: Sides) => copyObject(requestFor('key', 'key'), between(from, to))

const isGet = ({ method }: Asked): boolean => method === 'GET'
const isPut = ({ method }: Asked): boolean => method === 'PUT'
const isFinish = ({ method, url }: Asked): boolean => method === 'POST' && url.includes('uploadId=')

describe('a store in trouble', () => {
  it('503, 429, 500 and resets at a rate of 30 %: everything arrives, ever fewer requests are under way', async () => {
    const all = await two.sides()
    const keys = Array.from({ length: 60 }, (_, i) => `o/${i}`)
    await Promise.all(keys.map((key) => all.source.put(target(key), content(Buffer.from(key)))))
    two.proxies[1].rules = [
      { chance: 0.1, accident: { answer: 503, body: errorBody('SlowDown') } },
      { chance: 0.1, accident: { answer: 500, body: errorBody('InternalError') } },
      { chance: 0.05, accident: { answer: 429 } }, { chance: 0.05, accident: 'lose-answer' },
    ]
    const pace = newPace({ most: 256, requestsPerSecond: null, bytesPerSecond: null })
    const context = between(all.from, pacedStore(all.to, pace))
    // A copy may meet an accident at each of its tries: its job is put back then, and done again.
    const job = async (key: string): Promise<void> => {
      for (let rounds = 1; ; rounds++) {
        const error: unknown = await copyObject(requestFor(key, key), context).then(() => null, (reason: unknown) => reason)
        if (error === null) return
        if (rounds === 5 || !/^(STORE_BUSY|REMOTE)$/.test(String(codeOf(error)))) throw error
      }
    }
    await Promise.all(keys.map(job))
    for (const key of keys) expect((await bytesAt(all.destination, key)).toString()).toBe(key)
    expect(pace.allowed).toBeLessThan(16)
    expect(pace.inFlight).toBe(0)
    expect(two.proxies[1].mostInFlight).toBeLessThanOrEqual(60)
    expect(two.proxies[1].asked.length).toBeLessThan(4 * keys.length)
  })

  it('no answer at all: ends with REMOTE after a few tries, and hammers nobody', async () => {
    const all = await two.sides()
    await all.source.put(target('key'), content(Buffer.from('x')))
    two.proxies[0].rules = [{ when: isGet, accident: { answer: 503, body: errorBody('SlowDown') } }]
    await expect(copy(all)).rejects.toMatchObject({ code: 'STORE_BUSY', exit: 6 })
    expect(two.proxies[0].asked.length).toBeLessThanOrEqual(6)
  })

  it('a copy by the store that answers 200 and an error in the body is no copy', async () => {
    const bucket = `near-${++made}`
    const [source] = [await newBucket(two.servers[0], bucket)]
    const near = await openS3Store(optionsFor({ ...two.servers[0], url: two.proxies[0].url }, bucket))
    const etag = await putInParts(source, 'parts', bytesOf(two.chance, 6 * MiB))
    await source.put(target('key'), content(Buffer.from('x')))
    for (const body of [errorBody('InternalError'), `${errorBody('SlowDown')}\n`]) {
      const once = { times: 1, accident: { answer: 200, body } }
      two.proxies[0].rules = [{ when: isPut, ...once }, { when: isFinish, ...once }]
      two.proxies[0].forget()
      const copied = await copyObject(requestFor('key', 'to'), between(near, near))
      expect(copied).toMatchObject({ path: 'store', destination: { etag: md5(Buffer.from('x')) } })
      expect(two.proxies[0].asked.filter(isPut)).toHaveLength(2)
      const inParts = await copyObject(requestFor('parts', 'parts2'), between(near, near))
      expect(inParts).toMatchObject({ path: 'store-parts', destination: { etag } })
      await source.remove('to', md5(Buffer.from('x')))
      await source.remove('parts2', etag)
    }
  })

  it('answers that are lost: what was done is not done twice, nor taken for another’s', async () => {
    const all = await two.sides()
    await all.source.put(target('key'), content(Buffer.from('x')))
    two.proxies[1].rules = [{ when: isPut, times: 1, accident: 'lose-answer' }]
    expect(await copy(all)).toMatchObject({ destination: { etag: md5(Buffer.from('x')) } })
    const etag = await putInParts(all.source, 'big', bytesOf(two.chance, 6 * MiB))
    two.proxies[1].rules = [{ when: isFinish, times: 1, accident: 'lose-answer' }]
    expect(await copyObject(requestFor('big', 'big'), between(all.from, all.to))).toMatchObject({ path: 'parts', destination: { etag } })
    expect(await uploadsIn(all.destination)).toEqual([])
  })

  it('credentials that expire are asked for again, and the copy goes on', async () => {
    const all = await two.sides()
    await all.source.put(target('key'), content(Buffer.from('x')))
    let asked = 0
    const credentials = async () => {
      asked++
      return { ...two.servers[0].credentials, expiration: new Date(Date.now() + 3_600_000) }
    }
    const from = await openS3Store({ ...optionsFor({ ...two.servers[0], url: two.proxies[0].url }, all.source.bucket), credentials })
    await from.head({ key: 'key', version: null })
    expect(asked).toBe(1)
    two.proxies[0].rules = [{ times: 1, accident: { answer: 400, body: errorBody('ExpiredToken') } }]
    expect(await copyObject(requestFor('key', 'key'), between(from, all.to))).toMatchObject({ path: 'whole' })
    expect(asked).toBe(2)
  })

  it('a write that fails before it begins gives back the place of the body that it was to send', async () => {
    const all = await two.sides()
    const bytes = bytesOf(two.chance, 17 * MiB)
    await all.source.put(target('key'), content(bytes))
    const pace = newPace({ most: 4, requestsPerSecond: null, bytesPerSecond: null })
    let failures = 0
    const credentials = async () => {
      // While a body is open at the source.
      if (pace.inFlight > 0 && failures++ < 2) throw new Error('the credentials’ server is away')
      return { ...two.servers[1].credentials, expiration: new Date(Date.now() + 1_000) }
    }
    const to = await openS3Store({ ...optionsFor(two.servers[1], all.bucket), credentials })
    expect(await copyObject(requestFor('key', 'key'), between(pacedStore(all.from, pace), to))).toMatchObject({ path: 'whole' })
    expect([failures > 1, pace.inFlight]).toEqual([true, 0])
  })
})
