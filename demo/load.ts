import type { Database } from '../test/support/database.ts'

export type Row = Readonly<Record<string, unknown>>

export interface Table {
  readonly name: string
  readonly rows: readonly Row[]
}

/** What every application has for the deletes of its parents. */
const INDEXES = [
  'memberships (group_id)', 'wallets (owner_id)', 'folders (parent_id)', 'folders (workspace_id)', 'folders (created_by)',
  'projects (owner_id)',
  'projects (workspace_id)', 'projects (folder_id)', 'nodes (project_id)', 'files (project_id)', 'files (node_id)', 'files (owner_id)',
  'events (actor_id)',
]

const ROWS_AT_ONCE = 5_000

/** Inserts the rows, sets the sequences behind them and has the planner look at the tables. Resolves with the number of rows. */
export async function load(database: Database, tables: readonly Table[], signal: AbortSignal): Promise<number> {
  let loaded = 0
  for (const { name, rows } of tables) {
    for (let at = 0; at < rows.length; at += ROWS_AT_ONCE) {
      signal.throwIfAborted()
      const some = rows.slice(at, at + ROWS_AT_ONCE)
      const columns = Object.keys(some[0]).join(', ')
      await database.query(`insert into ${name} (${columns}) select ${columns} from json_populate_recordset(null::${name}, $1)`,
        [JSON.stringify(some)])
      loaded += some.length
    }
    const counted = typeof rows[0].id === 'number'
    if (counted) await database.query(`select setval(pg_get_serial_sequence('${name}', 'id'), (select max(id) from ${name}))`)
  }
  for (const index of INDEXES) await database.query(`create index on ${index}`)
  await database.query('analyze')
  return loaded
}
