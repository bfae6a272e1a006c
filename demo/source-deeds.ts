import { GUEST, isShared, person, type Person, type Sizes } from './people.ts'
import { anyRow, closeAccount, moveNode, newProject, openWallet, runNode } from './source-acts.ts'
import type { Deed, Writing } from './writer.ts'

/** What the users of the source do, over all of its tables. */
export function sourceDeeds(sizes: Sizes): Deed[] {
  return [...studyDeeds(), ...fileDeeds(), ...placeDeeds(), ...peopleDeeds(sizes), ...belongingDeeds(sizes), ...smallDeeds()]
}

type Values = (w: Writing) => readonly unknown[] | Promise<readonly unknown[]>

/** One statement: $1 is the id of a row of `table` picked by chance, the other parameters are those of `more`. */
function on(weight: number, table: string, sql: string, more: Values = () => []): Deed {
  return { weight, run: async (w) => w.query(sql, [await anyRow(w, table), ...(await more(w))]) }
}

/** One statement without a row to begin with. */
function statement(weight: number, sql: string, values: Values = () => []): Deed {
  return { weight, run: async (w) => w.query(sql, await values(w)) }
}

function studyDeeds(): Deed[] {
  return [
    { weight: 8, run: newProject },
    { weight: 14, run: runNode },
    on(12, 'projects', `update projects set descr = $2, modified = now(), ui = jsonb_set(ui, '{zoom}', to_jsonb($3::int)) where id = $1`,
      (w) => [`Edited with\ttabs and "quotes" ${w.random.int(1, 99)}`, w.random.int(10, 400)]),
    on(8, 'nodes', `update nodes n set inputs = jsonb_build_object('a', jsonb_build_object('node', o.id, 'output', 'out_1'),
        'b', jsonb_build_object('store', 0, 'path', o.project_id || '/' || o.id || '/out.csv'), 'c', n.id)
      from nodes o where n.id = $1 and o.id = (select min(id) from nodes where project_id = n.project_id)`),
    on(3, 'nodes', 'delete from nodes where id = $1'),
    on(1, 'projects', 'delete from projects where id = $1 and id > 5'),
    on(3, 'projects', `update projects set shared_with = (select coalesce(array_agg(id order by id), '{}') from groups where id % $2 = 0)
      where id = $1`, (w) => [w.random.int(5, 20)]),
  ]
}

/** A file without an etag has not been uploaded yet. */
function fileDeeds(): Deed[] {
  const one = '(select path from files where node_id = $1 order by path limit 1)'
  const upload = (weight: number, sql: string, more?: Values): Deed => ({
    weight, run: async (w) => w.keep(await w.query(`${sql} returning path, size, etag`, [await anyRow(w, 'nodes'), ...(await (more ?? (() => []))(w))])),
  })
  return [
    on(8, 'nodes', `insert into files select n.project_id || '/' || n.id || '/' || $2::text, n.project_id, n.id, p.owner_id, $3::bigint
      from nodes n join projects p on p.id = n.project_id where n.id = $1 on conflict do nothing`,
    (w) => [`data ${w.random.int(1, 999)}.bin`, w.random.int(0, 1e9)]),
    upload(8, `update files set size = $2, etag = md5($3) where path = ${one}`, (w) => [w.random.int(0, 60_000), String(w.random.next())]),
    upload(3, `update files set path = path || '.old' where path = ${one} and length(path) < 60`),
    on(4, 'nodes', `delete from files where path = ${one}`),
    { weight: 2, run: async (w) => moveNode(w, await anyRow(w, 'nodes'), await anyRow(w, 'projects')) },
  ]
}

/** Folders and workspaces go with all that is in them; projects only leave their folder. */
function placeDeeds(): Deed[] {
  return [
    on(3, 'folders', 'insert into folders (parent_id, name, created_by) values ($1, $2, $3)',
      async (w) => [`new ${w.random.int(1, 99)}`, await anyRow(w, 'users')]),
    on(2, 'folders', `update folders set name = name || '*' where id = $1 and length(name) < 40`),
    on(2, 'folders', `with recursive below as (
        select id from folders where id = $1 union all select f.id from folders f join below on f.parent_id = below.id)
      update folders set parent_id = $2 where id = $1 and not exists (select from below where id = $2)`,
    async (w) => [await anyRow(w, 'folders')]),
    on(0.5, 'folders', `delete from folders f where id = $1 and (select count(*) from folders where parent_id = f.id) < 3`),
    on(3, 'projects', 'update projects set folder_id = $2, modified = now() where id = $1', async (w) => [await anyRow(w, 'folders')]),
    on(2, 'projects', 'update projects set workspace_id = $2 where id = $1', async (w) => [await anyRow(w, 'workspaces')]),
    on(1, 'folders', 'update folders set workspace_id = $2 where id = $1', async (w) => [await anyRow(w, 'workspaces')]),
    on(1, 'groups', 'insert into workspaces (owner_group_id, name) values ($1, $2)', (w) => [`new room ${w.random.int(1, 99)}`]),
    on(1, 'workspaces', 'update workspaces set name = $2 where id = $1', (w) => [`room ${w.random.int(1, 99)}, renamed`]),
    statement(0.5, `delete from workspaces where id = (select min(id) from workspaces where name like 'new room %')`),
  ]
}

