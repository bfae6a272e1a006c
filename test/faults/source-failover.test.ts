import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { failureOf, parked, parentsRig } from '../support/accident.ts'
import type { Rig } from '../support/rig.ts'
import { server } from '../support/servers.ts'
import { startPair } from '../support/standby.ts'

/** The source fails over to a standby: with a copy of the slot it goes on, without one the run ends and says so. */
const destination = await server(18, 'destination')
const [kept, bare] = await Promise.all([startPair(17, { slots: true }), startPair(15)])
const rigs: Rig[] = []
afterAll(async () => {
  for (const rig of rigs) await rig.close()
  await Promise.all([kept.close(), bare.close()])
})

async function rigOf(pair: typeof kept): Promise<Rig> {
  const rig = await parentsRig({ source: pair.address, destination })
  rigs.push(rig)
  return rig
}

const change = (rig: Rig, from: number): Promise<unknown> => rig.source.query(`insert into parents select i, 'later' from generate_series(${from}, ${from + 20}) i;
  update children set amount = amount + 1; delete from children where id = ${from % 20}`)

test('with a failover slot nothing is lost and nothing doubled, under the bridge and at its next start', async () => {
  const rig = await rigOf(kept)
  const running = rig.start()
  await rig.caughtUp(running)
  await kept.holds(`rekey_${rig.config.pipeline}`)
  await change(rig, 101)
  kept.strand()
  const waits = (): boolean => running.notes.some((note) => note.text.includes('the source is a standby'))
  for (const end = Date.now() + 20_000; !waits() && Date.now() < end;) await Promise.race([running.ended, sleep(50)])
  expect(waits()).toBe(true)
  await kept.failOver()
  await change(rig, 202)
  await rig.caughtUp(running)
  expect(running.notes.filter((note) => note.event === 'timeline').map((note) => note.text)).toEqual(['the source was promoted to timeline 2, and its slot came along: nothing is missing'])
  await running.stop()
  await change(rig, 303)
  const again = rig.start()
  await rig.caughtUp(again)
  await again.stop()
  expect(again.notes.filter((note) => note.event === 'timeline')).toEqual([])
  expect(await parked(rig)).toEqual([])
  expect(await rig.differences()).toEqual([])
})

test('without one the run ends, says what happened and what to do, and does so again', async () => {
  const rig = await rigOf(bare)
  const running = rig.start()
  await rig.caughtUp(running)
  await bare.level()
  await bare.failOver()
  await change(rig, 101)
  for (const run of [() => running, () => rig.start()]) {
    const { code, exit, message, hint } = await failureOf(run())
    expect({ code, exit, message }).toEqual({ code: 'TIMELINE', exit: 5, message: 'the source is on timeline 2, the checkpoint is of timeline 1' })
    expect(hint).toContain('`rekey remove`')
  }
  expect(await rig.destination.query("select from parents where name = 'later'")).toEqual([])
})
