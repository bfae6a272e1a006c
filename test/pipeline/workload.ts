import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { client } from '../support/database.ts'
import { random, type Random } from '../support/random.ts'

/**
 * A seeded random workload over a schema that has what makes carrying rows hard: rows that point at themselves and at each other in a
 * circle, composite keys, unique values that swap, keys that change, cascades, values too large to be sent again, references without a
 * foreign key, ids inside JSON, and rows that the destination already has.
 */
const SHAPE = (id: string, circle: string): string => `
create table users (id ${id} primary key, email text not null, name text not null unique, bio text, manager_id ${id} references users on delete set null, version bigint not null);
create index on users (manager_id);
create table regions (id ${id} primary key, code integer not null unique, label text, version bigint not null);
create table cities (id ${id} primary key, region_id ${id} not null references regions on update cascade on delete cascade, label text, version bigint not null);
create index on cities (region_id);
create table folders (id ${id} primary key, parent_id ${id} references folders on delete cascade, label text, version bigint not null);
create index on folders (parent_id);
create table teams (id ${id} primary key, captain_id ${id}, version bigint not null);
create table players (id ${id} primary key, team_id ${id} not null references teams ${circle}, version bigint not null);
alter table teams add constraint teams_captain foreign key (captain_id) references players ${circle};
create index on players (team_id);
create index on teams (captain_id);
create table memberships (user_id ${id} not null references users on delete cascade, folder_id ${id} not null references folders on delete cascade, role text, version bigint not null,
  primary key (user_id, folder_id));
create index on memberships (folder_id);
create table docs (id ${id} primary key, owner_id ${id} not null references users on delete cascade, folder_id ${id} references folders on delete set null, place integer not null unique,
  kind text not null, subject_id text, ui jsonb not null, raw json, body text, note text, version bigint not null);
create index on docs (owner_id);
create index on docs (folder_id);
alter table docs alter body set storage external;
alter table users alter bio set storage external;
`
export const SOURCE_SQL = `${SHAPE('bigint', 'deferrable initially deferred')}
create unique index on users (lower(email));`

export const DESTINATION_SQL = SHAPE('text collate "C"', 'deferrable initially immediate')

/** Rows that the destination has before and goes on changing. m… users are the same people as users of the source. */
export const THEIRS_SQL = `
insert into users select 'usr_theirs' || i, 'M' || i || '@X.org', 'name' || i, null, null, 0 from generate_series(1, 12) i;
insert into regions select 'reg_theirs' || i, 1000000 + i, 'theirs', 0 from generate_series(1, 5) i;
insert into folders select 'fld_theirs' || i, null, 'theirs', 0 from generate_series(1, 5) i;
insert into docs select 'doc_theirs' || i, 'usr_theirs' || i, 'fld_theirs1', 1000000 + i, 'none', null, '{}', null, null, 'theirs', 0 from generate_series(1, 12) i;
`

export const MAPPING = `
application: workload
contexts:
  - { name: people, tables: [users, folders, memberships] }
  - { name: rest, tables: [regions, cities, teams, players, docs] }
entities:
  users: { prefix: usr }
  regions: { prefix: reg }
  cities: { prefix: cit }
  folders: { prefix: fld }
  teams: { prefix: tea }
  players: { prefix: pla }
  docs: { prefix: doc }
tables:
  users:
    verdict: merge
    on: [lower(email)]
    rename: { name: {} }
    columns:
      bio: { keep: fill-empty }
  docs:
    columns:
      subject_id:
        by: kind
        cases: { user: { ref: users }, folder: { ref: folders }, city: { ref: cities } }
        otherwise: copy
      ui:
        json:
          - { path: $.folder, ref: folders }
          - { keys: $.cities, ref: cities }
          - { path: '$.list[*].user', ref: users }
      raw:
        json:
          - { path: $.owner, ref: users }
`

/** Ids at the edges of int8 and of what a double holds, beside small ones that meet again and again. */
const EDGES = ['0', '-1', '9007199254740993', '-9007199254740993', '9223372036854775807', '-9223372036854775808']

export interface WorkloadOptions {
  readonly url: string
  readonly seed: number
  /** Sessions that work at once. Default 2. */
  readonly sessions?: number
  /** Ids that most statements choose from. Default 40. */
  readonly ids?: number
  /** Milliseconds between a session's transactions. Default 0. */
  readonly pause?: number
}

export interface Workload {
  /** Each session does this many transactions, or goes on until the signal aborts. A lost server is waited for. */
  run(transactions: number, signal?: AbortSignal): Promise<void>
  readonly committed: number
}

