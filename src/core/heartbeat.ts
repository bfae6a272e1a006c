import type { Transaction } from './change.ts'

/** A logical message of ours that carries the source's clock: seconds since 1970, as Postgres prints them. */
const HEARTBEAT = /^heartbeat (\d{1,12}(?:\.\d{1,9})?)$/

/** SQL of the text of a heartbeat, made where the source's clock is. */
export const HEARTBEAT_TEXT = "'heartbeat ' || extract(epoch from clock_timestamp())::text"

/** Seconds since 1970 by the source's clock; null for a message that is no heartbeat, or one without a time. */
export function heartbeatSeconds(message: string): number | null {
  const found = HEARTBEAT.exec(message)
  return found ? Number(found[1]) : null
}

export interface Passed {
  /** The newest moment of the source, by its own clock, of which is known that everything before it has passed; null when nothing tells. */
  readonly seconds: number | null
  /** The same of the newest heartbeat among them. */
  readonly heartbeat: number | null
}

/** What these transactions, in their order, tell of the source's clock: a commit as well as a heartbeat, never a keepalive, whose time is ours. */
export function passedAt(transactions: readonly Transaction[]): Passed {
  let seconds: number | null = null
  let heartbeat: number | null = null
  for (let i = transactions.length - 1; i >= 0 && heartbeat === null; i--) {
    const { xid, last, commitMicros, messages } = transactions[i]
    for (const message of messages) heartbeat = heartbeatSeconds(message) ?? heartbeat
    seconds ??= heartbeat ?? (xid !== 0 && last && commitMicros > 0 ? commitMicros / 1e6 : null)
  }
  return { seconds, heartbeat }
}
