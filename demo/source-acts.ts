import type { Writing } from './writer.ts'

/** The id of a row picked by chance: the first that is not less than a number up to the highest. Null when the table is empty. */
export async function anyRow(w: Writing, table: string, where = 'true'): Promise<string | null> {
  const from = `(select 1 + floor($1::float8 * max(id)) from ${table})::bigint`
  const [row] = await w.query(`select id from ${table} where id >= ${from} and ${where} order by id limit 1`, [w.random.next()])
  return row?.id ?? null
}

/** A project with its nodes and files in one transaction, and then its view, which names its nodes. */
export async function newProject(w: Writing): Promise<void> {
  const owner = await anyRow(w, 'users', 'id in (select owner_id from wallets)')
  if (owner === null) return
  const folder = w.random.chance(0.5) ? await anyRow(w, 'folders') : null
  const [project] = await w.query(
    `insert into projects (name, owner_id, product_id, folder_id, settings) values ($1, $2, 1 + $2::bigint % 3, $3, $4) returning id`,
    [`new study ${w.random.int(1, 9_999)}`, owner, folder, '{"threshold": 17,  "iterations": [1, 2]}'])
  const nodes = await w.query(
    `insert into nodes (project_id, label) select $1::bigint, 'step ' || i from generate_series(1, 3) i returning id`, [project.id])
  await w.query(`insert into files (path, project_id, node_id, owner_id, size)
    select $1::bigint || '/' || n || '/out.csv', $1, n, $2::bigint, n * 10
    from unnest($3::bigint[]) n`, [project.id, owner, nodes.map(({ id }) => id)])
  const slides = `{"${nodes[1].id}": {"position": 0}}`
  const notes = `[{"author": ${owner}, "text": "new", "size": 17}]`
  await w.query('update projects set ui = $2 where id = $1',
    [project.id, `{"current_node": ${nodes[0].id}, "slides": ${slides}, "notes": ${notes}}`])
}

export async function runNode(w: Writing): Promise<void> {
  const sql = 'select n.id, project_id, owner_id from nodes n join projects p on p.id = project_id where n.id = $1'
  const [node] = await w.query(sql, [await anyRow(w, 'nodes')])
  if (!node) return
  const job = `job_${node.owner_id}_${node.project_id}_${node.id}_${w.random.int(1, 9)}`
  await w.query('update nodes set progress = $2, last_job = $3 where id = $1', [node.id, w.random.int(0, 100), job])
  await w.query(`insert into events (actor_id, subject_type, subject_id, note) values ($1, 'node', $2, 'ran')`, [node.owner_id, node.id])
}

export async function openWallet(w: Writing, user: string): Promise<void> {
  const [{ id }] = await w.query(`insert into wallets (owner_id, product_id, name) values ($1, 1, 'first') returning id`, [user])
  await w.query(`insert into preferences values ($1, 'preferred_wallet', jsonb_build_object('value', $2::bigint))`, [user, id])
}

/** Somebody leaves: wallet, account and all that hangs on it, unless there is still a project or a file. */
export async function closeAccount(w: Writing, wallet: string | null): Promise<void> {
  const [owner] = await w.query(`select owner_id from wallets t where id = $1 and not exists (select from projects where owner_id = t.owner_id)
    and not exists (select from files where owner_id = t.owner_id)`, [wallet])
  if (!owner) return
  await w.query('delete from wallets where owner_id = $1', [owner.owner_id])
  await w.query('delete from users where id = $1', [owner.owner_id])
}

/** A node goes over to another project, with its files, whose paths begin with the project. */
export async function moveNode(w: Writing, node: string | null, project: string | null): Promise<void> {
  await w.query('update nodes set project_id = $2 where id = $1', [node, project])
  await w.keep(await w.query(`update files set project_id = $2, path = $2::bigint || substr(path, strpos(path, '/')) where node_id = $1
    returning path, size, etag`, [node, project]))
}
