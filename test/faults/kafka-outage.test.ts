import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { readStatus } from '../../src/cli/status.ts'
import { operate } from '../../src/pipeline/operate.ts'
import { failureOf } from '../support/accident.ts'
import { startChild, type Child } from '../support/child.ts'
import { drained } from '../support/drained.ts'
import { kafkaRig } from '../support/kafka-rig.ts'
import { startPostgres } from '../support/postgres.ts'
import type { Rig } from '../support/rig.ts'
import { scraped, type Scraped } from '../support/scrape.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'

/** The brokers are away for long, at a source that keeps little WAL for a slot: hours in a minute. */
const KEPT_MB = 112
const settings = { max_slot_wal_keep_size: `${KEPT_MB}MB`, max_wal_size: '48MB', min_wal_size: '32MB' }
const [source, { destination }, broker] = await Promise.all([startPostgres({ major: 16, settings }), pair({ source: 16, destination: 18 }), startKafka()])
afterAll(() => Promise.all([source.stop(), broker.stop()]))

const LISTEN = 'metrics: { listen: "127.0.0.1:0" }'
const outageRig = (): Promise<Rig> => kafkaRig({ source, destination }, broker, { config: LISTEN })
const MB = 1 << 20
const metricsOf = (child: Child): Scraped =>
  scraped({ get notes() { return child.lines.flatMap((line) => (line.startsWith('note metrics: ') ? [{ level: 'info' as const, event: 'metrics', text: line }] : [])) } })

/** So many transactions of one megabyte. */
async function write(rig: Rig, from: number, megabytes: number): Promise<void> {
  for (let i = from; i < from + megabytes; i++) {
    await rig.source.query(`insert into parents select ${1_000 * i} + n, repeat(md5(n::text), 32) from generate_series(1, 900) n; update children set amount = ${i} where id = ${1 + (i % 20)}`)
  }
  await rig.source.query('checkpoint')
}

const walOf = async (rig: Rig): Promise<number> => Number((await rig.source.query('select sum(size)::bigint as size from pg_ls_waldir()'))[0].size) / MB

test('brokers that are away for long: the source keeps WAL up to its limit, memory stays, it is told, and nothing is lost', async () => {
  const rig = await outageRig()
  const [capture, deliver] = [startChild(rig.config, { role: 'capture' }), startChild(rig.config, { role: 'deliver' })]
  try {
    await Promise.all([capture.reached('stream'), deliver.reached('stream')])
    // As much once while all is well: what it needs for work is no growth.
    await write(rig, 1, 20)
    await drained(rig)
    const used = capture.rss
    await broker.kill()
    await write(rig, 100, 35)
    const watch = metricsOf(capture)
    await watch.until('rekey_slot_retained_bytes', (bytes) => bytes! > 35 * MB)
    const before = await watch.samples()
    // The client library tries by itself for some seconds before it says so.
    const readiness = async (): Promise<unknown> => (await watch.get('/readyz')).json()
    await expect.poll(readiness).toMatchObject({ ready: false, state: 'waiting', reasons: [{ code: 'REMOTE' }] })
    expect(before.get('rekey_slot_wal_status{status="lost"}')).toBe(0)
    // The longer it lasts, the less is left, and the alert about it comes before the end.
    await write(rig, 200, 30)
    const inDanger = (one: ReadonlyMap<string, number>): boolean => {
      const [safe, retained] = [one.get('rekey_slot_safe_wal_bytes')!, one.get('rekey_slot_retained_bytes')!]
      return one.get('rekey_slot_wal_status{status="unreserved"}') === 1 || safe < 0.2 * (safe + retained)
    }
    expect(inDanger(before)).toBe(false)
    for (let i = 300; !inDanger(await watch.samples()); i += 5) {
      await write(rig, i, 5)
      await sleep(1_000)
    }
    expect((await watch.samples()).get('rekey_errors_total{stage="decode",code="REMOTE"}')).toBeGreaterThan(0)
    const status = await operate(rig.config, (operated) => readStatus(operated, rig.config))
    expect(status.slot).toMatchObject({ retainedBytes: expect.any(Number) as number })
    expect(await walOf(rig)).toBeLessThan(KEPT_MB + 80)
    expect((capture.rss - used) / MB).toBeLessThan(60)
    await broker.restart()
    await drained(rig, { seconds: 90, failed: () => [...capture.lines, ...deliver.lines].find((line) => line.startsWith('failed')) })
    expect(await rig.differences()).toEqual([])
    await watch.until('rekey_slot_retained_bytes', (bytes) => bytes! < 20 * MB)
    expect(await readiness()).toMatchObject({ ready: true })
    expect((capture.rss - used) / MB).toBeLessThan(80)
    for (const child of [capture, deliver]) {
      child.kill('SIGTERM')
      expect(await child.ended).toEqual({ code: 0, signal: null })
    }
  } finally {
    for (const child of [capture, deliver]) child.kill('SIGKILL')
    await Promise.all([capture.ended, deliver.ended])
    await rig.close()
  }
}, 180_000)

test('brokers that are away for longer than the source keeps WAL: the slot is lost, which is said, and nothing is begun anew', async () => {
  const rig = await outageRig()
  const running = [rig.start({ role: 'capture' }), rig.start({ role: 'deliver' })]
  try {
    await rig.caughtUp(running[1])
    await broker.kill()
    for (let i = 1; (await rig.source.query(`select wal_status from pg_replication_slots where slot_name = 'rekey_${rig.config.pipeline}'`))[0].wal_status !== 'lost'; i += 40) {
      await write(rig, 1_000 + i, 40)
    }
    expect(await walOf(rig)).toBeLessThan(KEPT_MB + 80)
    await broker.restart()
    for (const one of running) expect(await failureOf(one)).toMatchObject({ code: 'SLOT_LOST', exit: 5 })
    const before = await rig.destination.query('select count(*) from parents')
    for (const role of ['capture', 'deliver'] as const) expect(await failureOf(rig.start({ role }))).toMatchObject({ code: 'SLOT_LOST', exit: 5 })
    expect(await rig.destination.query('select count(*) from parents')).toEqual(before)
  } finally {
    await Promise.all(running.map((one) => one.stop().catch(() => {})))
    await rig.close()
  }
}, 180_000)