function peopleDeeds({ users, guests }: Sizes): Deed[] {
  let guest = 0
  let visitor = 0
  const signUp = async (w: Writing, { first, last, name, email }: Person): Promise<string> => {
    const [{ id }] = await w.query(
      `insert into users (email, name, first_name, last_name, phone) values ($1, $2, $3, $4, '1') returning id`, [email, name, first, last])
    await w.query('insert into memberships (user_id, group_id) values ($1, 1)', [id])
    return id!
  }
  return [
    { weight: 1.5, run: async (w) => (guest < guests ? openWallet(w, await signUp(w, person(GUEST + guest++))) : undefined) },
    { weight: 2, run: (w) => signUp(w, person(300_000 + visitor++)) },
    on(1, 'users', 'delete from users where id = $1 and not exists (select from wallets where owner_id = $1)'),
    { weight: 0.3, run: async (w) => closeAccount(w, await anyRow(w, 'wallets')) },
    statement(6, 'update users set phone = $2, bio = $3, modified = now() where id = $1', ({ random }) => [
      random.int(1, users), `+41 44 ${random.int(1_000_000, 9_999_999)}`, random.chance(0.2) ? null : `Changed ${random.int(1, 99)} times`,
    ]),
    { weight: 1, run: (w) => renameUser(w, w.random.int(2, users)) },
  ]
}

/** To a name that another person has at the destination. */
async function renameUser(w: Writing, user: number): Promise<void> {
  if (isShared(user)) return
  const taken = person(200_000 + w.random.int(0, 19)).name
  const sql = 'update users set name = $2, modified = now() where id = $1 and not exists (select from users u where u.name = $2::text)'
  await w.query(sql, [user, taken])
}

function belongingDeeds({ users }: Sizes): Deed[] {
  const last = '(select max(group_id) from memberships where user_id = $1)'
  return [
    on(3, 'users', 'insert into memberships (user_id, group_id) select $1, id from groups where id = $2 and id > 1 on conflict do nothing',
      async (w) => [await anyRow(w, 'groups')]),
    on(3, 'users', 'update memberships set role = $2 where user_id = $1', (w) => [w.random.pick(['owner', 'member', 'guest'])]),
    on(2, 'users', `delete from memberships where user_id = $1 and group_id = ${last}`),
    on(8, 'wallets', 'update wallets set credits = credits + 0.05 where id = $1'),
    statement(2, `update preferences set value = jsonb_build_object('value', $2::int) where user_id = $1 and name = 'font_size'`,
      (w) => [w.random.int(1, users), w.random.int(8, 24)]),
  ]
}

function smallDeeds(): Deed[] {
  let trial = 0
  return [
    on(8, 'projects', `insert into events (subject_type, subject_id, note, actor_id) values ('project', $1, 'opened', $2)`,
      async (w) => [await anyRow(w, 'users')]),
    on(2, 'events', 'delete from events where id = $1'),
    on(1, 'products', 'update products set description = $2 where id = $1', (w) => [`Now better ${w.random.int(1, 99)}`]),
    statement(0.5, 'insert into products (name) values ($1)', () => [`trial ${trial++}`]),
    statement(0.3, `delete from products where id = (select min(id) from products where name like 'trial %')`),
    statement(1, `insert into groups (name, kind) values ('new team', 'team')`),
    on(1, 'groups', 'update groups set name = $2 where id = $1 and id > 1', (w) => [`team of ${w.random.int(2, 99)}`]),
    statement(0.5, `delete from groups where id =
      (select min(id) from groups g where name = 'new team' and not exists (select from workspaces where owner_group_id = g.id))`),
    on(2, 'users', 'insert into sessions (user_id, token, expires) values ($1, gen_random_uuid()::text, now())'),
    { weight: 1, run: changeOfMind },
  ]
}

async function changeOfMind(w: Writing): Promise<void> {
  await w.query('savepoint before')
  await w.query('delete from nodes where id = $1', [await anyRow(w, 'nodes')])
  await w.query('rollback to savepoint before')
}
