import type { Change, Transaction } from '../core/change.ts'
import { movesKey } from '../core/coalesce.ts'
import type { Lsn } from '../core/lsn.ts'
import { Lines } from '../core/out.ts'
import { nameOf, type TableName } from '../core/relation.ts'
import { collectUndecidedKey, Undecided, writeColumns } from '../core/rekey.ts'
import type { Row } from '../core/row.ts'
import type { Program } from '../core/program.ts'
import type { ResolveDeps } from './resolve.ts'

/** A row of the destination that a source transaction must leave where it is: its table there, and its key as COPY text. */
export function refusedName(table: TableName, key: string): string {
  return `${nameOf(table)}\n${key}`
}

export interface Refusable {
  readonly transaction: Pick<Transaction, 'commitLsn'>
  readonly change: Change
}

export interface Refused {
  /** Commit LSN of the last transaction that they are about. */
  readonly until: Lsn
  /** Rows (refusedName). */
  readonly refused: ReadonlySet<string>
}

/** Changes that delete one of these rows, or give it another key. */
export async function refusedChanges(items: readonly Refusable[], { until, refused }: Refused, deps: ResolveDeps): Promise<ReadonlySet<Change>> {
  const found = new Set<Change>()
  if (refused.size === 0) return found
  for (const { transaction: { commitLsn }, change } of items) {
    const program = deps.programOf(change.relation)
    if (commitLsn > until || change.old === null || !program.rule.keyed || !(change.op === 'delete' || movesKey(change, program.key))) continue
    const key = await destinationKey(program, change.old, deps)
    if (key !== null && refused.has(refusedName(program.rule.target, key))) found.add(change)
  }
  return found
}

/** Its key at the destination, as COPY text. Null for a row of which nothing is decided: it has none. */
export async function destinationKey(program: Program, row: Row, { scope, decisions }: ResolveDeps): Promise<string | null> {
  const unknown: [entity: string, key: string][] = []
  collectUndecidedKey(program, row, scope, (entity, key) => void unknown.push([entity, key]))
  for (const [entity, key] of unknown) await decisions.load(entity, [key])
  const lines = new Lines(64)
  try {
    writeColumns(program, program.targetKey, row, lines, scope)
    return lines.view().toString('latin1')
  } catch (error) {
    if (error instanceof Undecided) return null
    throw error
  }
}
