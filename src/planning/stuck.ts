import { ledgerName, type Program } from '../core/program.ts'
import { collectUndecided, collectUndecidedKey } from '../core/rekey.ts'
import type { Row } from '../core/row.ts'
import type { Conflict, ResolveDeps } from './resolve.ts'

/** The rows of a table by raw key; of one that goes, only the key columns count. */
export type Rows = Map<string, { readonly row: Row; readonly whole: boolean }>

/** What cannot be decided: keys (entity, key) that have no decision, and the rows that are no longer among those to be written. */
export interface Stuck {
  readonly keys: Set<string>
  readonly conflicts: Conflict[]
}

/** Takes out the rows that refer to a key without a decision, and, of its own table, those that refer to them. */
export function dropStuck(program: Program, rows: Rows, { keys, conflicts }: Stuck, deps: ResolveDeps): void {
  for (let before = -1; before < conflicts.length;) {
    before = conflicts.length
    if (keys.size === 0) return
    for (const [key, { row, whole }] of rows) {
      // What was never written goes without a trace, whatever it refers to.
      if (!whole && program.rule.ledger && !deps.decisions.get(ledgerName(program), key)) continue
      let waits = false
      const asked = (entity: string, of: string): void => void (waits ||= keys.has(`${entity}\n${of}`))
      undecidedIn(program, { row, whole }, deps, asked)
      if (!waits) continue
      rows.delete(key)
      if (whole) keys.add(`${ledgerName(program)}\n${key}`)
      conflicts.push({ program, key, reason: 'refers to a row that waits for a decision', behind: true })
    }
  }
}

/** Reports what a row, or the destination key of one that goes, refers to and what has no decision yet. */
export function undecidedIn(
  program: Program, { row, whole }: { row: Row; whole: boolean }, { scope }: ResolveDeps, report: (entity: string, key: string) => void,
): void {
  if (whole) collectUndecided(program, row, scope, report)
  else collectUndecidedKey(program, row, scope, report)
}
