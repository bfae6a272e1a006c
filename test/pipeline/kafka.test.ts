import { expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import { random } from '../support/random.ts'
import { createRig } from '../support/rig.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'
import { DESTINATION_SQL, MAPPING, SOURCE_SQL, THEIRS_SQL, workload } from './workload.ts'

const [servers, broker] = await Promise.all([pair({ source: 15, destination: 18 }), startKafka()])
const { seed } = random()
const TRANSACTIONS = 120

test.each([
  { checks: 'engine', roles: ['all'], kafka: 'compression: none', start: 'before' },
  { checks: 'set', roles: ['capture', 'deliver'], kafka: 'compression: gzip, batch: 64KiB', start: 'middle' },
] as const)('random work through Kafka, checks: $checks, $roles, begun $start it', async ({ checks, roles, kafka, start }) => {
  const rig = await createRig({
    servers, sourceSql: SOURCE_SQL, destinationSql: DESTINATION_SQL, mapping: MAPPING,
    config: `checks: ${checks}\nsnapshot: { rowsPerChunk: 100 }\nbatch: { rows: 40 }\nlog: kafka\nkafka: { brokers: ['${broker.bootstrap}'], ${kafka} }`,
  })
  try {
    await rig.destination.query(THEIRS_SQL)
    const work = workload({ url: rig.source.url, seed })
    if (start === 'middle') await work.run(TRANSACTIONS)
    const running = roles.map((role) => rig.start({ role }))
    await work.run(TRANSACTIONS)
    const ended = Promise.race(running.map((one) => one.ended))
    ended.catch(() => {})
    await rig.caughtUp({ ...running.at(-1)!, ended })
    await Promise.all(running.map((one) => one.stop()))
    expect(await rig.destination.query("select tbl, key, op, sqlstate, reason, change from rekey.parked where state <> 'done'")).toEqual([])
    expect(await rig.differences()).toEqual([])
    for (const [table, totals] of Object.entries(running.at(-1)!.latest()!.totals)) expect([table, closes(totals)]).toEqual([table, true])
    expect(work.committed).toBeGreaterThan(50)
  } finally {
    await rig.close()
  }
})
