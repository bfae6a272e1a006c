import { afterAll, expect, test } from 'vitest'
import { withDatabases } from '../../src/pipeline/open.ts'
import { parked, parentsRig, withBridge } from '../support/accident.ts'
import { startPostgres } from '../support/postgres.ts'
import { resetWal } from '../support/reset-wal.ts'
import { createRig, type Rig } from '../support/rig.ts'

/** Servers of which one is about to give the last transaction id of 32 bits and the last WAL address of 32 bits, and one is past half of its ids. */
const source = await startPostgres({ major: 15 })
const destination = await startPostgres({ major: 18 })
const rigs: Rig[] = []
afterAll(async () => {
  for (const rig of rigs) await rig.close()
  await Promise.all([source.stop(), destination.stop()])
})

const servers = { source, destination }
const moved = await parentsRig(servers, { rows: 400, config: 'snapshot: { workers: 1, rowsPerChunk: 100 }' })
const things = (key: string): string => `create table things (id ${key} primary key, note text)`
const taken = await createRig({
  servers, sourceSql: `${things('bigint')}; insert into things select i, 'ours' from generate_series(1, 300) i; analyze`, destinationSql: things('text'),
  mapping: 'application: ids\ncontexts: [{ name: all, tables: [things] }]\nentities: { things: { prefix: thi } }',
  config: 'snapshot: { workers: 1, rowsPerChunk: 100 }',
})
rigs.push(moved, taken)
/** Somebody's rows at the destination, from long ago. */
await withDatabases(taken.config, async ({ minters }) => {
  const ids = [250, 280].map((key) => minters.get('things')!.mint(String(key))!)
  await taken.destination.query(`insert into things select id, 'theirs' from unnest('{${ids.join(',')}}'::text[]) id`)
})
await resetWal(source, { nextXid: 2n ** 32n - 300n, segment: 0xfe })
await resetWal(destination, { nextXid: 2861n << 20n, segment: 0x200 })

const work = (from: number): string => Array.from({ length: 100 }, (_, i) => `insert into parents values (${from + i}, 'w'); insert into children values (${from + i}, ${from + i}, 0, 'w');
  update children set amount = amount + 1 where id = ${1 + i}; delete from children where id = ${from - 100 + i};`).join('\n').replaceAll(';', '; commit; begin;')

test('transaction ids and addresses that roll over while the source is copied and streamed', async () => {
  let chunks = 0
  const first = moved.start({ point: async (name) => {
    if (name === 'snap.chunk_written' && ++chunks === 5) throw new Error('stopped here')
  } })
  await expect(first.ended).rejects.toThrow('stopped here')
  const past = async (): Promise<string> => (await moved.source.query("select (pg_current_xact_id()::text::bigint >> 32) || ' ' || (pg_current_wal_lsn() >= '1/0')::text as at"))[0].at!
  expect(await past()).toBe('0 false')
  await moved.source.query(work(1_000).slice(0, -'begin;'.length))
  await moved.source.query('select pg_switch_wal()')
  await withBridge(moved, async () => {
    await moved.source.query(work(1_100).slice(0, -'begin;'.length))
    await moved.source.query('select pg_switch_wal()')
    await moved.source.query("update children set note = 'after'")
  })
  expect(await past()).toBe('1 true')
  expect(await parked(moved)).toEqual([])
  await withBridge(moved, async () => void await moved.source.query(work(1_200).slice(0, -'begin;'.length)))
})

test('rows that were written more than two thousand million transactions ago are still not ours, in a copy that goes on and in its stream', async () => {
  let chunks = 0
  const cut = taken.start({ point: async (name) => {
    if (name === 'snap.chunk_written' && ++chunks === 1) throw new Error('cut off here')
  } })
  await expect(cut.ended).rejects.toThrow('cut off here')
  await taken.source.query('delete from things where id = 280')
  const running = taken.start()
  await taken.caughtUp(running)
  await running.stop()
  expect(await taken.destination.query('select note, count(*)::text as n from things group by 1 order by 1')).toEqual([{ note: 'ours', n: '298' }, { note: 'theirs', n: '2' }])
})
