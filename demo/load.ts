import type { Database } from '../test/support/database.ts'

export type Row = Readonly<Record<string, unknown>>

export interface Table {
  readonly name: string
  readonly rows: readonly Row[]
}

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
  await database.query('analyze')
  return loaded
}
