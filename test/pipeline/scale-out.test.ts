import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Totals } from '../../src/core/plan.ts'
import { closes } from '../../src/core/totals.ts'
import { destinationState } from '../../connectors/postgres-destination/state.ts'
import { run } from '../../src/pipeline.ts'
import { failureOf } from '../support/accident.ts'
import { type Child, startChild } from '../support/child.ts'
import { drained } from '../support/drained.ts'
import { random } from '../support/random.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'
import { ORPHANS_SQL, ROOTS_DESTINATION_SQL, ROOTS_MAPPING, ROOTS_SOURCE_SQL, rootsWorkload } from './roots-workload.ts'

const [servers, broker] = await Promise.all([pair({ source: 16, destination: 17 }), startKafka()])
const { seed } = random()
const PARTITIONS = 6
const PARKED_SQL = "select tbl, op, sqlstate, reason, change, commit_lsn from rekey.parked where state <> 'done' order by commit_lsn, id limit 5"

/** Looks for orphans as fast as it can, until the signal aborts. */
async function watchOrphans(rig: Rig, signal: AbortSignal): Promise<{ polls: number; found: string[] }> {
  const found: string[] = []
  let polls = 0
  for (; !signal.aborted; polls++) {
    for (const { key } of await rig.destination.query(ORPHANS_SQL)) found.push(key!)
    await sleep(20)
  }
  return { polls, found }
}

/** Between the transactions of a session: longer while the destination is far behind, so that a machine that is busy otherwise can follow. */
function paced(rig: Rig, signal: AbortSignal): () => number {
  let pause = 25
  const watch = async (): Promise<void> => {
    for (; !signal.aborted; await sleep(200)) {
      const [at] = await rig.destination.query('select end_lsn::text from rekey.checkpoint').catch(() => [])
      if (!at) continue
      const [{ behind }] = await rig.source.query('select pg_current_wal_lsn() - $1::pg_lsn as behind', [at.end_lsn])
      pause = Number(behind) > 200_000 ? 400 : 25
    }
  }
  watch().catch(() => {})
  return () => pause
}

test('four processes share the partitions, come, go and are killed, and all is as at the source', async () => {
  const rig = await createRig({
    servers, sourceSql: ROOTS_SOURCE_SQL, destinationSql: ROOTS_DESTINATION_SQL, mapping: ROOTS_MAPPING,
    config: `checks: set\nbatch: { rows: 100 }\nlog: kafka\nkafka: { brokers: ['${broker.bootstrap}'], partitions: ${PARTITIONS} }`,
  })
  const stop = new AbortController()
  const children: Child[] = []
  const start = (role: 'capture' | 'deliver'): Child => {
    const child = startChild(rig.config, { role })
    children.push(child)
    return child
  }
  const failures = (): string | undefined => children.flatMap(({ lines }) => lines.filter((line) => /^failed (?!REMOTE|SLOT_IN_USE)/.test(line)))[0]
  try {
    const work = rootsWorkload({ url: rig.source.url, seed, sessions: 2, pause: paced(rig, stop.signal) })
    const working = work.run(stop.signal)
    await sleep(500)
    let capture = start('capture')
    const delivering = [start('deliver'), start('deliver'), start('deliver'), start('deliver')]
    await Promise.all(delivering.map((child) => child.heard(/: takes partition \d/)))
    const watching = watchOrphans(rig, stop.signal)
    // Rebalances in order, a process that dies, one that stands still and wakes up when others have its partitions, a capture that dies.
    const [first, second, third] = delivering
    first.kill('SIGTERM')
    await sleep(2_000)
    second.kill('SIGKILL')
    third.kill('SIGSTOP')
    const fifth = start('deliver')
    await sleep(1_500)
    capture.kill('SIGKILL')
    await capture.ended
    capture = start('capture')
    await fifth.heard(/: takes partition \d/)
    await sleep(5_500)
    third.kill('SIGCONT')
    const sixth = start('deliver')
    await sixth.heard(/: takes partition \d/)
    await sleep(2_000)
    await expect.poll(() => work.committed, { timeout: 60_000 }).toBeGreaterThan(300)
    stop.abort()
    await working
    // Whatever came by chance: a row that passes its filter late, of which the stream does not have all.
    await rig.source.query("insert into papers select 1000, null, 0, string_agg(md5(i::text), ''), 1 from generate_series(1, 200) i; update papers set shown = 1 where id = 1000")
    await drained(rig, { seconds: 60, failed: failures })
    const { polls, found } = await watching
    expect(found).toEqual([])
    expect(polls).toBeGreaterThan(100)
    expect(failures()).toBeUndefined()
    expect(await rig.destination.query(PARKED_SQL)).toEqual([])
    expect(await rig.differences()).toEqual([])
    const totals = await totalsOf(rig)
    for (const [table, one] of Object.entries(totals)) expect([table, closes(one)]).toEqual([table, true])
    expect(totals['public.papers'].skipped['read again']).toBeGreaterThan(0)
    expect((await first.ended).code).toBe(0)
    // Their number is where rows have their places by.
    const others = { ...rig.config, kafka: { ...rig.config.kafka!, partitions: PARTITIONS + 1 } }
    const { code } = await failureOf({ ended: run(others, { takeover: false, role: 'deliver' }, { progress: () => {}, note: () => {} }, new AbortController().signal).then(() => {}) })
    expect(code).toBe('LOG_TOPIC')
  } catch (error) {
    // What they said tells more than the error.
    for (const child of children) console.error(child.pid, child.lines.filter((line) => !line.startsWith('at ')).slice(-12), child.lines.at(-1))
    console.error(await rig.destination.query('select partition, writer, commit_lsn, updated_at from rekey.lane order by 1').catch(String))
    throw error
  } finally {
    stop.abort()
    for (const child of children) child.kill('SIGKILL')
    await Promise.all(children.map((child) => child.ended))
    await rig.close()
  }
}, 180_000)

async function totalsOf(rig: Rig): Promise<Record<string, Totals>> {
  const state = destinationState(async (sql, params) => (await rig.destination.query(sql, params)).map((row) => Object.values(row)), rig.config.pipeline)
  return state.totals((await state.checkpoint())!)
}
