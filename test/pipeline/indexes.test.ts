import { expect, test } from 'vitest'
import { operate } from '../../src/pipeline/operate.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 17 })
const SHAPE = (key: string): string => `create table parents (id ${key} primary key, name text);
create table children (id ${key} primary key, parent_id ${key} not null references parents, body text, n integer unique);`
const SOURCE = `${SHAPE('bigint')}
insert into parents select i, 'p' || i from generate_series(1, 50) i;
insert into children select i, 1 + i % 50, repeat('x', 600), i from generate_series(1, 60000) i;`
const DESTINATION = `${SHAPE('text collate "C"')}
create index parents_name on parents (name);
create index children_parent on children (parent_id);
create index children_body on children (lower(left(body, 5)), id desc) where n > 5;
create index children_note on children (n, id);
comment on index children_note is 'has a comment';`
const MAPPING = `
application: app
contexts: [{ name: all, tables: [parents, children] }]
entities: { parents: { prefix: par }, children: { prefix: chi } }`

const make = (indexes: string): Promise<Rig> => createRig({
  servers, sourceSql: SOURCE, destinationSql: DESTINATION, mapping: MAPPING, config: `checks: set\nsnapshot: { indexes: ${indexes}, rowsPerChunk: 20000 }`,
})
const indexes = async (rig: Rig): Promise<string[]> => (await rig.destination.query("select indexdef from pg_indexes where schemaname = 'public' order by indexname"))
  .map((row) => String(row['indexdef']))
const names = (definitions: readonly string[]): string[] => definitions.map((d) => /INDEX (\S+)/.exec(d)![1])

/** Fails in the middle of the copy; resolves with the indexes that were there at that moment. */
async function brokenOff(rig: Rig): Promise<string[]> {
  let seen: string[] = []
  let chunks = 0
  const running = rig.start({
    async point(name) {
      if (name !== 'snap.chunk_written' || ++chunks < 3) return
      seen = await indexes(rig)
      throw new Error('broken off')
    },
  })
  await expect(running.ended).rejects.toThrow('broken off')
  return seen
}

test('plain indexes of a large table are missing during the copy and are there again after it, also when the copy was broken off', async () => {
  const rig = await make('rebuild')
  try {
    const before = await indexes(rig)
    expect(names(await brokenOff(rig))).toEqual(['children_body', 'children_n_key', 'children_note', 'children_pkey', 'parents_name', 'parents_pkey'])
    const running = rig.start()
    await rig.caughtUp(running)
    expect(await indexes(rig)).toEqual(before)
    await running.stop()
    expect(await rig.differences()).toEqual([])
    expect(await rig.destination.query('select * from rekey.dropped_index')).toEqual([])
  } finally {
    await rig.close()
  }
})

test('remove makes them again, too', async () => {
  const rig = await make('rebuild')
  try {
    const before = await indexes(rig)
    expect(await brokenOff(rig)).not.toEqual(before)
    await operate(rig.config, async ({ source, destination }) => {
      await destination.hold(true)
      await source.dropSlot()
      expect(await destination.remove()).toBe('schema dropped')
    })
    expect(await indexes(rig)).toEqual(before)
  } finally {
    await rig.close()
  }
})

test('they stay by default', async () => {
  const rig = await make('keep')
  try {
    const before = await indexes(rig)
    expect(await brokenOff(rig)).toEqual(before)
  } finally {
    await rig.close()
  }
})