export function workload(options: WorkloadOptions): Workload {
  const { sessions = 2, ids = 40, pause = 0 } = options
  const chances = Array.from({ length: sessions }, (_, i) => random({ seed: options.seed * 31 + i, quiet: true }))
  let committed = 0
  let version = 0
  return {
    get committed() { return committed },
    async run(transactions, signal) {
      await Promise.all(chances.map(async (chance) => {
        let session: pg.Client | null = null
        for (let i = 0; i < transactions && !signal?.aborted; i++) {
          try {
            session ??= await client(options.url)
            if (await transaction(session, { chance, ids, next: () => ++version })) committed++
            if (pause > 0) await sleep(pause)
          } catch {
            await session?.end().catch(() => {})
            session = null
            await sleep(50)
          }
        }
        await session?.end().catch(() => {})
      }))
    },
  }
}

interface Context {
  readonly chance: Random
  readonly ids: number
  /** A number that no other row version has. */
  readonly next: () => number
}

/** False when it was rolled back, by wish or because a constraint said no. Throws when the server is gone. */
async function transaction(session: pg.Client, context: Context): Promise<boolean> {
  const { chance } = context
  await session.query('begin')
  const count = chance.chance(0.5) ? 1 : chance.int(2, 8)
  for (let i = 0; i < count; i++) {
    const sql = chance.pick(OPERATIONS)(context)
    const inner = chance.chance(0.3)
    if (inner) await session.query('savepoint s')
    const failed = await session.query(sql).then(() => null, serverError)
    if (failed || (inner && chance.chance(0.3))) {
      if (!inner) return rollback(session)
      await session.query('rollback to s')
    } else if (inner) await session.query('release s')
  }
  if (chance.chance(0.08)) return rollback(session)
  return session.query('commit').then((result) => result.command === 'COMMIT', (error: unknown) => {
    serverError(error)
    return false
  })
}

async function rollback(session: pg.Client): Promise<false> {
  await session.query('rollback')
  return false
}

/** What the server refuses is part of the workload; a lost connection is not. */
function serverError(error: unknown): string {
  const { code } = error as { code?: string }
  if (code === undefined || !/^(22|23|40|25P02|55P03)/.test(code)) throw error
  return code
}

type Operation = (context: Context) => string

function id({ chance, ids }: Context): string {
  return chance.chance(0.06) ? chance.pick(EDGES) : String(chance.int(1, ids))
}

const text = ({ chance }: Context): string => chance.pick(["'plain'", "E'tab\\there'", "E'line\\nbreak'", "E'back\\\\slash'",
  "'Ünïcødé 漢字'", "''", 'null', "'\\N'"])
/** 100 kB that do not compress: stored outside the row, and not sent again by an update that leaves it alone. */
const big = (context: Context): string => `(select string_agg(md5(i::text || '${context.next()}'), '') from generate_series(1, 3200) i)`
const some = (context: Context): string => (context.chance.chance(0.1) ? big(context) : text(context))

const ui = (context: Context): string => `jsonb_build_object('folder', ${id(context)}, 'cities', jsonb_build_object('${id(context)}', 1, 'x', 2), 'list',
  jsonb_build_array(jsonb_build_object('user', ${id(context)}, 'n', 9007199254740993), jsonb_build_object('user', null)), 'n', ${context.next()})`
const raw = (context: Context): string => context.chance.pick(['null', `'{"owner": ${id(context)},  "owner2": 1.10, "a": [1e2]}'`])

const email = ({ chance }: Context): string => `'u${chance.int(1, 200)}@x.org'`
/** Somebody the destination knows, too. Nothing refers to these before they come. */
const known = ({ chance }: Context): string => `${1000 + chance.int(1, 12)}, 'm${chance.int(1, 12)}@x.org'`
const name = ({ chance, ids }: Context): string => `'name${chance.int(1, ids * 2)}'`

