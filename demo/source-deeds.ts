import type { TextRow } from '../test/support/database.ts'
import { GUEST, isShared, person, type Sizes } from './people.ts'
import type { Deed, Writing } from './writer.ts'

/** Picks a row by chance: the first whose id is not less than a number up to the highest. */
async function any(w: Writing, table: string, where = 'true'): Promise<TextRow | null> {
  const { random } = w
  const [row] = await w.query(
    `select * from ${table} where id >= (select 1 + floor($1::float8 * max(id)) from ${table})::bigint and ${where} order by id limit 1`, [random.next()])
  return row ?? null
}

/** What the users of the source do, over all of its tables. */
export function sourceDeeds(sizes: Sizes): Deed[] {
  return [...studyDeeds(), ...fileDeeds(), ...placeDeeds(), ...peopleDeeds(sizes), ...smallDeeds()]
}

function studyDeeds(): Deed[] {
  return [
    { weight: 8, run: newProject },
    { weight: 14, run: runNode },
    {
      weight: 12,
      run: async (w) => {
        const project = await any(w, 'projects')
        await w.query(`update projects set descr = $2, modified = now(), ui = jsonb_set(ui, '{zoom}', to_jsonb($3::int)) where id = $1`,
          [project?.id, `Edited with\ttabs and "quotes" ${w.random.int(1, 99)}`, w.random.int(10, 400)])
      },
    },
    {
      weight: 8,
      run: async (w) => {
        const node = await any(w, 'nodes')
        await w.query(`update nodes n set inputs = jsonb_build_object('a', jsonb_build_object('node', o.id, 'output', 'out_1'),
            'b', jsonb_build_object('store', 0, 'path', o.project_id || '/' || o.id || '/out.csv'), 'c', n.id)
          from nodes o where n.id = $1 and o.project_id = n.project_id and o.id = (select min(id) from nodes where project_id = n.project_id)`, [node?.id])
      },
    },
    { weight: 3, run: async (w) => w.query('delete from nodes where id = $1', [(await any(w, 'nodes'))?.id]) },
    { weight: 1, run: async (w) => w.query('delete from projects where id = $1', [(await any(w, 'projects', 'id > 5'))?.id]) },
    {
      weight: 3,
      run: async (w) => w.query(`update projects set shared_with = (select coalesce(array_agg(id order by id), '{}') from groups where id % $2 = 0) where id = $1`,
        [(await any(w, 'projects'))?.id, w.random.int(5, 20)]),
    },
  ]
}

/** A project with its nodes and files in one transaction, and then its view, which names its nodes. */
async function newProject(w: Writing): Promise<void> {
  const owner = await any(w, 'users', 'id in (select owner_id from wallets)')
  if (!owner) return
  const folder = w.random.chance(0.5) ? await any(w, 'folders') : null
  const [project] = await w.query(`insert into projects (name, owner_id, product_id, folder_id, settings)
    values ($1, $2, 1 + $2::bigint % 3, $3, $4) returning id`, [`new study ${w.random.int(1, 9_999)}`, owner.id, folder?.id, `{"threshold": 17,  "iterations": [1, 2]}`])
  const nodes = await w.query(`insert into nodes (project_id, label) select $1::bigint, 'step ' || i from generate_series(1, 3) i returning id`, [project.id])
  await w.query(`insert into files (path, project_id, node_id, owner_id, size) select $1::bigint || '/' || n || '/out.csv', $1, n, $2::bigint, n * 10 from unnest($3::bigint[]) n`,
    [project.id, owner.id, nodes.map(({ id }) => id)])
  await w.query('update projects set ui = $2 where id = $1', [
    project.id, `{"current_node": ${nodes[0].id}, "slides": {"${nodes[1].id}": {"position": 0}}, "notes": [{"author": ${owner.id}, "text": "new", "size": 17}]}`,
  ])
}

