import type { ErrorCode } from './errors.ts'
import { formatLsn, type Lsn } from './lsn.ts'
import type { Checkpoint } from './plan.ts'

/** What the source says of itself and of the slot (manual, 54.19 "pg_replication_slots"). */
export interface SlotState {
  readonly systemId: string
  readonly timeline: number
  /** Where each earlier timeline of its history ended, and another one began (manual, 26.3.6 "Timelines"). */
  readonly history: ReadonlyMap<number, Lsn>
  /** Null when there is no slot of that name. */
  readonly slot: Slot | null
}

export interface Slot {
  readonly name: string
  readonly plugin: string
  readonly database: string
  readonly temporary: boolean
  /** The reader that holds it, and whether that is a rekey by its application name. */
  readonly activePid: number | null
  readonly activeIsOurs: boolean
  /** reserved, extended, unreserved or lost; null when nothing is reserved. */
  readonly walStatus: string | null
  readonly restartLsn: Lsn | null
  readonly confirmedLsn: Lsn | null
  /** Why the server gave it up (PostgreSQL 17 and later). */
  readonly invalidation: string | null
  /** It was kept in step with the former primary's slot, until this server was promoted (PostgreSQL 17 and later). */
  readonly synced: boolean
  /** WAL that can still be written before the slot may be lost; null is no limit. May be negative. */
  readonly safeWalBytes: bigint | null
  /** WAL that the server keeps because of the slot. */
  readonly retainedBytes: bigint | null
}

export type SlotHealth =
  | { readonly state: 'ok' }
  | {
    readonly state: 'missing' | 'lost' | 'ahead' | 'recreated' | 'in use' | 'timeline'
    readonly code: ErrorCode
    readonly message: string
    /** Of the reader that holds it. */
    readonly pid?: number
  }

/** The part of the checkpoint that a slot is held against. `endLsn` null: what the slot has let go of is in a change log of its own. */
export type SlotMemory = Pick<Checkpoint, 'sourceSystem' | 'sourceTimeline'> & { readonly endLsn: Lsn | null; readonly database: string }

/**
 * May the stream go on from this checkpoint? A server that is asked for WAL from before the slot's confirmed address silently starts at
 * that address, so the question is ours to ask, at each start. What was lost is named, never skipped.
 */
export function judgeSlot(state: SlotState, memory: SlotMemory): SlotHealth {
  const { slot } = state
  if (state.systemId !== memory.sourceSystem) {
    return bad('timeline', 'TIMELINE', 'the source is another server (its system identifier differs)')
  }
  if (state.timeline !== memory.sourceTimeline) {
    const why = otherHistory(state, memory)
    if (why !== null) return bad('timeline', 'TIMELINE', why)
  }
  const after = memory.endLsn === null ? 'later changes' : `changes after ${formatLsn(memory.endLsn)}`
  if (!slot) return bad('missing', 'SLOT_MISSING', `the slot is gone; ${after} cannot be read`)
  if (slot.plugin !== 'pgoutput' || slot.database !== memory.database || slot.temporary) {
    return bad('recreated', 'SLOT_RECREATED', `slot ${slot.name} is of plugin ${slot.plugin} and database ${slot.database}`)
  }
  if (slot.walStatus === 'lost' || slot.invalidation !== null || slot.restartLsn === null || slot.confirmedLsn === null) {
    const why = slot.invalidation === null ? '' : ` (${slot.invalidation})`
    return bad('lost', 'SLOT_LOST', `the server gave up slot ${slot.name}${why}; ${after} cannot be read`)
  }
  if (memory.endLsn !== null) {
    const gap = `${formatLsn(memory.endLsn)} to ${formatLsn(slot.confirmedLsn)}`
    // A slot never lets go of WAL that was not confirmed: one that has nothing of it was made anew, or the destination has lost what it had then.
    if (slot.restartLsn > memory.endLsn) {
      return bad('recreated', 'SLOT_RECREATED', `slot ${slot.name} was made anew; changes of ${gap} cannot be read`)
    }
    if (slot.confirmedLsn > memory.endLsn) {
      return bad('ahead', 'SLOT_AHEAD', `slot ${slot.name} was moved on; changes of ${gap} cannot be read`)
    }
  }
  if (slot.activePid !== null) {
    const whose = slot.activeIsOurs ? 'a rekey' : 'another program'
    return { ...bad('in use', 'SLOT_IN_USE', `slot ${slot.name} is read by ${whose}, process ${slot.activePid}`), pid: slot.activePid }
  }
  return { state: 'ok' }
}

/**
 * A promoted standby goes on from one place in the former primary's history. When all that was applied lies before that place, and the
 * slot came along, its stream goes on from the checkpoint. Null then.
 */
function otherHistory({ timeline, history, slot }: SlotState, { sourceTimeline: was, endLsn }: SlotMemory): string | null {
  const text = `the source is on timeline ${timeline}, the checkpoint is of timeline ${was}`
  const end = history.get(was)
  if (!slot?.synced || end === undefined || endLsn === null) return text
  return end >= endLsn ? null : `${text}, and of changes up to ${formatLsn(endLsn)}, of which the source has only those up to ${formatLsn(end)}`
}

function bad(state: Exclude<SlotHealth['state'], 'ok'>, code: ErrorCode, message: string): Exclude<SlotHealth, { state: 'ok' }> {
  return { state, code, message }
}
