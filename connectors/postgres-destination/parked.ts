import { parseLsn } from '../../src/core/lsn.ts'
import { type Blocked, blockParked, blockWaived, type ParkedRow, TAKEN } from '../../src/core/parking.ts'
import type { ParkedRows } from '../../src/ports.ts'
import type { Query } from './lookup.ts'
import { allVerified } from './object-names.ts'

/** Rows that others wait behind. */
const BLOCKS = `(state in ('waiting', 'retry') or state = 'waived' and op = 'insert')`

/** The parked rows of a pipeline. They are written by the plans themselves; here they are read and told what comes next. */
export function parkedRows(query: Query, pipeline: string): ParkedRows {
  return {
    async waiting() {
      return blockedOf(await query(`select tbl, key, state, leaves from rekey.parked where pipeline = $1 and ${BLOCKS}`, [pipeline]))
    },
    async due(most) {
      // A row that waits for its object and is deleted meanwhile need not wait: it comes and goes in one transaction.
      const [{ length: woken }, [[some]]] = [
        await query(
          `update rekey.parked p set state = 'retry' from rekey.parked d
            where d.pipeline = $1 and d.state = 'waiting' and d.op = 'delete' and d.behind
              and p.pipeline = $1 and p.tbl = d.tbl and p.key = d.key and p.state = 'waiting' and p.sqlstate = 'RK004' returning 1`, [pipeline]),
        await query(`select exists (select 1 from rekey.parked where pipeline = $1 and state = 'retry')::text`, [pipeline]),
      ]
      if (woken === 0 && some !== 'true') return { rows: [], others: new Map() }
      const rows = await query(
        `(select id, tbl, change, commit_lsn, ordinal, (sqlstate = '${TAKEN}' and not behind)::text from rekey.parked where pipeline = $1 and state = 'retry' and not behind
           order by commit_lsn, ordinal, id limit $2)
         union all select id, tbl, change, commit_lsn, ordinal, (sqlstate = '${TAKEN}' and not behind)::text from rekey.parked where pipeline = $1 and state in ('waiting', 'retry') and behind
         order by commit_lsn, ordinal, id`, [pipeline, most])
      const ids = rows.map(([id]) => id!)
      const others = await query(
        `select tbl, key, state, leaves from rekey.parked where pipeline = $1 and ${BLOCKS} and id <> all ($2::bigint[])`, [pipeline, ids])
      return {
        rows: rows.map(parkedRow),
        others: blockedOf(others),
      }
    },
    async left() {
      const rows = await query(
        `select id::text, tbl, change, commit_lsn::text, ordinal::text, 'false' from rekey.parked where pipeline = $1 and state = 'left' order by commit_lsn, ordinal, id`,
        [pipeline],
      )
      return rows.map(parkedRow)
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
      // An object that was verified just before would have woken its row in vain.
      await query(
        `update rekey.parked p set state = 'retry' where p.pipeline = $1 and p.id = any ($2::bigint[]) and p.state = 'waiting' and p.sqlstate = 'RK004'
           and ${allVerified('p')}`, [pipeline, ids])
    },
    async again(tables) {
      if (tables.length > 0) await query(`update rekey.parked set state = 'retry' where pipeline = $1 and tbl = any ($2::text[]) and state = 'waiting'`, [pipeline, tables])
    },
  }
}

function parkedRow([id, table, change, lsn, ordinal, taken]: readonly (string | null)[]): ParkedRow {
  return { id: id!, table: table!, change: change!, commitLsn: parseLsn(lsn!), ordinal: Number(ordinal), taken: taken === 'true' }
}

function blockedOf(rows: readonly (readonly (string | null)[])[]): Blocked {
  const blocked: Blocked = new Map()
  const rawOf = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')
  for (const [table, text, state, leaves] of rows) {
    if (state === 'waived') blockWaived(blocked, table!, rawOf(text!))
    else blockParked(blocked, { table: table!, key: rawOf(text!), leaves: leaves === null ? null : rawOf(leaves) })
  }
  return blocked
}
