import type { Build } from './build.ts'
import type { Change, Transaction } from '../core/change.ts'
import { keyOf } from '../core/coalesce.ts'
import { isCopied, notCarried } from '../core/gather.ts'
import { ledgerName, type Program } from '../core/program.ts'
import type { Outcome } from '../core/totals.ts'

/** Tells what each change of a plan counts as, in order. */
export function eachOutcome(transactions: readonly Transaction[], build: Build, each: (table: string, outcome: Outcome) => void): void {
  for (const transaction of transactions) {
    for (const change of transaction.changes) {
      const program = build.programOf(change.relation)
      each(program.name, isCopied(transaction, program, build.since) ? IN_THE_COPY : outcomeOf(change, program, build))
    }
  }
}

const IN_THE_COPY = { skipped: 'in the copy' } as const
const OWN = { insert: 'inserted', update: 'updated', delete: 'deleted', truncate: 'deleted' } as const

function outcomeOf(change: Change, program: Program, build: Build): Outcome {
  const skipped = notCarried(change, program)
  if (skipped !== null) return { skipped }
  const own = OWN[change.op]
  if (change.op === 'truncate' || (!program.rule.ledger && build.left.size === 0)) return own
  const key = keyOf((change.row ?? change.old)!, program.key)
  if (build.left.has(`${program.name}\n${key}`)) return 'parked'
  const decision = program.rule.ledger ? build.decisions.get(ledgerName(program), key) : undefined
  if (!decision || decision.kind === 'inserted' || decision.kind === 'gone' || decision.kind === 'adopted') return own
  if (decision.kind === 'pinned') return { skipped: decision.rule }
  return change.op === 'delete' ? { skipped: 'merged rows are never deleted' } : 'merged'
}