const OPERATIONS: readonly Operation[] = [
  (c) => `insert into users values (${id(c)}, ${email(c)}, ${name(c)}, ${some(c)}, (select id from users order by id offset ${c.chance.int(0, 20)} limit 1), ${c.next()}) on conflict do nothing`,
  (c) => `insert into users values (${known(c)}, ${name(c)}, ${some(c)}, null, ${c.next()}) on conflict do nothing`,
  (c) => `insert into users select i, 'u' || i || 'b@x.org', 'many' || i, null, null, ${c.next()} from generate_series(${c.chance.int(1,
    c.ids)}, ${c.ids}) i on conflict do nothing`,
  (c) => `update users set name = ${name(c)}, version = ${c.next()} where id = ${id(c)}`,
  (c) => `update users set bio = ${some(c)}, version = ${c.next()} where id = ${id(c)}`,
  (c) => `update users set version = ${c.next()} where id % 5 = ${c.chance.int(0, 4)}`,
  (c) => `update users set manager_id = (select id from users order by id desc offset ${c.chance.int(0,
    20)} limit 1), version = ${c.next()} where id = ${id(c)}`,
  (c) => `update users set email = ${email(c)}, version = ${c.next()} where id = ${id(c)}`,
  (c) => `delete from users where id = ${c.chance.chance(0.2) ? 1000 + c.chance.int(1, 12) : id(c)}`,
  (c) => `update users set id = ${id(c)}, version = ${c.next()} where id = ${id(c)} and id not in (select owner_id from docs union select user_id from memberships union select manager_id from users where manager_id is not null)`,
  // A unique value goes round: a -> a name of nobody -> b's.
  (c) => swap(c, 'users', 'name', `'between ${c.next()}'`),
  (c) => swap(c, 'docs', 'place', String(-c.next())),
  (c) => swap(c, 'regions', 'code', String(-c.next())),
  (c) => `insert into regions values (${id(c)}, ${c.next()}, ${text(c)}, ${c.next()}) on conflict do nothing`,
  (c) => `insert into regions select i, -1000 - i, 'many', ${c.next()} from generate_series(1, ${c.chance.int(1,
    20)}) i on conflict do nothing`,
  (c) => `update regions set id = ${id(c)}, version = ${c.next()} where id = ${id(c)}`,
  (c) => `update regions set label = ${text(c)}, version = ${c.next()} where id = ${id(c)}`,
  (c) => `delete from regions where id = ${id(c)}`,
  (c) => `insert into cities select ${id(c)}, id, ${text(c)}, ${c.next()} from regions order by md5(id::text || ${c.next()}) limit 1 on conflict (id) do update set label = excluded.label, version = excluded.version`,
  (c) => `insert into cities select i, (select id from regions order by id offset i % 3 limit 1), 'many', ${c.next()} from generate_series(1, ${c.chance.int(2, 30)}) i on conflict do nothing`,
  (c) => `update cities set id = ${id(c)}, version = ${c.next()} where id = ${id(c)}`,
  (c) => `delete from cities where id % 7 = ${c.chance.int(0, 6)}`,
  (c) => `insert into folders select ${id(c)}, (select id from folders order by id offset ${c.chance.int(0,
    30)} limit 1), ${text(c)}, ${c.next()} on conflict do nothing`,
  (c) => chain(c),
  (c) => `update folders set label = ${text(c)}, version = ${c.next()} where id = ${id(c)}`,
  (c) => `update folders f set parent_id = (select id from folders p where p.id < f.id order by id desc limit 1), version = ${c.next()} where id = ${id(c)}`,
  (c) => `delete from folders where id = ${id(c)}`,
  (c) => circle(c),
  (c) => `update teams set captain_id = (select id from players p where team_id = teams.id order by id limit 1), version = ${c.next()} where id = ${id(c)}`,
  (c) => `update players set team_id = (select id from teams order by md5(id::text || ${c.next()}) limit 1), version = ${c.next()} where id = ${id(c)}`,
  (c) => `update teams set captain_id = null, version = ${c.next()} where id = ${id(c)}; delete from players where id = ${id(c)}`,
  (c) => dissolve(c),
  (c) => `insert into memberships select u.id, f.id, ${text(c)}, ${c.next()} from users u, folders f where u.id % 3 = ${c.chance.int(0,
    2)} order by u.id, f.id limit ${c.chance.int(1, 10)} on conflict do nothing`,
  (c) => `update memberships set role = ${text(c)}, version = ${c.next()} where user_id = ${id(c)}`,
  (c) => `update memberships set folder_id = (select id from folders order by id offset ${c.chance.int(0,
    9)} limit 1), version = ${c.next()} where (user_id, folder_id) in (select user_id, folder_id from memberships limit 1)`,
  (c) => `delete from memberships where folder_id % 4 = ${c.chance.int(0, 3)}`,
  (c) => doc(c),
  (c) => doc(c),
  (c) => `update docs set note = ${text(c)}, version = ${c.next()} where id % 4 = ${c.chance.int(0, 3)}`,
  (c) => `update docs set body = ${some(c)}, ui = ${ui(c)}, version = ${c.next()} where id = ${id(c)}`,
  (c) => `update docs set owner_id = (select id from users order by id offset ${c.chance.int(0,
    9)} limit 1), raw = ${raw(c)}, version = ${c.next()} where id = ${id(c)}`,
  (c) => `update docs set id = ${id(c)}, version = ${c.next()} where id = ${id(c)}`,
  (c) => `delete from docs where id = ${id(c)}`,
  (c) => again(c),
]

