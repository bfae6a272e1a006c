import { afterAll, beforeAll, expect, test } from 'vitest'
import { newBucket } from '../support/buckets.ts'
import { startChild } from '../support/child.ts'
import { createObjectRig, type ObjectRig } from '../support/object-rig.ts'
import { putInParts } from '../support/object-sides.ts'
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

/** A rig whose buckets have this name on both servers. */
async function rigOn(bucket: string, objects = ''): Promise<ObjectRig> {
  const [here, there] = stores
  const config = ({ url, region, credentials: { accessKeyId, secretAccessKey } }: S3): string =>
    `{ s3: { bucket: ${bucket}, endpoint: "${url}", region: ${region}, credentials: { accessKeyId: ${accessKeyId}, secretAccessKey: ${secretAccessKey} } } }`
  return createObjectRig({
    servers, objects,
    stores: {
      source: { config: config(here), store: await newBucket(here, bucket) }, destination: { config: config(there), store: await newBucket(there, bucket) },
    },
  })
}

test('rows and their objects move from one deployment with S3 into another', async () => {
  const rig = await rigOn('files')
  const { from, to } = rig
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
    await expect.poll(async () => (await rig.jobs()).filter((job) => job.endsWith(' gone')).length, { timeout: 60_000 }).toBe(4)
    expect(await to.head({ key: path!, version: null })).toBeNull()
    await running.stop()
  } finally {
    await rig.close()
  }
}, 120_000)

test('threads copy as one does: uploads in parts are noted, failures are told, and an end puts back what is under way', async () => {
  const rig = await rigOn('threads', ', threads: 2, memory: 24MiB, limits: { requests: 32, bandwidth: 64MiB }')
  try {
    await rig.source.query("insert into users values (1, 'a@lab.test'); insert into projects values (7, 1, 'p')")
    const etags: string[] = []
    for (let i = 0; i < 3; i++) etags.push(await putInParts(rig.from, `7/large ${i}`, bytesOf(chance, 18 << 20)))
    for (let i = 0; i < 100; i++) await rig.put(`7/small ${i}`, `small ${i}`)
    await rig.put('shared/taken', 'ours')
    await rig.to.put(target('shared/taken'), content(Buffer.from('of another')))
    await rig.source.query(`insert into files select '7/large ' || i, 7, 'v1', 1 from generate_series(0, 2) i;
      insert into files select '7/small ' || i, 7, 'v1', 1 from generate_series(0, 99) i; insert into files values ('shared/taken', 7, 'v1', 1)`)
    const first = startChild(rig.config)
    await expect.poll(async () => (await rig.jobs().catch(() => [])).filter((job) => job.endsWith(' verified')).length,
      { timeout: 60_000, interval: 20 }).toBeGreaterThan(10)
    first.kill('SIGTERM')
    expect(await first.ended).toEqual({ code: 0, signal: null })
    expect((await rig.jobs()).filter((job) => / (copying|parked)/.test(job) && !job.endsWith('OBJECT_EXISTS'))).toEqual([])
    const alone = startChild(rig.config, { role: 'mirror' })
    await rig.settled()
    alone.kill('SIGTERM')
    expect(await alone.ended).toEqual({ code: 0, signal: null })
    expect((await rig.jobs()).filter((job) => !job.endsWith(' verified'))).toEqual(['shared/taken parked OBJECT_EXISTS'])
    expect(await rig.wrong()).toEqual(['shared/taken parked'])
    const rows = await rig.destination.query("select dst_etag, checksum_alg from rekey.object where src_key like '%large%' order by src_key")
    expect(rows).toEqual(etags.map((etag) => ({ dst_etag: etag, checksum_alg: `sha256-4x${5 << 20}` })))
    for await (const open of rig.to.uploads.list('')) expect(open).toEqual([])
  } finally {
    await rig.close()
  }
}, 180_000)
