import { expect, test } from 'vitest'
import { drained } from '../support/drained.ts'
import { random } from '../support/random.ts'
import { createRig, type Rig, type Running } from '../support/rig.ts'
import { scraped } from '../support/scrape.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'
import { ROOTS_DESTINATION_SQL, ROOTS_MAPPING, ROOTS_SOURCE_SQL, rootsWorkload } from '../pipeline/roots-workload.ts'

const [servers, broker] = await Promise.all([pair({ source: 16, destination: 16 }), startKafka()])
const { seed } = random()
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** What all of them say they have applied, by table and deed. */
async function applied(processes: readonly Running[]): Promise<Record<string, number>> {
  const sums: Record<string, number> = {}
  for (const one of processes) {
    for (const [name, value] of await scraped(one).samples()) {
      const found = /^rekey_changes_total\{table="public\.(\w+)",op="(\w+)",stage="apply"\}$/.exec(name)
      if (found && value !== 0) sums[`${found[1]} ${found[2]}`] = (sums[`${found[1]} ${found[2]}`] ?? 0) + value
    }
  }
  return sums
}

const DEEDS = { insert: 'inserted', update: 'updated', merge: 'merged', delete: 'deleted', park: 'parked' } as const

test('what several processes say they have applied adds up to what was applied, however partitions change hands', async () => {
  // Without its filter: a row that is read again counts as parked before, and a counter never goes back.
  const mapping = ROOTS_MAPPING.replace(/^ {2}papers: \{ where.*\n/m, '')
  const rig = await createRig({
    servers, sourceSql: ROOTS_SOURCE_SQL, destinationSql: ROOTS_DESTINATION_SQL, mapping,
    config: `checks: set\nlog: kafka\nkafka: { brokers: ['${broker.bootstrap}'], partitions: 4 }\nmetrics: { listen: "127.0.0.1:0" }`,
  })
  const processes: Running[] = []
  const start = async (): Promise<void> => {
    const running = rig.start({ role: 'deliver' })
    processes.push(running)
    await expect.poll(() => running.notes.some((note) => note.event === 'partition')).toBe(true)
  }
  const capture = rig.start({ role: 'capture' })
  const workload = rootsWorkload({ url: rig.source.url, seed, sessions: 2, pause: 10 })
  const atWork = async (meanwhile: () => Promise<void>): Promise<void> => {
    const stop = new AbortController()
    const working = workload.run(stop.signal)
    await meanwhile().finally(() => stop.abort())
    await working
    await drained(rig, { seconds: 40 })
  }
  try {
    await start()
    // Partitions go to others, which have seen nothing of them.
    await atWork(async () => {
      await sleep(700)
      await start()
      await start()
      await sleep(700)
    })
    // One that has applied something: while they are united, one of them does for all.
    const said = await Promise.all(processes.map((one) => applied([one])))
    const leaves = said.findLastIndex((one) => Object.keys(one).length > 0)
    const gone = said[leaves]
    await processes.splice(leaves, 1)[0].stop()
    // And back to who had them before.
    await atWork(() => sleep(1_500))
    const sums = await applied(processes)
    for (const [name, n] of Object.entries(gone)) sums[name] = (sums[name] ?? 0) + n
    expect(Object.keys(gone).length).toBeGreaterThan(0)
    expect(sums).toEqual(await inTheDestination(rig))
    expect(workload.committed).toBeGreaterThan(50)
  } finally {
    await Promise.all([capture, ...processes].map((one) => one.stop().catch(() => {})))
    await rig.close()
  }
}, 120_000)

async function inTheDestination(rig: Rig): Promise<Record<string, number>> {
  const sums: Record<string, number> = {}
  for (const { totals } of await rig.destination.query('select totals::text from rekey.lane')) {
    for (const [table, counts] of Object.entries(JSON.parse(totals!) as Record<string, Record<string, number>>)) {
      for (const [deed, name] of Object.entries(DEEDS)) {
        const key = `${table.replace('public.', '')} ${deed}`
        if (counts[name] !== 0) sums[key] = (sums[key] ?? 0) + counts[name]
      }
    }
  }
  return sums
}
