import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { DESTINATION_SQL, MAPPING, SOURCE_SQL, THEIRS_SQL, workload } from '../pipeline/workload.ts'
import { startPostgres } from '../support/postgres.ts'
import { startProxy, type Proxy } from '../support/proxy.ts'
import { random } from '../support/random.ts'
import { createRig, type Rig } from '../support/rig.ts'

/** Servers of their own: they are killed. */
const settings = { wal_sender_timeout: '2s' }
const source = await startPostgres({ major: 16, settings })
const destination = await startPostgres({ major: 18 })
afterAll(() => Promise.all([source.stop(), destination.stop()]))
const { seed } = random()

interface Scene {
  readonly rig: Rig
  readonly links: { readonly source: Proxy; readonly destination: Proxy }
}

/** A bridge under load, by way of proxies; `accidents` happen; in the end both sides agree. */
async function survives(accidents: (scene: Scene) => Promise<void>): Promise<void> {
  const links = { source: await startProxy(source), destination: await startProxy(destination) }
  const rig = await createRig({
    servers: { source, destination }, sourceSql: SOURCE_SQL, destinationSql: DESTINATION_SQL, mapping: MAPPING,
    through: { source: links.source.through, destination: links.destination.through },
  })
  const stop = new AbortController()
  try {
    await rig.destination.query(THEIRS_SQL)
    const work = workload({ url: rig.source.url, seed, pause: 10 })
    await work.run(30)
    const running = rig.start()
    await rig.caughtUp(running)
    const busy = work.run(1e9, stop.signal)
    await accidents({ rig, links })
    await sleep(300)
    stop.abort()
    await busy
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.destination.query("select tbl, key, op, sqlstate, reason from rekey.parked where state <> 'done'")).toEqual([])
    expect(await rig.differences()).toEqual([])
    expect(work.committed).toBeGreaterThan(30)
  } finally {
    stop.abort()
    await rig.close()
    await Promise.all([links.source.close(), links.destination.close()])
  }
}

test('the source crashes and comes back', () => survives(async () => {
  for (let i = 0; i < 2; i++) {
    await sleep(300)
    source.kill()
    await source.restart()
  }
}))

test('the destination crashes and comes back', () => survives(async () => {
  for (let i = 0; i < 2; i++) {
    await sleep(300)
    destination.kill()
    await destination.restart()
  }
}))

test('both links are cut, again and again', () => survives(async ({ links }) => {
  for (let i = 0; i < 4; i++) {
    await sleep(250)
    links[i % 2 === 0 ? 'source' : 'destination'].cut()
  }
  await sleep(250)
  links.source.cut()
  links.destination.cut()
}))

test('links are cut in the middle of a message', () => survives(async ({ links }) => {
  for (const [link, direction] of [['source', 'down'], ['destination', 'up'], ['destination', 'down'], ['source', 'up']] as const) {
    await sleep(200)
    links[link].cutAfterBytes(777, direction)
  }
}))

test('the link to the source freezes for longer than its timeout', () => survives(async ({ links }) => {
  await sleep(200)
  links.source.freeze()
  await sleep(5_000)
  links.source.thaw()
}))

test('the link to the destination freezes, and what comes one way is lost', () => survives(async ({ links }) => {
  await sleep(200)
  links.destination.freeze()
  await sleep(2_000)
  links.destination.thaw()
  await sleep(200)
  links.destination.blackhole('down')
  await sleep(2_000)
  links.destination.thaw()
}))
