import { expect, test } from 'vitest'
import { parked, parentsRig } from '../support/accident.ts'
import { startChild } from '../support/child.ts'
import { drained } from '../support/drained.ts'
import type { Rig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** What a failing server or a process that hangs does to a run, at places that are named. */
const servers = await pair({ source: 15, destination: 18 })

async function agrees(rig: Rig): Promise<void> {
  expect(await parked(rig)).toEqual([])
  expect(await rig.differences()).toEqual([])
}

test.each([
  'snap.chunk_read=error@2', 'snap.chunk_written=error@2', 'decode.tx_end=error@1', 'produce.acked=error@1', 'apply.begin=error@6',
  'apply.committed=error@6',
])('an error at %s: the run begins again by itself, and nothing is lost', async (failpoints) => {
  const rig = await parentsRig(servers, { rows: 300, config: 'snapshot: { rowsPerChunk: 100 }\nbatch: { rows: 20 }' })
  try {
    await rig.source.query('analyze')
    const child = startChild(rig.config, { failpoints })
    await child.reached('stream')
    for (let i = 0; i < 10; i++) {
      await rig.source.query(`insert into parents values (${1000 + i}, 'late'); insert into children values (${1000 + i}, ${1000 + i}, 1, 'late');
        update parents set name = name || '!' where id % 10 = ${i}; delete from children where id = ${i + 1}`)
    }
    await drained(rig, { seconds: 40 })
    child.kill('SIGTERM')
    expect(await child.ended).toEqual({ code: 0, signal: null })
    expect(child.lines.filter((line) => line.startsWith('note restart')).join()).toContain(`failpoint ${failpoints.split('=')[0]}`)
    await agrees(rig)
  } finally {
    await rig.close()
  }
}, 60_000)

test.each(['snap.chunk_read=hang@2', 'decode.tx_end=hang@1', 'apply.begin=hang@8', 'apply.committed=hang@8'])(
  'a bridge that hangs at %s is taken over by a second one', async (failpoints) => {
    const rig = await parentsRig(servers, { rows: 300, config: 'snapshot: { rowsPerChunk: 100 }\nbatch: { rows: 20 }' })
    const first = startChild(rig.config, { failpoints })
    try {
      await rig.source.query('analyze')
      await first.reached(failpoints.startsWith('snap') ? 'snapshot' : 'stream')
      for (let i = 0; i < 10; i++) {
        await rig.source.query(`insert into parents values (${1000 + i}, 'late'); insert into children values (${1000 + i}, ${1000 + i}, 1, 'late')`)
      }
      const refused = startChild(rig.config)
      expect((await refused.ended).code).toBe(5)
      expect(refused.lines.at(-1)).toContain('failed RUNNING')
      const second = startChild(rig.config, { takeover: true })
      let over: string | undefined
      void second.ended.then(() => (over = second.lines.slice(-3).join(' | ')))
      await drained(rig, { seconds: 40, failed: () => over })
      second.kill('SIGTERM')
      expect(await second.ended).toEqual({ code: 0, signal: null })
      await agrees(rig)
    } finally {
      first.kill('SIGKILL')
      await first.ended
      await rig.close()
    }
  }, 90_000)
