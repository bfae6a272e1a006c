import type { TableWrite } from '../../src/core/plan.ts'
import { quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { joined } from './equal.ts'
import { notOurs } from './ours.ts'
import type { Message } from './stage.ts'

/** The place that the failure of refuseStrangers() names. */
export const TAKEN = 'rekey.taken'

/** So many ids may be given, at most, after that of the transaction that asks. */
const LATER = 1 << 24

export interface Staged {
  readonly stage: string
  /** The stage's columns that hold the destination key. */
  readonly key: readonly string[]
  readonly pipeline: string
}

/**
 * The row (`alias`) was last written before the run began, so it is not ours. Ids of transactions are given in order (manual, 74.1), and each
 * row holds that of its writer in 32 bits, also long after it was frozen (1 and 2 are of servers before 9.4): a distance that wraps around, from
 * the run's beginning on, for age() is negative for a row of two thousand million transactions ago. Subtransactions of the one that asks, and
 * others beside it, have higher ids than it.
 */
export function isStranger(pipeline: string, alias = 't'): string {
  const since = `(select b.xid::text::bigint from rekey.beginning b where b.pipeline = ${quoteLiteral(pipeline)})`
  const distance = `((${alias}.xmin::text::bigint - ${since}) & 4294967295)`
  return `(${distance} > pg_current_xact_id()::text::bigint - ${since} + ${LATER} or ${alias}.xmin::text in ('1', '2'))`
}

/** Fails with 23505 where a row that stood there before the run began, or that is in doubt, has one of the staged keys. */
export function refuseStrangers(write: TableWrite, staged: Staged, out: Message): void {
  refuse(write, staged, `(${isStranger(staged.pipeline)} or ${inDoubt(write, staged)})`, out)
}

/** Takes the keys of rows that stood there before out of a stage of rows that go: what is not ours stays. Fails where a row is in doubt. */
export function leaveStrangers(write: TableWrite, staged: Staged, out: Message): void {
  const { target, rule } = write
  const { stage, key, pipeline } = staged
  out.sql.push(`delete from ${stage} s using ${quoteName(target)} t where ${joined(target, rule.targetKey, stage, key)} and ${isStranger(pipeline)}`)
  if (!rule.ledger) refuse(write, staged, inDoubt(write, staged), out)
}

/** Where a ledger says which rows are ours, none is. */
function inDoubt({ rule }: TableWrite, { pipeline }: Staged): string {
  return rule.ledger ? 'false' : notOurs(pipeline)
}

function refuse({ target, rule }: TableWrite, { stage, key }: Staged, which: string, { sql }: Message): void {
  const rows = `select 1 from ${quoteName(target)} t, ${stage} s where ${joined(target, rule.targetKey, stage, key)} and ${which}`
  sql.push(`select rekey.expect(0, (select count(*) from (${rows}) x), ${quoteLiteral(TAKEN)}, '23505')`)
}
