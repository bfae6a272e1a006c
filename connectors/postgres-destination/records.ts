import { formatLsn } from '../../src/core/lsn.ts'
import { Lines } from '../../src/core/out.ts'
import type { Parked, WritePlan } from '../../src/core/plan.ts'
import { fromRaw, ledgerMessage } from './ledger.ts'
import { objectsMessage, wakeHeld } from './object-names.ts'
import type { Message } from './stage.ts'
import type { Scope } from './statements.ts'

/** Ledger, jobs of objects, parked rows: in the same transaction as the rows. */
export function records(plan: WritePlan, { pipeline, fill }: Pick<Scope, 'pipeline' | 'fill'>, message: Message): void {
  ledgerMessage(plan.decisions, pipeline, message)
  objectsMessage(plan.objects, { pipeline, fill, lsn: plan.after.commitLsn }, message)
  if (plan.parked.length > 0) {
    message.sql.push('copy rekey.parked (pipeline, tbl, key, op, sqlstate, reason, change, behind, commit_lsn, ordinal, state, leaves) from stdin')
    message.copies.push([parkedLines(plan.parked, pipeline).view()])
    if (plan.parked.some(({ sqlstate }) => sqlstate === 'RK004')) message.sql.push(wakeHeld(pipeline))
  }
  if (plan.unparked.length > 0) message.sql.push(`update rekey.parked set state = 'done' where id in (${plan.unparked.map((id) => BigInt(id)).join(', ')})`)
}

function parkedLines(parked: readonly Parked[], pipeline: string): Lines {
  const lines = new Lines(parked.length * 256)
  for (const p of parked) {
    lines.line([pipeline, p.table, fromRaw(p.key), p.op, p.sqlstate, p.reason, p.change, p.behind ? 't' : 'f', formatLsn(p.commitLsn), String(p.ordinal), p.left ? 'left' : 'waiting', p.leaves && fromRaw(p.leaves)])
  }
  return lines
}
