import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { BegunUpload } from '../../src/core/objects/copy.ts'
import { abandonedUploads } from '../../src/mirror/abandoned.ts'
import { copyObject } from '../../src/mirror/copy.ts'
import { optionsFor } from '../support/buckets.ts'
import { between, requestFor } from '../support/copying.ts'
import { MiB, bytesAt, putInParts, twoServers, uploadsIn, type Sides } from '../support/object-sides.ts'
import { bytesOf, target } from '../support/objects.ts'

const two = twoServers()
let made = 0

describe('a process that is killed in the middle of an upload', () => {
  let folder = ''
  beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'rekey-killed-')) })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  /** Ends the child at the n-th part that it sends. */
  async function killedAt(all: Sides, part: number): Promise<BegunUpload> {
    const file = join(folder, `begun-${++made}.json`)
    const options = [optionsFor(two.servers[0], all.bucket), optionsFor({ ...two.servers[1], url: two.proxies[1].url }, all.bucket)]
    const main = fileURLToPath(new URL('../support/copy-child.ts', import.meta.url))
    const args = ['--import', 'tsx', main, ...options.map((one) => JSON.stringify(one)), file]
    const child = spawn(process.execPath, args, { stdio: 'ignore' })
    let parts = 0
    const kill = async () => void child.kill('SIGKILL')
    two.proxies[1].rules = [{ when: ({ url }) => url.includes('partNumber=') && ++parts === part, times: 1, accident: { before: kill } }]
    await new Promise((resolve) => child.once('exit', resolve))
    expect(child.signalCode).toBe('SIGKILL')
    return JSON.parse(readFileSync(file, 'utf8')) as BegunUpload
  }

  it('another goes on with it: the parts that arrived are not sent again', async () => {
    const all = await two.sides()
    const bytes = bytesOf(two.chance, 28 * MiB)
    const etag = await putInParts(all.source, 'big', bytes)
    const begun = await killedAt(all, 4)
    expect(await all.destination.head({ key: 'big', version: null })).toBeNull()
    const there = (await all.destination.uploads.resume(target('big'), begun.id))!.parts.length
    expect(there).toBeGreaterThanOrEqual(2)
    two.proxies[1].forget()
    const copied = await copyObject(requestFor('big', 'big', { begun }), between(all.from, all.to))
    expect(copied).toMatchObject({ path: 'parts', destination: { etag } })
    expect(two.proxies[1].asked.filter(({ url }) => url.includes('partNumber='))).toHaveLength(6 - there)
    expect((await bytesAt(all.destination, 'big')).equals(bytes)).toBe(true)
    expect(await uploadsIn(all.destination)).toEqual([])
  })

  it('when nobody remembers it, it is aborted a day later, and those of others are not', async () => {
    const all = await two.sides()
    await putInParts(all.source, 'big', bytesOf(two.chance, 28 * MiB))
    await killedAt(all, 3)
    await all.destination.uploads.begin(target('theirs'), 'sent')
    const ours = async (keys: readonly string[]) => new Set(keys.filter((key) => key === 'big'))
    const day = 24 * 3_600_000
    expect(await abandonedUploads(all.destination, { prefix: '', before: Date.now() - day, ours })).toBe(0)
    expect(await abandonedUploads(all.destination, { prefix: '', before: Date.now() + 10_000, ours })).toBe(1)
    expect((await uploadsIn(all.destination)).map(({ key }) => key)).toEqual(['theirs'])
  })
})
