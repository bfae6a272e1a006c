import { parseLsn } from '../../src/core/lsn.ts'
import { block, type Blocked, type ParkedRow } from '../../src/core/parking.ts'
import type { ParkedRows } from '../../src/ports.ts'
import type { Query } from './lookup.ts'

/** The parked rows of a pipeline. They are written by the plans themselves; here they are read and told what comes next. */
export function parkedRows(query: Query, pipeline: string): ParkedRows {
  return {
    async waiting() {
      const blocked: Blocked = new Map()
      const rows = await query(`select tbl, key from rekey.parked where pipeline = $1 and state in ('waiting', 'retry')`, [pipeline])
      for (const [table, key] of rows) block(blocked, table!, Buffer.from(key!, 'utf8').toString('latin1'))
      return blocked
    },
    async due() {
      const rows = await query(
        `select id::text, tbl, change, commit_lsn::text, ordinal::text, state = 'retry' or behind from rekey.parked
          where pipeline = $1 and state in ('waiting', 'retry')
            and exists (select 1 from rekey.parked where pipeline = $1 and state = 'retry') order by commit_lsn, ordinal, id`,
        [pipeline],
      )
      return rows.filter((row) => String(row[5]) === 'true' || row[5] === 't').map(([id, table, change, lsn, ordinal]): ParkedRow => (
        { id: id!, table: table!, change: change!, commitLsn: parseLsn(lsn!), ordinal: Number(ordinal) }))
    },
    async left() {
      const rows = await query(
        `select id::text, tbl, change, commit_lsn::text, ordinal::text from rekey.parked where pipeline = $1 and state = 'left' order by commit_lsn, ordinal, id`,
        [pipeline],
      )
      return rows.map(([id, table, change, lsn, ordinal]): ParkedRow => ({ id: id!, table: table!, change: change!, commitLsn: parseLsn(lsn!), ordinal: Number(ordinal) }))
    },
    async of(table) {
      const rows = await query(`select id::text from rekey.parked where pipeline = $1 and tbl = $2 and state in ('waiting', 'retry', 'waived')`, [pipeline, table])
      return rows.map(([id]) => id!)
    },
    async leave(ids) {
      await query(`update rekey.parked set state = 'left' where pipeline = $1 and id = any ($2::bigint[]) and state in ('waiting', 'retry')`, [pipeline, ids])
    },
    async keep(ids) {
      await query(`update rekey.parked set state = 'waiting' where pipeline = $1 and id = any ($2::bigint[]) and state = 'retry'`, [pipeline, ids])
    },
    async retryAll() {
      await query(`update rekey.parked set state = 'retry' where pipeline = $1 and state = 'waiting'`, [pipeline])
    },
  }
}
