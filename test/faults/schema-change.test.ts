import { expect, test } from 'vitest'
import { failureOf, parentsRig } from '../support/accident.ts'
import type { Rig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** The source changes a table while the run is stopped: what the mapping does not know is named, and nothing is skipped. */
const servers = await pair({ source: 15, destination: 18 })

/** A run that has copied and was stopped; then `sql` at the source. */
async function stoppedThen(sql: string): Promise<Rig> {
  const rig = await parentsRig(servers)
  const running = rig.start()
  await rig.caughtUp(running)
  await running.stop()
  await rig.source.query(sql)
  return rig
}

async function position(rig: Rig): Promise<unknown> {
  return rig.destination.query('select commit_lsn::text from rekey.checkpoint')
}

/** Twice: the second time it is the same, and the checkpoint stays. */
async function refused(rig: Rig, column: string): Promise<void> {
  for (let i = 0; i < 2; i++) {
    const before = await position(rig)
    const { code, exit, message } = await failureOf(rig.start())
    expect({ code, exit }).toEqual({ code: 'SCHEMA_CHANGED', exit: 5 })
    expect(message).toContain(column)
    expect(await position(rig)).toEqual(before)
  }
}

async function goesOn(rig: Rig): Promise<void> {
  const running = rig.start()
  await rig.caughtUp(running)
  await rig.source.query("insert into parents values (900, 'after'); update children set amount = amount + 1 where id = 3")
  await rig.caughtUp(running)
  await running.stop()
  expect(await rig.differences()).toEqual([])
}

const ADDED = "alter table children add column extra text; update children set extra = 'e', amount = 70 where id = 2"

test('a column is added: it goes on when the destination has it, too', async () => {
  const rig = await stoppedThen(ADDED)
  try {
    await refused(rig, 'extra')
    await rig.destination.query('alter table children add column extra text')
    await goesOn(rig)
    expect(await rig.destination.query('select count(*)::text as n from children where extra is not null')).toEqual([{ n: '1' }])
  } finally {
    await rig.close()
  }
})

test('a column is added and filled, and goes again: what was written of it is not skipped', async () => {
  const rig = await stoppedThen(`${ADDED}; alter table children drop column extra`)
  try {
    await refused(rig, 'extra')
    expect(await rig.destination.query('select count(*)::text as n from children where amount = 70')).toEqual([{ n: '0' }])
  } finally {
    await rig.close()
  }
})

test('a column comes and goes and no row has it: it goes on', async () => {
  const rig = await stoppedThen('alter table children add column extra text; alter table children drop column extra; update children set amount = 7')
  try {
    await goesOn(rig)
  } finally {
    await rig.close()
  }
})

test.each([
  ['goes away', 'note', 'alter table children drop column note', 'alter table children add column note text'],
  ['is renamed', 'remark', 'alter table children rename column note to remark', 'alter table children rename column remark to note'],
])('a column %s: refused, and when it is back before a row has changed, it goes on', async (_, named, sql, back) => {
  const rig = await stoppedThen(`update children set amount = 70 where id = 1; ${sql}`)
  try {
    await refused(rig, named)
    await rig.source.query(back)
    await rig.source.query("update children set note = 'again'")
    await goesOn(rig)
  } finally {
    await rig.close()
  }
})

test('a column goes away and rows change without it: refused even when it is back', async () => {
  const rig = await stoppedThen('alter table children drop column note; update children set amount = 5; alter table children add column note text')
  try {
    await refused(rig, 'note')
    expect(await rig.destination.query("select count(*)::text as n from children where note = 'n' and amount <> 5")).toEqual([{ n: '19' }])
  } finally {
    await rig.close()
  }
})
