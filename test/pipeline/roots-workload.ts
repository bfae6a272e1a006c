import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { client } from '../support/database.ts'
import { random, type Random } from '../support/random.ts'

/**
 * A seeded random workload of rows that belong to projects: foreign keys go from root to root in all directions and in a circle, unique
 * values change hands between roots, rows go from one root to another, and most of what happens is in one project. Some papers are shown, and
 * only those are carried.
 */
const SHAPE = (id: string, circle: string): string => `
create table people (id ${id} primary key, name text not null unique, home_id ${id}, version bigint not null);
create table projects (id ${id} primary key, lead_id ${id} not null references people ${circle}, title text, version bigint not null);
alter table people add constraint people_home foreign key (home_id) references projects ${circle};
create table tasks (id ${id} primary key, project_id ${id} not null references projects, owner_id ${id} references people, after_id ${id} references tasks,
  code integer not null unique, body text, version bigint not null);
create table remarks (project_id ${id} not null references projects, task_id ${id} not null references tasks, n integer not null, person_id ${id} not null references people,
  body text, version bigint not null, primary key (project_id, task_id, n));
create table seats (person_id ${id} not null references people, project_id ${id} not null references projects, role text, version bigint not null, primary key (person_id, project_id));
create table drafts (id ${id} primary key, person_id ${id} not null references people, version bigint not null);
create table papers (id ${id} primary key, person_id ${id} references people, shown integer not null, body text not null, version bigint not null);
create index on people (home_id);
create index on projects (lead_id);
create index on tasks (project_id);
create index on tasks (owner_id);
create index on tasks (after_id);
create index on remarks (task_id);
create index on remarks (person_id);
create index on seats (project_id);
create index on drafts (person_id);
create index on papers (person_id);
`

export const ROOTS_SOURCE_SQL = `${SHAPE('bigint', 'deferrable initially deferred')}
alter table tasks replica identity full;
alter table tasks alter body set storage external;
alter table papers alter body set storage external;
`
export const ROOTS_DESTINATION_SQL = SHAPE('text collate "C"', 'deferrable initially immediate')

export const ROOTS_MAPPING = `
application: roots
contexts: [{ name: all, tables: [people, projects, tasks, remarks, seats, drafts, papers] }]
entities:
  people: { prefix: ppl }
  projects: { prefix: prj }
  tasks: { prefix: tsk }
  drafts: { prefix: drf }
  papers: { prefix: pap }
defaults: { truncate: owned }
tables:
  tasks: { root: project_id }
  remarks: { root: project_id }
  seats: { root: project_id }
  papers: { where: { shown: 1 } }
`

/** Rows whose parent is not there, by foreign key; nothing when all is well. */
export const ORPHANS_SQL = [
  ['people', 'home_id', 'projects'], ['projects', 'lead_id', 'people'], ['tasks', 'project_id', 'projects'], ['tasks', 'owner_id', 'people'],
  ['tasks', 'after_id', 'tasks'], ['remarks', 'project_id', 'projects'], ['remarks', 'task_id', 'tasks'], ['remarks', 'person_id', 'people'],
  ['seats', 'person_id', 'people'], ['seats', 'project_id', 'projects'], ['drafts', 'person_id', 'people'],
  ['papers', 'person_id', 'people'],
].map(([child, column, parent]) =>
  `select '${child}.${column}' as key from ${child} c where ${column} is not null and not exists (select from ${parent} p where p.id = c.${column})`).join(' union all ')

interface Context {
  readonly chance: Random
  readonly next: () => number
}

const HOT = '1'
const project = ({ chance }: Context): string => (chance.chance(0.6) ? HOT : String(chance.int(1, 8)))
const person = ({ chance }: Context): string => String(chance.int(1, 15))
const task = ({ chance }: Context): string => String(chance.int(1, 120))
const paper = ({ chance }: Context): string => String(chance.int(1, 40))
const some = (table: string, c: Context): string => `(select id from ${table} order by md5(id::text || ${c.next()}) limit 1)`
const body = (c: Context): string => (c.chance.chance(0.05) ? `(select string_agg(md5(i::text || '${c.next()}'), '') from generate_series(1, 500) i)` : `'b${c.next()}'`)

const long = (c: Context): string => `(select string_agg(md5(i::text || '${c.next()}'), '') from generate_series(1, 100) i)`

/** What is deleted takes along what hangs on it, as an application does. */
const dropTask = (where: string): string =>
  `update tasks set after_id = null where after_id in (select id from tasks where ${where}); delete from remarks where task_id in (select id from tasks where ${where}); delete from tasks where ${where}`
const dropPerson = (id: string): string => `update people set home_id = null where id = ${id}; update tasks set owner_id = null where owner_id = ${id}; delete from remarks where person_id = ${id};
  delete from seats where person_id = ${id}; delete from drafts where person_id = ${id};
  update papers set person_id = null where person_id = ${id}; delete from people where id = ${id} and not exists (select from projects where lead_id = ${id})`
const dropProject = (id: string): string =>
  `update people set home_id = null where home_id = ${id}; ${dropTask(`project_id = ${id}`)}; delete from remarks where project_id = ${id}; delete from seats where project_id = ${id}; delete from projects where id = ${id}`

