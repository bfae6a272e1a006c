import { client } from '../support/database.ts'
import { scenario } from '../support/scenario.ts'
import { pair } from '../support/servers.ts'

/** Transactions, keys and references as applications really change them. Every scenario ends with both sides equal and nothing parked. */
const servers = await pair({ source: 15, destination: 18 })

const items = (key: string): string => `create table items (id ${key} primary key, name text, n integer);`
const nodes = (key: string,
  more = ''): string => `create table nodes (id ${key} primary key, parent_id ${key} references nodes ${more}, label text);
  create index on nodes (parent_id);`
const family = (key: string, more = ''): string => `
  create table parents (id ${key} primary key, name text);
  create table children (id ${key} primary key, parent_id ${key} references parents ${more}, n integer);
  create table grandchildren (id ${key} primary key, child_id ${key} not null references children ${more});`
const three = { servers, tables: ['parents', 'children', 'grandchildren'] }
const families = `insert into parents select i, 'p' from generate_series(1, 20) i; insert into children select i, 1 + i % 20, 0 from generate_series(1, 60) i;
  insert into grandchildren select i, 1 + i % 60 from generate_series(1, 120) i;`

scenario('subtransactions: what is rolled back never happened', {
  servers, tables: ['items'], schema: items, before: `insert into items values (1, 'one', 1)`,
  steps: [
    `begin; insert into items values (2, 'two', 2); savepoint a; insert into items values (3, 'no', 3); update items set n = 99; savepoint b; delete from items; rollback to a;
     insert into items values (3, 'three', 3); savepoint c; update items set n = 5 where id = 2; release c; commit`,
    'begin; delete from items; rollback',
    `do $$ begin for i in 100..140 loop begin insert into items values (i, 'x', i); if i % 2 = 0 then raise 'undo'; end if; exception when raise_exception then null; end; end loop; end $$`,
  ],
})

scenario('two-phase commit: prepared is not yet committed', {
  servers, tables: ['items'], schema: items,
  steps: [
    async ({ source }) => {
      const session = await client(source.url)
      await session.query(`begin; insert into items values (1, 'prepared', 1), (2, 'prepared', 2); prepare transaction '${source.name}_a'`)
      await session.query(`begin; insert into items values (3, 'never', 1); prepare transaction '${source.name}_b'`)
      await session.end()
      await source.query(`insert into items values (10, 'meanwhile', 1)`)
    },
    async ({ source }) => {
      await source.query(`commit prepared '${source.name}_a'`)
      await source.query(`rollback prepared '${source.name}_b'`)
    },
    `update items set n = n + 1`,
  ],
})

scenario('interleaved transactions arrive in commit order', {
  servers, tables: ['items'], schema: items, before: `insert into items select i, 'x', 0 from generate_series(1, 10) i`,
  steps: [async ({ source }) => {
    const [a, b] = await Promise.all([client(source.url), client(source.url)])
    await a.query(`begin; insert into items values (20, 'a', 1); update items set n = 1 where id = 1`)
    await b.query(`begin; insert into items values (21, 'b', 1); update items set n = 2 where id = 2`)
    await a.query(`update items set n = 3 where id = 3`)
    await b.query(`delete from items where id = 4; commit`)
    await b.query(`update items set n = 4 where id = 21`)
    await a.query(`insert into items values (4, 'again', 4); commit`)
    await Promise.all([a.end(), b.end()])
  }],
})

scenario('logical messages of others, and transactions without changes of ours', {
  servers, tables: ['items'], schema: (key) => `${items(key)} create table other (id integer)`,
  rules: { other: { verdict: 'skip', reason: 'not moved' } },
  steps: [
    `select pg_logical_emit_message(true, 'someone', 'else'), pg_logical_emit_message(false, 'someone', 'else'), pg_logical_emit_message(true, 'rekey-not', 'ours'); insert into items values (1, 'a', 1)`,
    `begin; select pg_logical_emit_message(true, 'x', repeat('y', 100000)); insert into other values (1); commit; begin; insert into other values (2); commit`,
    `select pg_logical_emit_message(true, '', '')`,
  ],
})

scenario('rows of one COPY share an LSN, also across a restart', {
  servers, tables: ['items'], schema: items, config: 'batch: { rows: 500 }',
  steps: [
    `copy items (id) from program 'seq 1 5000'`,
    { offline: `copy items (id) from program 'seq 5001 9000'` },
    { offline: `update items set n = 1` },
  ],
})

