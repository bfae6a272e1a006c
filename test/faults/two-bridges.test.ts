import { expect, test } from 'vitest'
import { failureOf, parentsRig } from '../support/accident.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })

test('a second bridge of one pipeline is refused and the first goes on', async () => {
  const rig = await parentsRig(servers)
  try {
    const first = rig.start()
    await rig.caughtUp(first)
    const { code, exit } = await failureOf(rig.start())
    expect({ code, exit }).toEqual({ code: 'RUNNING', exit: 5 })
    await rig.source.query("update parents set name = 'after'")
    await rig.caughtUp(first)
    await first.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})

test('two that start at once: one runs, the other is refused', async () => {
  const rig = await parentsRig(servers)
  try {
    const both = [rig.start(), rig.start()]
    const outcomes = await Promise.race(both.map((one, i) => one.ended.catch((error: { code: string }) => ({ i, code: error.code }))))
    expect(outcomes).toMatchObject({ code: 'RUNNING' })
    const winner = both[1 - (outcomes as { i: number }).i]
    await rig.caughtUp(winner)
    await winner.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.close()
  }
})

test('taken over under load: exactly one applies, the old one is fenced', async () => {
  const rig = await parentsRig(servers)
  const busy = { on: true }
  try {
    const first = rig.start()
    await rig.caughtUp(first)
    const load = (async () => {
      for (let i = 0; busy.on; i++) await rig.source.query(`insert into parents values (${1000 + i}, 'load'); insert into children values (${1000 + i}, ${1000 + i}, 1, 'load')`)
    })()
    const second = rig.start({ takeover: true })
    const { code, exit } = await failureOf(first)
    expect({ code, exit }).toEqual({ code: 'FENCED', exit: 5 })
    busy.on = false
    await load
    await rig.caughtUp(second)
    await second.stop()
    expect(await rig.differences()).toEqual([])
    expect(await rig.destination.query('select count(*) from rekey.parked')).toEqual([{ count: '0' }])
  } finally {
    busy.on = false
    await rig.close()
  }
})
