import { kafkaFacts } from '../../connectors/kafka/facts.ts'
import { readerGroup } from '../../connectors/kafka/groups.ts'
import { removeTopics, type TopicsRemoved } from '../../connectors/kafka/remove.ts'
import { notedTopicId, notedTopics } from '../../connectors/postgres-destination/made-topics.ts'
import type { KafkaFacts } from '../core/check/kafka.ts'
import { clientOf, kafkaOf, prefixOf, tableTopicsOf, topicOf, topicsUsed } from './kafka-log.ts'
import type { Opened } from './open.ts'

export type { TopicsRemoved } from '../../connectors/kafka/remove.ts'

/** What is to be known of the brokers before a run. */
export async function askBrokers(opened: Opened): Promise<KafkaFacts> {
  const { config, destination } = opened
  const changes = topicOf(config)
  return kafkaFacts(() => clientOf(kafkaOf(config)), {
    changes, knownId: await notedTopicId(destination.query, config.pipeline, changes.topic), tables: tableTopicsOf(opened), group: readerGroup(prefixOf(config)) })
}

/** The topics that the pipeline has made, and its groups. Those of a log that rekey.yaml does not name any more are left. Rejects with REMOTE. */
export async function removeMade(opened: Opened): Promise<TopicsRemoved> {
  const { config, destination } = opened
  const made = await notedTopics(destination.query, config.pipeline)
  if (!config.kafka) return { removed: [], left: made, groups: 0 }
  return removeTopics(clientOf(config.kafka), { made, used: topicsUsed(opened), group: readerGroup(prefixOf(config)) })
}