const unique = (key: string): string => `create table slots (id ${key} primary key, place text, kind text, unique (place, kind));`
const someSlots = `insert into slots select i, 'place ' || i, 'k' from generate_series(1, 9) i`
scenario('a unique value moves from one row to another', {
  servers, tables: ['slots'], schema: unique, before: someSlots,
  steps: [
    `delete from slots where id = 1; insert into slots values (11, 'place 1', 'k')`,
    `update slots set place = 'free' where id = 2; insert into slots values (12, 'place 2', 'k')`,
    `delete from slots where id = 3; update slots set place = 'place 3' where id = 4`,
    `update slots set place = 'tmp' where id = 5; update slots set place = 'place 5' where id = 6; update slots set place = 'place 6' where id = 5`,
    { offline: `update slots set place = 'x' where id = 7; update slots set place = 'place 7' where id = 8; update slots set place = 'place 8' where id = 9` },
    { offline: `insert into slots values (20, 'z', 'k'); update slots set place = 'zz' where id = 20; insert into slots values (21, 'z', 'k'); delete from slots where id = 20; update slots set place = 'zz' where id = 21` },
  ],
})

scenario('keys swap by way of a third value', {
  servers, tables: ['items'], schema: items, before: `insert into items values (1, 'one', 1), (2, 'two', 2), (3, 'three', 3)`,
  steps: [
    'update items set id = -1 where id = 1; update items set id = 1 where id = 2; update items set id = 2 where id = -1',
    { offline: 'begin; update items set id = id + 100; update items set n = n + 1; update items set id = id - 99; commit' },
    { offline: `update items set id = 50 where id = 2; insert into items values (2, 'new', 2); update items set id = 51 where id = 2; delete from items where id = 51` },
  ],
})

scenario('a parent changes its key and the source cascades', {
  ...three, schema: (key, side) => family(key, side === 'source' ? 'on update cascade on delete cascade' : 'deferrable'), before: families,
  steps: ['update parents set id = id + 1000 where id < 5', 'update children set id = id + 1000, n = 1 where id < 20',
    { offline: 'update parents set id = id + 5000; delete from parents where id < 5010' }],
})

scenario('cascaded deletes come parent first', {
  ...three, schema: (key) => family(key, 'on delete cascade'), before: families,
  steps: ['delete from parents where id = 3', 'delete from parents where id between 5 and 9; insert into parents values (5, \'back\')',
    { offline: 'delete from children where n = 0 and id < 15; delete from parents' }],
})

scenario('cascaded deletes, where the destination has no cascade',
  { ...three, schema: (key, side) => family(key, side === 'source' ? 'on delete cascade' : ''), before: families,
  steps: ['delete from parents where id < 9', 'delete from parents'] })

scenario('references become null when their parent goes', {
  ...three, tables: ['parents', 'children'], before: families.replace(/insert into grandchildren.*/s, ''),
  schema: (key) => family(key, 'on delete set null').replace(/create table grandchildren.*/s, ''),
  steps: ['delete from parents where id < 9', 'delete from children where parent_id is null; delete from parents'],
})

scenario('delete and insert of one key', {
  ...three, schema: (key) => family(key), before: families,
  steps: [
    `begin; delete from grandchildren where id = 1; insert into grandchildren values (1, 5); delete from grandchildren where id = 1; insert into grandchildren values (1, 6); commit`,
    { offline: `insert into children values (900, 1, 1); delete from children where id = 900; insert into children values (900, 2, 2); update children set n = 3 where id = 900; insert into grandchildren values (900, 900)` },
    { offline: `delete from grandchildren where id = 900; delete from children where id = 900; insert into children values (900, 3, 3)` },
  ],
})

scenario('a row refers to one that comes after it in its statement', {
  servers, tables: ['nodes'], schema: (key) => nodes(key), before: 'insert into nodes values (2, 3), (3, null)',
  steps: ['insert into nodes values (10, 11), (11, 12), (12, null), (13, 13)', 'update nodes set parent_id = 10 where id = 12',
    'delete from nodes where id in (10, 11, 12, 13)'],
})

scenario('a chain of ten thousand rows, from its end', {
  servers, tables: ['nodes'], schema: (key) => nodes(key, 'on delete cascade'),
  before: `insert into nodes select i, nullif(i + 1, 10001) from generate_series(1, 10000) i`,
  steps: [`insert into nodes select i, nullif(i + 1, 30001) from generate_series(20001, 30000) i`, `update nodes set label = 'x'`,
    'delete from nodes where id > 20000 and id % 2 = 1; delete from nodes'],
})

scenario('truncate takes what is ours, children with their parents', {
  ...three, schema: (key) => family(key), before: families,
  steps: [`truncate grandchildren; insert into grandchildren values (1, 1)`,
    `truncate parents, children, grandchildren; insert into parents values (1, 'anew')`,
    { offline: `insert into children values (1, 1, 1); truncate parents cascade; insert into parents values (2, 'last')` }],
})
