import { RekeyError } from '../../src/core/errors.ts'
import { formatLsn, type Lsn } from '../../src/core/lsn.ts'
import type { Assembler } from './assemble.ts'
import { type StoredRecord, Unreadable } from './record.ts'

/** A record that is not ours, or is damaged: for a person to look at. */
export interface DeadLetter extends StoredRecord {
  readonly topic: string
  readonly partition: number
  readonly reason: string
}

/**
 * A hole that the end of the topic does not close. The first time it may be the hint that was wrong, or a producer that comes late: the
 * topic is read once more from its beginning, and what is known of it passes by.
 */
export function gapWatch(assembler: Assembler, topic: string): { mustRewind(atEnd: boolean): boolean } {
  let rewoundAt: Lsn | null = null
  return {
    mustRewind(atEnd) {
      const gap = assembler.gap()
      if (gap === null || !atEnd) return false
      if (rewoundAt !== gap.from) {
        rewoundAt = gap.from
        return true
      }
      const range = `${formatLsn(gap.from)} to ${formatLsn(gap.to)}`
      throw new RekeyError('LOG_GAP', `topic ${topic} does not hold what the source committed from ${range}`)
    },
  }
}

interface Foreign {
  readonly topic: string
  readonly partition: number
  /** It is read in an order that means something. */
  readonly isOurs: boolean
  readonly deadLetter: ((record: DeadLetter) => Promise<void>) | null
}

export async function addTo(assembler: Assembler, record: StoredRecord, { topic, partition, isOurs, deadLetter }: Foreign): Promise<void> {
  try {
    if (!isOurs) throw new Unreadable('it is in a partition that has no order with the others')
    assembler.add(record)
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    const where = `topic ${topic}, partition ${partition}, offset ${record.offset}`
    if (deadLetter === null) throw new RekeyError('LOG_RECORD', `${where}: ${error.message}`, { cause: error })
    await deadLetter({ ...record, topic, partition, reason: error.message })
  }
}
