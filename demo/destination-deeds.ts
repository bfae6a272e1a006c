import { nativeId } from './people.ts'
import { digestColumns, type OwnRows, remember } from './own-rows.ts'
import type { Deed, Writing } from './writer.ts'

/** What the users of the destination do with their own rows. Each row that they write is remembered as it then looks. */
export function destinationDeeds(own: OwnRows): Deed[] {
  const keys = (table: string): string[] => [...own.keys()].filter((key) => key.startsWith(`${table}\t`)).map((key) => key.slice(table.length + 1))
  const known = { users: keys('users'), projects: keys('projects'), nodes: keys('nodes'), wallets: keys('wallets'), folders: keys('folders') }
  const events: string[] = []
  const write = async (w: Writing, table: string, sql: string, params: readonly unknown[]): Promise<void> =>
    remember(own, await w.query(`with t as (${sql} returning *) select ${digestColumns(table)} from t`, params))
  return [
    {
      weight: 6,
      run: async (w) => {
        const id = nativeId(w.random, 'evt')
        await write(w, 'events', `insert into events (id, actor_id, subject_type, subject_id, note) values ($1, $2, 'node', $3, 'here')`, [id, w.random.pick(known.users), w.random.pick(known.nodes)])
        events.push(id)
      },
    },
    { weight: 6, run: (w) => write(w, 'nodes', 'update nodes set progress = $2 where id = $1', [w.random.pick(known.nodes), w.random.int(0, 100)]) },
    { weight: 3, run: (w) => write(w, 'projects', 'update projects set description = $2, modified = now() where id = $1', [w.random.pick(known.projects), `theirs ${w.random.int(1, 99)}`]) },
    { weight: 3, run: (w) => write(w, 'wallets', 'update wallets set credits = credits + 1 where id = $1', [w.random.pick(known.wallets)]) },
    { weight: 1, run: (w) => write(w, 'folders', 'update folders set name = $2 where id = $1', [w.random.pick(known.folders), `drawer ${w.random.int(1, 999)}`]) },
    { weight: 1, run: (w) => write(w, 'users', 'update users set full_name = $2 where id = $1', [w.random.pick(known.users), `Renamed here ${w.random.int(1, 99)}`]) },
    {
      weight: 1,
      run: async (w) => {
        const id = nativeId(w.random, 'nod')
        await write(w, 'nodes', `insert into nodes (id, project_id, label) values ($1, $2, 'new here')`, [id, w.random.pick(known.projects)])
        known.nodes.push(id)
      },
    },
    {
      weight: 1,
      run: async (w) => {
        const id = events.shift()
        if (id === undefined) return
        await w.query('delete from events where id = $1', [id])
        own.delete(`events\t${id}`)
      },
    },
  ]
}
