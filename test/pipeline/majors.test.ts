import { expect, test } from 'vitest'
import type { Major } from '../support/binaries.ts'
import { createRig } from '../support/rig.ts'
import { server } from '../support/servers.ts'

/** Every supported Postgres as the source, the newest as the destination, and the oldest as the destination of the newest. */
const PAIRS: readonly (readonly [from: Major, to: Major])[] = [[14, 18], [15, 18], [16, 18], [17, 18], [18, 18], [18, 14]]

const schema = (key: string): string => `
  create table owners (id ${key} primary key, name text);
  create table things (id ${key} primary key, owner_id ${key} references owners on delete cascade, big text, n numeric, at timestamptz, tags text[]);
  alter table things alter big set storage external; create table logs (id ${key} primary key, line text);`
const MAPPING = `
application: majors
contexts: [{ name: all, tables: [owners, things, logs] }]
defaults: { truncate: owned }
entities: { owners: { prefix: own }, things: { prefix: thi }, logs: { prefix: log, form: opaque } }`
const big = (of: string): string => `repeat(md5(${of}::text), 200)`
const STEPS = [
  `insert into owners select i, 'o' || i from generate_series(11, 20) i; insert into things select i, 1 + i % 20, ${big('i')}, i * 1.10, now(), array['a', null] from generate_series(201, 400) i`,
  `update things set n = n + 1 where id % 2 = 0; update things set big = null where id % 50 = 0; update owners set name = name || '!' where id < 4`,
  `update things set id = id + 10000, n = -1 where id between 10 and 20; update things set id = -id where id = 30`,
  `delete from owners where id = 5; delete from things where id % 7 = 0; insert into logs select i, 'later' from generate_series(1000, 1010) i`,
  `truncate logs; insert into logs values (1, 'after')`,
]

for (const [from, to] of PAIRS) {
  test(`Postgres ${from} to Postgres ${to}: copy, insert, update, unchanged TOAST, key change, delete, truncate`, async () => {
    const rig = await createRig({
      servers: { source: await server(from, 'source'), destination: await server(to, 'destination') },
      sourceSql: schema('bigint'), destinationSql: schema('text collate "C"'), mapping: MAPPING,
    })
    try {
      await rig.source.query(`insert into owners select i, 'o' || i from generate_series(1, 10) i;
        insert into things select i, 1 + i % 10, ${big('i')}, i, '2024-01-01 00:00:00.000001+00', '{}' from generate_series(1, 200) i; insert into logs select i, 'l' from generate_series(1, 50) i`)
      const running = rig.start()
      await rig.caughtUp(running)
      expect(await rig.differences(), 'the initial copy').toEqual([])
      for (const step of STEPS) {
        await rig.source.query(step)
        await rig.caughtUp(running)
        expect(await rig.differences(), step).toEqual([])
      }
      expect(await rig.destination.query('select * from rekey.parked')).toEqual([])
      await running.stop()
    } finally {
      await rig.close()
      if (from !== 18) await server(from, 'source').then((one) => one.stop())
    }
  })
}
