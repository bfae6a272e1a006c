import { afterAll, beforeAll, expect, test } from 'vitest'
import { newBucket } from '../support/buckets.ts'
import { createObjectRig } from '../support/object-rig.ts'
import { bytesOf, content, target } from '../support/objects.ts'
import { random } from '../support/random.ts'
import { pair } from '../support/servers.ts'
import { startS3, type S3 } from '../support/services/s3.ts'

const servers = await pair({ source: 15, destination: 17 })
const chance = random()
let stores: readonly S3[]

beforeAll(async () => {
  stores = await Promise.all([startS3(), startS3()])
}, 300_000)
afterAll(() => Promise.all(stores.map((one) => one.stop())))

test('rows and their objects move from one deployment with S3 into another', async () => {
  const [here, there] = stores
  const [from, to] = [await newBucket(here, 'old-files'), await newBucket(there, 'new-files')]
  const config = ({ url, region, credentials: { accessKeyId, secretAccessKey } }: S3, bucket: string): string =>
    `{ s3: { bucket: ${bucket}, endpoint: "${url}", region: ${region}, credentials: { accessKeyId: ${accessKeyId}, secretAccessKey: ${secretAccessKey} } } }`
  const rig = await createObjectRig({
    servers, stores: { source: { config: config(here, 'old-files'), store: from }, destination: { config: config(there, 'new-files'), store: to } },
  })
  try {
    await rig.source.query("insert into users values (1, 'a@lab.test'); insert into projects values (7, 1, 'p')")
    const large = bytesOf(chance, 12 << 20)
    await from.put(target('7/large.bin', { headers: { 'content-type': 'application/x-large' }, metadata: { maker: 'ann' }, tags: { kind: 'raw' } }), content(large))
    for (let i = 0; i < 40; i++) await rig.put(`7/ü ${i}+%.txt`, `small ${i}`)
    for (const name of ['a', 'deep/b']) await rig.put(`7/dir/${name}`, name)
    await rig.source.query("insert into files select '7/ü ' || i || '+%.txt', 7, 'v1', 1 from generate_series(0, 19) i")
    await rig.source.query("insert into files values ('7/large.bin', 7, 'v1', 1), ('7/dir', 7, 'v1', null, false, true)".replace("'v1', 1)", "'v1', 1, false, false)"))
    const running = rig.start()
    await rig.source.query("insert into files select '7/ü ' || i || '+%.txt', 7, 'v1', 1 from generate_series(20, 39) i")
    await rig.caughtUp(running)
    await rig.settled(running)
    expect(await rig.wrong()).toEqual([])
    expect((await rig.jobs()).filter((job) => !job.endsWith(' verified'))).toEqual([])
    const [{ path }] = await rig.destination.query("select path from files where path like '%large.bin'")
    const info = (await to.head({ key: path!, version: null }))!
    expect([info.size, info.headers['content-type'], info.metadata.maker, info.etag]).toEqual([large.length, 'application/x-large', 'ann',
      (await from.head({ key: '7/large.bin', version: null }))!.etag])
    await rig.source.query("delete from files where path like '%large.bin' or folder")
    await rig.caughtUp(running)
    await expect.poll(async () => (await rig.jobs()).filter((job) => job.endsWith(' gone')).length, { timeout: 20_000 }).toBe(4)
    expect(await to.head({ key: path!, version: null })).toBeNull()
    await running.stop()
  } finally {
    await rig.close()
  }
}, 120_000)