type Operation = (c: Context) => string
const OPERATIONS: readonly (readonly [weight: number, Operation])[] = [
  [4, (c) => `insert into people values (${person(c)}, 'p${c.chance.int(1, 40)}', null, ${c.next()}) on conflict do nothing`],
  [3, (c) => `update people set name = 'p${c.chance.int(1, 40)}', version = ${c.next()} where id = ${person(c)}`],
  [2, (c) => `update people set home_id = ${some('projects', c)}, version = ${c.next()} where id = ${person(c)}`],
  [1, (c) => dropPerson(person(c))],
  [3, (c) => `insert into projects values (${project(c)}, ${some('people', c)}, 't', ${c.next()}) on conflict do nothing`],
  // Both at once, and each needs the other.
  [2, (c) => circle(c)],
  [2, (c) => `update projects set lead_id = ${some('people', c)}, version = ${c.next()} where id = ${project(c)}`],
  [1, (c) => dropProject(String(c.chance.int(2, 8)))],
  [12, (c) => `insert into tasks select ${task(c)}, ${project(c)}, ${some('people', c)}, ${c.chance.chance(0.3) ? some('tasks', c) : 'null'}, ${c.next()}, ${body(c)}, ${c.next()} on conflict do nothing`],
  [8, (c) => `update tasks set body = ${body(c)}, version = ${c.next()} where project_id = ${project(c)} and id % 4 = ${c.chance.int(0, 3)}`],
  [3, (c) => `update tasks set owner_id = ${some('people', c)}, version = ${c.next()} where id = ${task(c)}`],
  [1, (c) => `update tasks set project_id = ${project(c)}, version = ${c.next()} where id = ${task(c)} and not exists (select from remarks r where r.task_id = tasks.id)`],
  [3, (c) => dropTask(`id = ${task(c)}`)],
  [3, (c) => swapCodes(c)],
  [8, (c) => `insert into remarks select project_id, id, ${c.chance.int(1, 5)}, ${some('people', c)}, ${body(c)}, ${c.next()} from tasks where id = ${task(c)} on conflict do nothing`],
  [2, (c) => `delete from remarks where n = ${c.chance.int(1, 5)} and task_id = ${task(c)}`],
  [4, (c) => `insert into seats values (${person(c)}, ${project(c)}, 'r${c.next()}', ${c.next()}) on conflict (person_id, project_id) do update set role = excluded.role, version = excluded.version`],
  [2, (c) => `delete from seats where person_id = ${person(c)}`],
  [2, (c) => `insert into drafts values (${task(c)}, ${some('people', c)}, ${c.next()}) on conflict do nothing`],
  [0.2, () => 'truncate drafts'],
  [3, (c) => `insert into papers values (${paper(c)}, ${some('people', c)}, ${c.chance.int(0, 1)}, ${long(c)}, ${c.next()}) on conflict do nothing`],
  [2, (c) => `update papers set person_id = ${some('people', c)}, version = ${c.next()} where id = ${paper(c)}`],
  [1, (c) => `update papers set body = ${long(c)}, shown = ${c.chance.int(0, 1)}, version = ${c.next()} where id = ${paper(c)}`],
  // Without the body, as it is too large to be sent again.
  [0.4, (c) => `update papers set shown = 1 - shown, version = ${c.next()} where id = ${paper(c)}`],
  [0.2, (c) => `update papers set id = ${paper(c)}, shown = 1, version = ${c.next()} where id = ${paper(c)}`],
  [1, (c) => `delete from papers where id = ${paper(c)}`],
]

function circle(c: Context): string {
  const [one, other] = [String(c.chance.int(2, 8)), person(c)]
  return `insert into people values (${other}, 'p${c.chance.int(1, 40)}', ${one}, ${c.next()}); insert into projects values (${one}, ${other}, 'circle', ${c.next()})`
}

/** Two tasks of any projects exchange their codes. */
function swapCodes(c: Context): string {
  const [a, b] = [task(c), task(c)]
  if (a === b) return 'select 1'
  const both = `(select count(*) from tasks where id in (${a}, ${b})) = 2`
  const keep = `create temp table if not exists kept (n int, v int) on commit delete rows; delete from kept; insert into kept select id, code from tasks where id in (${a}, ${b})`
  return `${keep}; update tasks set code = ${-c.next()}, version = ${c.next()} where id = ${a} and ${both};
    update tasks set code = (select v from kept where n = ${a}), version = ${c.next()} where id = ${b} and ${both};
    update tasks set code = (select v from kept where n = ${b}), version = ${c.next()} where id = ${a} and ${both}`
}

const BAG = OPERATIONS.flatMap(([weight, operation]) => Array.from({ length: Math.round(weight * 5) }, () => operation))

export interface RootsWorkload {
  /** Each session goes on until the signal aborts. `pause`: between its transactions, milliseconds. */
  run(signal: AbortSignal): Promise<void>
  readonly committed: number
}

export function rootsWorkload({ url, seed, sessions = 3, pause = 5 }: { url: string; seed: number; sessions?: number; pause?: number | (() => number) }): RootsWorkload {
  let committed = 0
  let version = 0
  const work = async (chance: Random, signal: AbortSignal): Promise<void> => {
    const context: Context = { chance, next: () => ++version }
    let session: pg.Client | null = null
    while (!signal.aborted) {
      try {
        session ??= await client(url)
        await session.query('begin')
        for (let i = chance.chance(0.6) ? 1 : chance.int(2, 5); i > 0; i--) await session.query(chance.pick(BAG)(context))
        await session.query('commit')
        committed++
      } catch (error) {
        // What the server refuses is part of the workload.
        if (/^(23|40|25P02|55P03)/.test((error as { code?: string }).code ?? '')) await session!.query('rollback')
        else {
          await session?.end().catch(() => {})
          session = null
          await sleep(50)
        }
      }
      const ms = typeof pause === 'number' ? pause : pause()
      if (ms > 0) await sleep(ms)
    }
    await session?.end().catch(() => {})
  }
  return {
    get committed() { return committed },
    run: async (signal) => void (await Promise.all(Array.from({ length: sessions }, (_, i) => work(random({ seed: seed * 31 + i, quiet: true }), signal)))),
  }
}
