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

/** Those that go alone each by itself, the others together, in their order. */
export function apart(transactions: readonly Transaction[]): Transaction[][] {
  const groups: Transaction[][] = []
  for (const [i, t] of transactions.entries()) {
    if (i === 0 || isAlone(t) || isAlone(transactions[i - 1])) groups.push([t])
    else groups.at(-1)!.push(t)
  }
  return groups
}
