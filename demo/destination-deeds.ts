import { nativeId } from './people.ts'
import { digestColumns, type OwnRows, remember } from './own-rows.ts'
import type { Deed, Writing } from './writer.ts'

/** What the users of the destination do with their own rows. Each row that they write is remembered as it then looks. */
export function destinationDeeds(own: OwnRows): Deed[] {
  const keys = (table: string): string[] =>
    [...own.keys()].filter((key) => key.startsWith(`${table}\t`)).map((key) => key.slice(table.length + 1))
  const [users, projects, nodes] = ['users', 'projects', 'nodes'].map(keys)
  const events: string[] = []
  const write = async (w: Writing, table: string, sql: string, params: readonly unknown[]): Promise<void> =>
    remember(own, await w.query(`with t as (${sql} returning *) select ${digestColumns(table)} from t`, params))
  const update = (weight: number, table: string, set: string, value: (w: Writing) => unknown): Deed => {
    const ids = keys(table)
    return { weight, run: (w) => write(w, table, `update ${table} set ${set} where id = $1`, [w.random.pick(ids), value(w)]) }
  }
  return [
    {
      weight: 6,
      run: async (w) => {
        const id = nativeId(w.random, 'evt')
        const sql = `insert into events (id, actor_id, subject_type, subject_id, note) values ($1, $2, 'node', $3, 'here')`
        await write(w, 'events', sql, [id, w.random.pick(users), w.random.pick(nodes)])
        events.push(id)
      },
    },
    update(6, 'nodes', 'progress = $2', (w) => w.random.int(0, 100)),
    update(3, 'projects', 'description = $2, modified = now()', (w) => `theirs ${w.random.int(1, 99)}`),
    update(3, 'wallets', 'credits = credits + $2', (w) => w.random.int(1, 5)),
    update(1, 'folders', 'name = $2', (w) => `drawer ${w.random.int(1, 999)}`),
    update(1, 'users', 'full_name = $2', (w) => `Renamed here ${w.random.int(1, 99)}`),
    {
      weight: 1,
      run: async (w) => {
        const id = nativeId(w.random, 'nod')
        const sql = `insert into nodes (id, project_id, label) values ($1, $2, 'new here')`
        await write(w, 'nodes', sql, [id, w.random.pick(projects)])
        nodes.push(id)
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
