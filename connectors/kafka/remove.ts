import type { Kafka } from 'kafkajs'
import { withAdmin } from './client.ts'
import { readersOf, sharedBy } from './groups.ts'

export interface TopicsToRemove {
  /** Those that the pipeline has made. */
  readonly made: readonly string[]
  /** All that it would write to. */
  readonly used: readonly string[]
  /** Beginning of the names of its reader groups. */
  readonly group: string
}

export interface TopicsRemoved {
  readonly removed: readonly string[]
  /** That are there and that somebody else made. */
  readonly left: readonly string[]
  readonly groups: number
}

/** Resolves when the brokers have taken it. Groups whose reader is alive stay, and go by themselves with it. Rejects with REMOTE, PRIVILEGE. */
export function removeTopics(kafka: Kafka, { made, used, group }: TopicsToRemove): Promise<TopicsRemoved> {
  return withAdmin(kafka, 'remove the topics', async (admin) => {
    const there = new Set(await admin.listTopics())
    const removed = made.filter((topic) => there.has(topic))
    if (removed.length > 0) await admin.deleteTopics({ topics: [...removed] })
    const readers = [...(await readersOf(admin, group)), ...(await sharedBy(admin, group))]
    const gone = await Promise.all(readers.map((id) => admin.deleteGroups([id]).then(() => 1, () => 0)))
    return { removed, left: used.filter((topic) => there.has(topic) && !removed.includes(topic)), groups: gone.reduce((sum, one) => sum + one, 0) }
  })
}
