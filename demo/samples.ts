import type { Opened } from '../src/pipeline/open.ts'
import type { Database, TextRow } from '../test/support/database.ts'
import { isNamesake } from './people.ts'
import type { View } from './view.ts'

/** A row of the source and what it became, and what the destination had before, if it had anything. */
export interface Sample {
  readonly title: string
  readonly source: TextRow
  readonly before: TextRow | null
  readonly after: TextRow
}

export interface Ends {
  readonly source: Database
  readonly destination: Database
}

/** The person at the destination who is user 17 of the source, before anything was carried. */
export async function residentBefore({ source, destination }: Ends): Promise<TextRow> {
  const [user] = await source.query('select email from users where id = 17')
  const [row] = await destination.query(
    'select id, email, name, full_name, phone, bio, modified from users where lower(email) = lower($1)', [user.email])
  return row
}

/** Some rows that tell what rekeying and merging mean. */
export async function takeSamples(ends: Ends, minters: Opened['minters'], before: TextRow): Promise<Sample[]> {
  const id = (entity: string, old: string): string => minters.get(entity)!.mint(old)!
  const pair = async (title: string, from: readonly [string, unknown], to: readonly [string, unknown],
    had: TextRow | null = null): Promise<Sample[]> => {
    const [[source], [after]] = await Promise.all([ends.source.query(from[0], [from[1]]), ends.destination.query(to[0], [to[1]])])
    return source && after ? [{ title, source, before: had, after }] : []
  }
  const [namesake] = await ends.source.query(`select old from unnest($1::bigint[]) old join users on id = old order by old limit 1`,
    [[3, 23, 43, 63].filter(isNamesake)])
  const [deep] = await ends.source.query(`${TREE} select id from tree where depth <= 3 order by depth desc, id limit 1`)
  const [file] = await ends.source.query(
    `select path, project_id, node_id from files where project_id > 1 and path not like '%.old' order by project_id, path limit 1`)
  const [project] = await ends.source.query(`select id from projects where shared_with <> '{}' and ui ? 'notes' order by id limit 1`)
  const filePath = `${id('projects', file.project_id!)}/${id('nodes', file.node_id!)}/${file.path!.split('/').slice(2).join('/')}`
  const user = 'id, email, name'
  const place = 'id, name, parent_id, path'
  return [
    ...(await pair('A person that both sides know: merged, nobody is doubled',
      [`select ${user}, first_name, last_name, phone, bio, modified from users where id = $1`, 17],
      [`select ${user}, full_name, phone, bio, modified from users where id = $1`, before.id], before)),
    ...(await pair('Another person with the same user name: moved under a free one',
      [`select ${user} from users where id = $1`, namesake.old],
      [`select ${user} from users where id = $1`, id('users', namesake.old!)])),
    ...(await pair('A project: the ids inside its JSON follow, numbers that are no ids stay',
      ['select id, owner_id, shared_with, ui, settings from projects where id = $1', project.id],
      ['select id, owner_id, shared_with, ui, settings from projects where id = $1', id('projects', project.id!)])),
    ...(await pair('A folder in folders', [`${TREE} select ${place} from tree where id = $1`, deep.id],
      [`${TREE} select ${place} from tree where id = $1`, id('folders', deep.id!)])),
    ...(await pair('A file: the ids in its path follow', ['select path, size from files where path = $1', file.path],
      ['select path, size from files where path = $1', filePath])),
  ]
}

const TREE = `with recursive tree as (
  select id, name, parent_id, name as path, 1 as depth from folders where parent_id is null
  union all select f.id, f.name, f.parent_id, t.path || ' > ' || f.name, depth + 1 from folders f join tree t on t.id = f.parent_id)`

export function showSamples(samples: readonly Sample[], view: View): void {
  const { bold, before: old, after: fresh, dim } = view.paint
  for (const { title, source, before, after } of samples) {
    view.say()
    view.say(`   ${bold(title)}`)
    for (const name of new Set([...Object.keys(source), ...Object.keys(after)])) {
      const cells: [string, string | null | undefined, (text: string) => string][] = [['source', source[name], old]]
      if (before) cells.push(['here before', before[name], dim])
      cells.push(['here now', after[name], fresh])
      const shown = cells.filter(([, value]) => value !== undefined)
      const short = shown.every(([, value]) => JSON.stringify(value).length <= 36)
      const text = shown.map(([side, value, paint]) => `${dim(`${side}:`)} ${paint(oneLine(value ?? null))}`)
      if (short) view.say(`     ${name.padEnd(12)} ${text.join('   ')}`)
      else text.forEach((line, i) => view.say(`     ${(i === 0 ? name : '').padEnd(12)} ${line}`))
    }
  }
}

function oneLine(value: string | null): string {
  return value === null ? 'null' : value.replaceAll('\n', '\\n').replaceAll('\t', '\\t')
}
