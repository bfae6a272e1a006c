import type { Message } from 'kafkajs'
import type { NewRecord, TableRecord } from './record.ts'

/** Records that are sent at once. In the pipeline's topic the record says its partition; in those of tables the key chooses. */
export interface Outgoing {
  add(record: NewRecord | TableRecord): void
  /** As the client library takes them. */
  topicMessages(): { topic: string; messages: Message[] }[]
  /** They were sent, and their memory is free for others. */
  clear(): void
}

/** As messages of kafkajs. */
export function messages(own: string): Outgoing {
  const topics = new Map<string, Message[]>()
  return {
    add(record) {
      const [topic, partition] = 'topic' in record ? [record.topic, {}] : [own, { partition: record.partition ?? 0 }]
      let of = topics.get(topic)
      if (!of) topics.set(topic, (of = []))
      of.push({ key: record.key, value: record.value, headers: record.headers, ...partition })
    },
    topicMessages: () => [...topics].map(([topic, of]) => ({ topic, messages: of })),
    clear: () => topics.clear(),
  }
}
