import type { Op, Transaction } from '../core/change.ts'
import type { Checkpoint } from '../core/plan.ts'
import { nameOf, type Relation } from '../core/relation.ts'
import { isUnchanged, type Row } from '../core/row.ts'
import { noTotals, skippedOf } from '../core/totals.ts'
import type { Metrics } from './registry.ts'

/** What can become of a change at the destination. */
const DEEDS = ['insert', 'update', 'merge', 'delete', 'skip', 'park'] as const
type Deed = (typeof DEEDS)[number]

/** Counts by table and deed that are kept as plain numbers and become metrics when somebody looks: a label set costs more than a row may. */
export interface ChangeCounts {
  decoded(transactions: readonly Transaction[]): void
  applied(table: string, deed: Deed, n: number): void
  /** Adds what came since the last time. */
  moveTo(metrics: Metrics): void
}

export function changeCounts(): ChangeCounts {
  let decoded = new Map<Relation, Record<Op, number>>()
  const applied = new Map<string, Map<Deed, number>>()
  const seen = new Set<string>()
  let unchanged = 0
  return {
    decoded(transactions) {
      // Changes of one table follow each other most of the time.
      let relation: Relation | null = null
      let counts: Record<Op, number> = { insert: 0, update: 0, delete: 0, truncate: 0 }
      for (const { changes } of transactions) {
        for (const change of changes) {
          if (change.relation !== relation) {
            relation = change.relation
            const known = decoded.get(relation)
            counts = known ?? { insert: 0, update: 0, delete: 0, truncate: 0 }
            if (!known) decoded.set(relation, counts)
          }
          counts[change.op]++
          if (change.op === 'update' && hasUnchanged(change.row!)) unchanged++
        }
      }
    },
    applied(table, deed, n) {
      const counts = applied.get(table) ?? new Map<Deed, number>()
      applied.set(table, counts.set(deed, (counts.get(deed) ?? 0) + n))
    },
    moveTo(metrics) {
      for (const [relation, counts] of decoded) {
        const table = nameOf(relation)
        // A counter that is first seen above 0 has no increase, and so what is applied would seem to stand still.
        if (!seen.has(table)) for (const op of DEEDS) metrics.add('rekey_changes_total', { table, op, stage: 'apply' }, 0)
        seen.add(table)
        for (const [op, n] of Object.entries(counts)) {
          if (n > 0) metrics.add('rekey_changes_total', { table, op, stage: 'decode' }, n)
        }
      }
      decoded = new Map()
      for (const [table, counts] of applied) {
        for (const [op, n] of counts) metrics.add('rekey_changes_total', { table, op, stage: 'apply' }, n)
      }
      applied.clear()
      metrics.add('rekey_unchanged_toast_total', {}, unchanged)
      unchanged = 0
    },
  }
}

function hasUnchanged(row: Row): boolean {
  for (let i = 0; i < row.width; i++) if (isUnchanged(row, i)) return true
  return false
}

/** What became of changes between two checkpoints. A parked row that goes through later counts again, as what it became. */
export function countOutcomes(before: Checkpoint['totals'], after: Checkpoint['totals'], counts: Pick<ChangeCounts, 'applied'>): void {
  const none = noTotals()
  for (const [table, now] of Object.entries(after)) {
    const was = before[table] ?? none
    const grown = (deed: Deed, n: number): void => {
      if (n > 0) counts.applied(table, deed, n)
    }
    grown('insert', now.inserted - was.inserted)
    grown('update', now.updated - was.updated)
    grown('merge', now.merged - was.merged)
    grown('delete', now.deleted - was.deleted)
    grown('skip', skippedOf(now) - skippedOf(was))
    grown('park', now.parked - was.parked)
  }
}