async function runNode(w: Writing): Promise<void> {
  const node = await any(w, 'nodes')
  if (!node) return
  const [project] = await w.query('select owner_id from projects where id = $1', [node.project_id])
  const job = `job_${project.owner_id}_${node.project_id}_${node.id}_${w.random.int(1, 9)}`
  await w.query('update nodes set progress = $2, last_job = $3 where id = $1', [node.id, w.random.int(0, 100), job])
  await w.query(`insert into events (actor_id, subject_type, subject_id, note) values ($1, 'node', $2, 'ran')`, [project.owner_id, node.id])
}

function fileDeeds(): Deed[] {
  const one = async (w: Writing): Promise<string | undefined> => {
    const node = await any(w, 'nodes')
    return (await w.query('select path from files where node_id = $1 order by path limit 1', [node?.id]))[0]?.path ?? undefined
  }
  return [
    {
      weight: 8,
      run: async (w) => w.query(`insert into files select n.project_id || '/' || n.id || '/' || $2::text, n.project_id, n.id, p.owner_id, $3::bigint
        from nodes n join projects p on p.id = n.project_id where n.id = $1 on conflict do nothing`, [(await any(w, 'nodes'))?.id, `data ${w.random.int(1, 999)}.bin`, w.random.int(0, 1e9)]),
    },
    { weight: 8, run: async (w) => w.query('update files set size = $2, etag = md5($2::bigint::text) where path = $1', [await one(w), w.random.int(0, 1e9)]) },
    { weight: 3, run: async (w) => w.query(`update files set path = path || '.old' where path = $1 and length(path) < 60`, [await one(w)]) },
    { weight: 4, run: async (w) => w.query('delete from files where path = $1', [await one(w)]) },
  ]
}

function placeDeeds(): Deed[] {
  return [
    {
      weight: 3,
      run: async (w) => w.query('insert into folders (name, parent_id, created_by) values ($1, $2, $3)', [`new ${w.random.int(1, 99)}`, (await any(w, 'folders'))?.id, (await any(w, 'users'))?.id]),
    },
    { weight: 2, run: async (w) => w.query(`update folders set name = name || '*' where id = $1 and length(name) < 40`, [(await any(w, 'folders'))?.id]) },
    // Under an earlier folder that lies at the top: so no folder becomes its own ancestor.
    { weight: 2, run: async (w) => w.query('update folders set parent_id = (select min(id) from folders where parent_id is null) where id = $1 and parent_id is not null', [(await any(w, 'folders', 'id > 40'))?.id]) },
    {
      weight: 1,
      run: async (w) => w.query(`delete from folders f where id = $1 and not exists (select from folders where parent_id = f.id)
        and not exists (select from projects where folder_id = f.id)`, [(await any(w, 'folders', 'id > 40'))?.id]),
    },
    { weight: 3, run: async (w) => w.query('update projects set folder_id = $2, modified = now() where id = $1', [(await any(w, 'projects'))?.id, (await any(w, 'folders'))?.id]) },
    { weight: 1, run: async (w) => w.query('insert into workspaces (name, owner_group_id) values ($1, $2)', [`new room ${w.random.int(1, 99)}`, (await any(w, 'groups'))?.id]) },
    { weight: 1, run: async (w) => w.query('update workspaces set name = $2 where id = $1', [(await any(w, 'workspaces'))?.id, `renamed ${w.random.int(1, 99)}`]) },
    { weight: 0.5, run: (w) => w.query(`delete from workspaces where id = (select min(id) from workspaces where name like 'new room %')`) },
  ]
}

