import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { parentsRig } from '../support/accident.ts'
import { startChild } from '../support/child.ts'
import { startPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/proxy.ts'
import type { Rig } from '../support/rig.ts'
import { server } from '../support/servers.ts'

/** Bridges that stand still for longer than anybody waits for them, are cut off while another one takes over, or have a slow line. */
const source = await startPostgres({ major: 16, settings: { wal_sender_timeout: '1500ms' } })
const destination = await server(18, 'destination')
afterAll(() => source.stop())
const servers = { source, destination }

async function applied(rig: Rig, name: string): Promise<void> {
  await expect.poll(() => rig.destination.query(`select count(*)::text as n from parents where name = '${name}'`)).toEqual([{ n: '20' }])
}

test('a bridge that stands still for longer than the source waits goes on when it wakes up', async () => {
  const rig = await parentsRig(servers)
  const child = startChild(rig.config)
  try {
    await child.reached('stream')
    await rig.source.query(`update parents set name = 'before'`)
    await applied(rig, 'before')
    child.kill('SIGSTOP')
    await rig.source.query(`update parents set name = 'meanwhile'; insert into children select i, 1, i, 'm' from generate_series(1000, 3000) i`)
    // Two timeouts: the server has given its reader up by then.
    await sleep(3_500)
    expect(await rig.source.query(`select from pg_replication_slots where slot_name = 'rekey_${rig.config.pipeline}' and active`)).toEqual([])
    child.kill('SIGCONT')
    await applied(rig, 'meanwhile')
    await rig.source.query(`update parents set name = 'after'`)
    await applied(rig, 'after')
    child.kill('SIGTERM')
    expect(await child.ended).toEqual({ code: 0, signal: null })
    expect(await rig.differences()).toEqual([])
  } finally {
    child.kill('SIGKILL')
    await rig.close()
  }
})

test('one that stands still is taken over, and when it wakes up it can neither apply nor take the pipeline back', async () => {
  const rig = await parentsRig(servers)
  const first = startChild(rig.config)
  const children = [first]
  try {
    await first.reached('stream')
    await rig.source.query(`update parents set name = 'first'`)
    await applied(rig, 'first')
    first.kill('SIGSTOP')
    const second = startChild(rig.config, { takeover: true })
    children.push(second)
    await second.reached('stream')
    await rig.source.query(`update parents set name = 'second'`)
    await applied(rig, 'second')
    first.kill('SIGCONT')
    await rig.source.query(`update parents set name = 'both awake'`)
    expect((await first.ended).code).toBe(5)
    expect(first.lines.at(-1)).toMatch(/^failed (FENCED|RUNNING|SLOT_IN_USE) /)
    await applied(rig, 'both awake')
    second.kill('SIGTERM')
    expect(await second.ended).toEqual({ code: 0, signal: null })
    expect(await rig.differences()).toEqual([])
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await rig.close()
  }
})

test('one whose lines swallow everything is taken over at once; when they are whole again, it is fenced', async () => {
  const links = { source: await startProxy(source), destination: await startProxy(destination) }
  const near = await parentsRig(servers)
  const far = { ...near.config, source: { ...near.config.source, url: links.source.through(near.config.source.url) },
    destination: { ...near.config.destination, url: links.destination.through(near.config.destination.url) } }
  const first = startChild(far)
  const children = [first]
  try {
    await first.reached('stream')
    await near.source.query(`update parents set name = 'first'`)
    await applied(near, 'first')
    for (const link of [links.source, links.destination]) link.freeze()
    await near.source.query(`update parents set name = 'cut off'`)
    const began = Date.now()
    const second = startChild(near.config, { takeover: true })
    children.push(second)
    await second.reached('stream')
    await applied(near, 'cut off')
    expect(Date.now() - began).toBeLessThan(15_000)
    for (const link of [links.source, links.destination]) link.thaw()
    expect((await first.ended).code).toBe(5)
    await near.source.query(`update parents set name = 'second'`)
    await applied(near, 'second')
    second.kill('SIGTERM')
    expect(await second.ended).toEqual({ code: 0, signal: null })
    expect(await near.differences()).toEqual([])
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await near.close()
    await Promise.all([links.source.close(), links.destination.close()])
  }
})

test('lines that carry 64 kB a second, every byte by itself, and 200 ms late', async () => {
  const links = { source: await startProxy(source), destination: await startProxy(destination) }
  const rig = await parentsRig(servers, { rows: 50, through: { source: links.source.through, destination: links.destination.through } })
  try {
    const running = rig.start()
    await rig.caughtUp(running)
    for (const link of [links.source, links.destination]) {
      link.narrow(64_000)
      link.delay(200)
    }
    await rig.source.query(`insert into children select i, 1 + i % 50, i, repeat('narrow ', 8) from generate_series(1000, 1150) i; update parents set name = 'far' where id < 20; delete from children where id > 1120`)
    await rig.caughtUp(running)
    expect(running.notes.filter(({ level }) => level === 'warn')).toEqual([])
    for (const link of [links.source, links.destination]) {
      link.narrow(0)
      link.delay(0)
    }
    await running.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
    await Promise.all([links.source.close(), links.destination.close()])
  }
})

test('lines on which every byte takes 50 ms each way', async () => {
  const links = { source: await startProxy(source), destination: await startProxy(destination) }
  const rig = await parentsRig(servers, { rows: 300, through: { source: links.source.through, destination: links.destination.through } })
  try {
    for (const link of [links.source, links.destination]) link.delay(50)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`insert into children select i, 1 + i % 300, i, 'far' from generate_series(1000, 4000) i; update parents set name = 'far' where id < 100; delete from children where id > 3500`)
    await rig.caughtUp(running)
    expect(running.notes.filter(({ event }) => event === 'restart')).toEqual([])
    await running.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
    await Promise.all([links.source.close(), links.destination.close()])
  }
})
