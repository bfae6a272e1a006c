import type { Transaction } from './change.ts'

/**
 * The message that a transaction carries, in every partition, when it is applied as a whole while all partitions wait for it: see route.ts.
 * The first partition has its changes, the others nothing but the message.
 */
export const ALONE = 'alone'

/** True of its first fragment, too. */
export function isAlone({ messages }: Transaction): boolean {
  return messages.length > 0 && messages.includes(ALONE)
}