function peopleDeeds({ users, guests }: Sizes): Deed[] {
  let guest = 0
  let visitor = 0
  const signUp = async (w: Writing, { first, last, name, email }: ReturnType<typeof person>): Promise<string> => {
    const [{ id }] = await w.query(`insert into users (email, name, first_name, last_name, phone) values ($1, $2, $3, $4, '1') returning id`, [email, name, first, last])
    await w.query('insert into memberships (user_id, group_id) values ($1, 1)', [id])
    return id!
  }
  return [
    { weight: 1.5, run: async (w) => (guest < guests ? openWallet(w, await signUp(w, person(GUEST + guest++))) : undefined) },
    { weight: 2, run: (w) => signUp(w, person(300_000 + visitor++)) },
    {
      weight: 1,
      run: async (w) => w.query(`delete from users where id = $1 and not exists (select from wallets where owner_id = $1)
        and not exists (select from events where actor_id = $1) and not exists (select from folders where created_by = $1)`,
      [(await any(w, 'users', `id > ${users}`))?.id]),
    },
    {
      weight: 6,
      run: async (w) => w.query('update users set phone = $2, bio = $3, modified = now() where id = $1',
        [w.random.int(1, users), `+41 44 ${w.random.int(1_000_000, 9_999_999)}`, w.random.chance(0.2) ? null : `Changed ${w.random.int(1, 99)} times`]),
    },
    // Sometimes to a name that another person has at the destination.
    { weight: 1, run: async (w) => renameUser(w, 1 + w.random.int(1, users - 1)) },
    { weight: 3, run: async (w) => w.query('insert into memberships (user_id, group_id) values ($1, $2) on conflict do nothing', [(await any(w, 'users'))?.id, (await any(w, 'groups', 'id > 1'))?.id]) },
    { weight: 3, run: async (w) => w.query('update memberships set role = $2 where user_id = $1', [(await any(w, 'users'))?.id, w.random.pick(['owner', 'member', 'guest'])]) },
    { weight: 2, run: async (w) => w.query('delete from memberships where user_id = $1 and group_id = (select max(group_id) from memberships where user_id = $1)', [(await any(w, 'users'))?.id]) },
    { weight: 8, run: async (w) => w.query('update wallets set credits = credits + 0.05 where id = $1', [(await any(w, 'wallets'))?.id]) },
    { weight: 2, run: async (w) => w.query(`update preferences set value = jsonb_build_object('value', $2::int) where user_id = $1 and name = 'font_size'`, [w.random.int(1, users), w.random.int(8, 24)]) },
  ]
}

async function openWallet(w: Writing, user: string): Promise<void> {
  const [{ id }] = await w.query(`insert into wallets (owner_id, product_id, name) values ($1, 1, 'first') returning id`, [user])
  await w.query(`insert into preferences values ($1, 'preferred_wallet', jsonb_build_object('value', $2::bigint))`, [user, id])
}

async function renameUser(w: Writing, user: number): Promise<void> {
  if (isShared(user)) return
  const taken = person(200_000 + w.random.int(0, 19)).name
  await w.query('update users set name = $2, modified = now() where id = $1 and not exists (select from users u where u.name = $2::text)', [user, taken])
}

function smallDeeds(): Deed[] {
  let trial = 0
  return [
    { weight: 8, run: async (w) => w.query(`insert into events (actor_id, subject_type, subject_id, note) values ($1, 'project', $2, 'opened')`, [(await any(w, 'users'))?.id, (await any(w, 'projects'))?.id]) },
    { weight: 2, run: async (w) => w.query('delete from events where id = $1', [(await any(w, 'events'))?.id]) },
    { weight: 1, run: async (w) => w.query('update products set description = $2 where id = $1', [(await any(w, 'products'))?.id, `Now better ${w.random.int(1, 99)}`]) },
    { weight: 0.5, run: (w) => w.query('insert into products (name) values ($1)', [`trial ${trial++}`]) },
    { weight: 0.3, run: (w) => w.query(`delete from products where id = (select min(id) from products where name like 'trial %')`) },
    { weight: 1, run: (w) => w.query(`insert into groups (name, kind) values ('new team', 'team')`) },
    { weight: 1, run: async (w) => w.query('update groups set name = $2 where id = $1', [(await any(w, 'groups', 'id > 1'))?.id, `team of ${w.random.int(2, 99)}`]) },
    { weight: 0.5, run: (w) => w.query(`delete from groups where id = (select min(id) from groups g where name = 'new team' and not exists (select from workspaces where owner_group_id = g.id))`) },
    { weight: 2, run: async (w) => w.query('insert into sessions values (gen_random_uuid()::text, $1, now())', [(await any(w, 'users'))?.id]) },
    {
      weight: 1,
      run: async (w) => {
        await w.query('savepoint s')
        await w.query('delete from nodes where id = $1', [(await any(w, 'nodes'))?.id])
        await w.query('rollback to savepoint s')
      },
    },
  ]
}
