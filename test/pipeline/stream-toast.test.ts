import { scenario } from '../support/scenario.ts'
import { pair } from '../support/servers.ts'

/** Values that the source does not send, and the replica identities that say what it sends of the old row. */
const servers = await pair({ source: 15, destination: 18 })

const big = (seed: string): string => `(select string_agg(md5(${seed} || i), E'\\t\\n') from generate_series(1, 400) i)`
const docs = (key: string): string => `create table docs (id ${key} primary key, a text, n integer, b text, c jsonb);
  alter table docs alter a set storage external, alter b set storage external, alter c set storage external;`
const someDocs = `insert into docs select i, ${big("'a' || i")}, i, ${big("'b' || i")}, jsonb_build_object('x', ${big("'c' || i")}) from generate_series(1, 6) i;`
const newDoc = (id: number): string => `insert into docs values (${id}, ${big("'new'")}, 0, ${big("'newer'")}, '{}');`

const toastSteps = [
  'update docs set n = n + 1',
  `update docs set a = ${big("'other'")} where id = 1`,
  'update docs set id = id + 100 where id = 2',
  'update docs set id = id + 100, a = null where id = 3',
  { offline: 'update docs set n = n + 1; update docs set b = null where id = 4' },
  `${newDoc(20)} update docs set n = 7 where id = 20; update docs set a = 'short' where id = 20;`,
  { offline: `${newDoc(21)} update docs set n = 7 where id = 21; update docs set id = 22 where id = 21; update docs set n = 8 where id = 22;` },
  `${newDoc(30)} delete from docs where id = 30; ${newDoc(30)} update docs set n = 3 where id = 30`,
  'update docs set n = 1 where id = 5; update docs set a = null where id = 5; update docs set c = null where id = 6; update docs set n = 2 where id = 6',
  'update docs set n = n, a = a',
  'delete from docs where id in (4, 20)',
]

scenario('unchanged large values stay', { servers, tables: ['docs'], schema: docs, before: someDocs, steps: toastSteps })

scenario('unchanged large values under REPLICA IDENTITY FULL are found in the old row', {
  servers, tables: ['docs'], before: someDocs, steps: toastSteps,
  schema: (key, side) => `${docs(key)}${side === 'source' ? 'alter table docs replica identity full' : ''}`,
})

scenario('the replica identity changes while the stream runs', {
  servers, tables: ['docs'], schema: docs, before: someDocs,
  steps: [
    'update docs set n = 10',
    'alter table docs replica identity full',
    'update docs set n = 11; delete from docs where id = 1; update docs set id = 200 where id = 2',
    { offline: 'update docs set n = 12; alter table docs replica identity default; update docs set n = 13; update docs set id = 201 where id = 200; delete from docs where id = 3' },
    'begin; update docs set n = 14; alter table docs replica identity full; update docs set n = 15; delete from docs where id = 5; commit',
  ],
})

scenario('a unique index as the replica identity', {
  servers, tables: ['people'], entities: { people: 'keep', 'people.id': { prefix: 'peo' } },
  schema: (key, side) => `create table people (id ${key} not null, email text not null, note text, constraint people_pkey primary key (id));
    create unique index people_email on people (email); alter table people alter note set storage external;
    ${side === 'source' ? 'alter table people replica identity using index people_email' : ''}`,
  before: `insert into people select i, i || '@x', ${big("'n'")} from generate_series(1, 5) i`,
  steps: [
    `update people set note = 'x' where id = 1; update people set id = 50 where id = 2`,
    `update people set email = 'new@x' where id = 3; update people set email = 'newer@x', id = 60 where id = 4`,
    `delete from people where id = 5; insert into people values (5, '5@x', null)`,
  ],
})
