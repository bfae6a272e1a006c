import { afterAll, beforeAll, expect, test } from 'vitest'
import { failureOf, parentsRig } from '../support/accident.ts'
import { client } from '../support/database.ts'
import type { Rig, Running } from '../support/rig.ts'
import { server } from '../support/servers.ts'
import { startPair } from '../support/standby.ts'

/**
 * The destination fails over, once, to an asynchronous standby that has not got its last commits: under five bridges, each with databases of
 * its own.
 */
const source = await server(15)
const pair = await startPair(18)
const rigs: Rig[] = []
afterAll(async () => {
  for (const rig of rigs) await rig.close()
  await pair.close()
})

async function rigOf(retain: string, more: { readonly config?: string; readonly rows?: number } = {}): Promise<Rig> {
  const rig = await parentsRig({ source, destination: pair.address }, { retain, ...more })
  rigs.push(rig)
  return rig
}

const kept = await rigOf('10m')
const given = await rigOf('0s')
const begun = await rigOf('10m')
const lost = await rigOf('10m')
const copying = await rigOf('10m', { config: 'snapshot: { rowsPerChunk: 100 }', rows: 2000 })

const running = new Map<Rig, Running>()
/** What the promoted server has, before any bridge comes to it. */
const promoted = new Map<Rig, string>()
let chunks = 0

async function until(is: () => boolean): Promise<void> {
  while (!is()) await new Promise((resolve) => setTimeout(resolve, 20))
}

beforeAll(async () => {
  let [severed, failedOver] = [false, false]
  for (const rig of [kept, given, begun]) {
    running.set(rig, rig.start())
    await rig.caughtUp(running.get(rig)!)
  }
  await running.get(begun)!.stop()
  running.set(copying, copying.start({ async point(name) {
    if (name !== 'apply.committed') return
    chunks++
    if (chunks >= 8) await until(() => severed)
    if (chunks >= 20) await until(() => failedOver)
  } }))
  await until(() => chunks >= 8)
  await pair.level()
  pair.sever()
  severed = true
  for (const rig of [begun, lost]) running.set(rig, rig.start())
  for (const rig of [kept, given, begun]) {
    await rig.source.query("insert into parents select i, 'lost' from generate_series(101, 150) i; update children set note = 'lost'; delete from children where id = 20")
    await rig.caughtUp(running.get(rig)!)
  }
  await lost.caughtUp(running.get(lost)!)
  await until(() => chunks >= 20)
  const slot = (): Promise<unknown[]> => given.source.query(`select 1 from pg_replication_slots where slot_name = 'rekey_${given.config.pipeline}' and confirmed_flush_lsn >= '${at}'`)
  const [{ end_lsn: at }] = await given.destination.query('select end_lsn from rekey.checkpoint')
  while ((await slot()).length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
  await pair.failOver(async (url) => {
    for (const [rig, question] of [[kept, 'from parents'], [given, 'from parents'], [begun, 'from parents'], [lost, "from pg_namespace where nspname = 'rekey'"],
      [copying, 'from rekey.chunk where rows is not null']] as const) {
      const session = await client(url(rig.destination.name))
      promoted.set(rig, (await session.query<{ n: string }>(`select count(*) as n ${question}`)).rows[0].n)
      await session.end()
    }
  })
  failedOver = true
}, 60_000)

/** In the end both sides agree, with what came later, too. */
async function agree(rig: Rig, bridge: Running): Promise<void> {
  await rig.source.query("insert into parents values (10001, 'later')")
  await rig.caughtUp(bridge)
  await bridge.stop()
  expect(await rig.differences()).toEqual([])
}

test('what is lost is sent again, as far back as `retain` keeps the slot', async () => {
  expect(promoted.get(kept)).toBe('20')
  await agree(kept, running.get(kept)!)
})

test('what `retain` has not kept is named, at each start, and nothing comes behind it', async () => {
  expect(promoted.get(given)).toBe('20')
  await given.source.query("insert into parents values (10001, 'later')")
  for (const run of [() => running.get(given)!, () => given.start()]) {
    const { code, exit, message, hint } = await failureOf(run())
    expect({ code, exit, message }).toEqual({ code: expect.stringMatching(/^SLOT_(AHEAD|RECREATED)$/) as string, exit: 5, message: expect.stringMatching(/changes of [0-9A-F/]+ to [0-9A-F/]+ cannot be read/) as string })
    expect(hint).toContain('lost its last commits')
  }
  expect(await given.destination.query('select count(*) from parents')).toEqual([{ count: '20' }])
})

test('a bridge whose own start is lost goes on: it was not taken over', async () => {
  expect(promoted.get(begun)).toBe('20')
  await agree(begun, running.get(begun)!)
})

test('a run of which everything is lost stops, and begins anew when it is started', async () => {
  expect(promoted.get(lost)).toBe('0')
  const { code, hint } = await failureOf(running.get(lost)!)
  expect({ code, hint }).toEqual({ code: 'FENCED', hint: expect.stringContaining('`rekey run` begins anew') as string })
  await agree(lost, lost.start())
})

test('chunks of the initial copy that are lost are copied again', async () => {
  expect(Number(promoted.get(copying))).toBeLessThan(20)
  await agree(copying, running.get(copying)!)
  expect(chunks).toBeGreaterThan(40)
})
