import type { Totals } from './plan.ts'

export type Outcome = 'inserted' | 'updated' | 'merged' | 'deleted' | 'parked' | { readonly skipped: string }

/** What was parked of a table and went with the others when the source truncated it. */
export const TRUNCATED = { skipped: 'truncated' } as const

export function noTotals(): Totals {
  return { read: 0, inserted: 0, updated: 0, merged: 0, deleted: 0, skipped: {}, parked: 0 }
}

/** Counts `n` changes of a table that were read and had this outcome: the one place where a total grows, so that totals close. */
export function count(totals: Record<string, Totals>, table: string, outcome: Outcome, n = 1): void {
  const t = (totals[table] ??= noTotals())
  t.read += n
  if (typeof outcome === 'object') t.skipped[outcome.skipped] = (t.skipped[outcome.skipped] ?? 0) + n
  else t[outcome] += n
}

/** A parked change got another outcome: what was read stays, and the sum too. */
export function recount(totals: Record<string, Totals>, table: string, outcome: Exclude<Outcome, 'parked'>): void {
  const t = (totals[table] ??= noTotals())
  t.parked -= 1
  t.read -= 1
  count(totals, table, outcome)
}

/** A row that was counted with this outcome waits after all. Counts of a part may be negative; those of the whole are not. */
export function reopen(totals: Record<string, Totals>, table: string, outcome: 'inserted' | 'merged'): void {
  const t = (totals[table] ??= noTotals())
  t[outcome] -= 1
  t.parked += 1
}

export function skippedOf(t: Totals): number {
  return Object.values(t.skipped).reduce((sum, n) => sum + n, 0)
}

/** read = inserted + updated + merged + deleted + skipped + parked. */
export function closes(t: Totals): boolean {
  return t.read === t.inserted + t.updated + t.merged + t.deleted + t.parked + skippedOf(t)
}

export function addTotals(into: Record<string, Totals>, from: Readonly<Record<string, Totals>>): void {
  change(into, from, 1)
}

/** The opposite of addTotals(): what was counted before does not count. */
export function takeTotals(into: Record<string, Totals>, from: Readonly<Record<string, Totals>>): void {
  change(into, from, -1)
}

function change(into: Record<string, Totals>, by: Readonly<Record<string, Totals>>, sign: 1 | -1): void {
  for (const [table, t] of Object.entries(by)) {
    const sum = (into[table] ??= noTotals())
    sum.read += sign * t.read
    sum.inserted += sign * t.inserted
    sum.updated += sign * t.updated
    sum.merged += sign * t.merged
    sum.deleted += sign * t.deleted
    sum.parked += sign * t.parked
    for (const [reason, n] of Object.entries(t.skipped)) sum.skipped[reason] = (sum.skipped[reason] ?? 0) + sign * n
  }
}

export function copyTotals(totals: Readonly<Record<string, Totals>>): Record<string, Totals> {
  return Object.fromEntries(Object.entries(totals).map(([table, t]) => [table, { ...t, skipped: { ...t.skipped } }]))
}