function swap(c: Context, table: string, column: string, between: string): string {
  const [a, b] = [id(c), id(c)]
  if (a === b) return 'select 1'
  const [va, vb] = [a, b].map((one) => `(select ${column} from ${table} where id = ${one})`)
  const keep = `create temp table if not exists kept (n int, v text) on commit delete rows; delete from kept; insert into kept values (1, ${va}), (2, ${vb})`
  const kept = (n: number): string => `(select v from kept where n = ${n})${column === 'name' ? '' : '::integer'}`
  const both = `(select count(*) from ${table} where id in (${a}, ${b})) = 2`
  return `${keep}; update ${table} set ${column} = ${between}, version = ${c.next()} where id = ${a} and ${both};
    update ${table} set ${column} = ${kept(1)}, version = ${c.next()} where id = ${b} and ${both};
    update ${table} set ${column} = ${kept(2)}, version = ${c.next()} where id = ${a} and ${both}`
}

/** A chain, the lowest first, in one statement. */
function chain(c: Context): string {
  const from = c.chance.int(100, 400)
  return `insert into folders select i, case when i > ${from} then i - 1 end, 'chain', ${c.next()} from generate_series(${from}, ${from + c.chance.int(2, 30)}) i on conflict do nothing`
}

/** A team and its captain point at each other; only the commit checks it. */
function circle(c: Context): string {
  const [team, captain] = [id(c), id(c)]
  return `insert into teams values (${team}, ${captain}, ${c.next()}); insert into players values (${captain}, ${team}, ${c.next()})`
}

function dissolve(c: Context): string {
  const team = id(c)
  return `update teams set captain_id = null where captain_id in (select id from players where team_id = ${team}); delete from teams where id = ${team}; delete from players where team_id = ${team}`
}

function doc(c: Context): string {
  const kind = c.chance.pick(['user', 'folder', 'city', 'none'])
  return `insert into docs select ${id(c)}, (select id from users order by id offset ${c.chance.int(0,
    30)} limit 1), (select id from folders order by id offset ${c.chance.int(0, 30)} limit 1),
    ${c.next()}, '${kind}', '${id(c)}', ${ui(c)}, ${raw(c)}, ${some(c)}, ${text(c)}, ${c.next()} on conflict do nothing`
}

/** One key goes and comes back in one transaction, and goes once more or not. */
function again(c: Context): string {
  const one = id(c)
  const insert = `insert into docs select ${one}, (select min(id) from users), null, ${c.next()}, 'none', null, ${ui(c)}, null, 'again', null, ${c.next()}`
  return `delete from docs where id = ${one}; ${insert}; update docs set note = 'again', version = ${c.next()} where id = ${one}${c.chance.chance(0.3) ? `; delete from docs where id = ${one}` : ''}`
}

/** The destination's own users at work on their own rows. */
export async function destinationWorkload(url: string, seed: number, signal: AbortSignal): Promise<void> {
  const chance = random({ seed, quiet: true })
  let session: pg.Client | null = null
  for (let n = 0; !signal.aborted; n++) {
    try {
      session ??= await client(url)
      await session.query(chance.pick([
        `insert into docs values ('doc_theirs_${seed}_${n}', 'usr_theirs1', 'fld_theirs1', ${2_000_000 + n}, 'none', null, '{}', null, null, 'theirs', ${n}) on conflict do nothing`,
        `update docs set note = 'theirs ${n}', version = ${n} where id = 'doc_theirs${chance.int(1, 12)}'`,
        `update folders set version = ${n} where id = 'fld_theirs${chance.int(1, 5)}'`,
        `update users set name = name, version = version where id = 'usr_theirs${chance.int(1, 12)}'`,
        `delete from docs where id = 'doc_theirs_${seed}_${chance.int(0, n)}'`,
      ]))
    } catch {
      await session?.end().catch(() => {})
      session = null
    }
    await sleep(chance.int(1, 10))
  }
  await session?.end().catch(() => {})
}
