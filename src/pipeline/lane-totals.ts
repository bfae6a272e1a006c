import type { Checkpoint } from '../core/plan.ts'
import { addTotals, copyTotals, takeTotals } from '../core/totals.ts'
import type { Meter } from '../meter.ts'
import type { LaneRun } from './lane-run.ts'

/**
 * What this process has applied, over all of its partitions, told as one. The totals of a partition are those of everybody who ever had it, so
 * only what is added to them from here on counts.
 */
export function ownTotals(begun: Checkpoint, meter: Pick<Meter, 'applied'>): Pick<LaneRun, 'onTaken' | 'onApplied' | 'onLeft'> {
  const latest = new Map<number, Checkpoint>()
  const totals = copyTotals(begun.totals)
  return {
    onTaken: (partition, checkpoint) => void latest.set(partition, checkpoint),
    onLeft: (partition) => void latest.delete(partition),
    onApplied(partition, applied, of) {
      const { commitLsn, endLsn } = applied.checkpoint
      if (of === 'all') for (const [other, checkpoint] of latest) latest.set(other, { ...checkpoint, commitLsn, endLsn })
      addTotals(totals, applied.checkpoint.totals)
      takeTotals(totals, latest.get(partition)!.totals)
      latest.set(partition, applied.checkpoint)
      const first = [...latest.values()].reduce((low, one) => (one.commitLsn < low.commitLsn ? one : low))
      meter.applied({ ...applied, checkpoint: { ...first, totals: copyTotals(totals) } })
    },
  }
}
