import { isLoopback, parseAddress } from '../address.ts'
import type { ErrorCode } from '../errors.ts'
import { type Finding, type Report, reportOf } from './finding.ts'
import { BATCH_SLACK, sizeProblems, topicProblems, type TopicFacts, topicSettings, type TopicWish } from '../topic.ts'

/** Why the brokers did not do what was asked. */
export interface Refusal {
  readonly code: ErrorCode
  readonly message: string
}

export interface AskedTopic {
  readonly wish: TopicWish
  /** changes: what rekey itself reads; table: for other consumers. */
  readonly kind: 'changes' | 'table'
  /** Null: it is not there, or cannot be seen. */
  readonly facts: TopicFacts | null
  /** Id of the topic that the run goes through; null where none is noted. */
  readonly knownId: string | null
  /** Why it can be neither seen nor made; null when it is there, or a run may make it. */
  readonly refusal: Refusal | null
}

/** What was learnt of the brokers. */
export interface KafkaFacts {
  /** Why nothing could be asked. */
  readonly refusal: Refusal | null
  readonly brokers: number
  /** The largest request that every broker takes, bytes; null where we may not know. */
  readonly requestBytes: number | null
  readonly topics: readonly AskedTopic[]
  /** Why we may not write, or may not have groups of readers. */
  readonly producer: Refusal | null
  readonly group: Refusal | null
}

export interface KafkaInput {
  readonly brokers: readonly string[]
  readonly tls: boolean
  readonly sasl: 'plain' | 'scram-sha-256' | 'scram-sha-512' | null
  readonly facts: KafkaFacts
}

/** Can changes go through these brokers, and will they stay there until they are read? */
export function judgeKafka(input: KafkaInput): Finding[] {
  const reports = { connectivity: reportOf('connectivity'), replication: reportOf('replication'), access: reportOf('access'), capacity: reportOf('capacity') }
  const { facts } = input
  judgeConnection(input, reports)
  if (facts.refusal === null) {
    for (const topic of facts.topics) judgeTopic(topic, facts, reports)
    judgeRights(facts, reports.access)
    judgeRequests(facts, reports.capacity)
  }
  return Object.values(reports).flatMap((report) => report.findings)
}

type Reports = Readonly<Record<'connectivity' | 'replication' | 'access' | 'capacity', Report>>

function judgeConnection({ brokers, tls, sasl, facts }: KafkaInput, { connectivity, access }: Reports): void {
  const { refusal } = facts
  if (refusal?.code === 'REMOTE') {
    connectivity.error({
      code: 'KAFKA_AWAY', subject: 'kafka', message: `no broker of kafka.brokers answers (${refusal.message})`,
      fix: `Correct kafka.brokers, or start the brokers; they must be reachable under the names that they advertise. ${tls ? '' : 'If they want TLS, set kafka.ssl.'}`.trimEnd(),
    })
  } else if (refusal?.code === 'CONFIG') {
    connectivity.error({ code: 'KAFKA_CONFIG', subject: 'kafka', message: refusal.message, fix: 'Correct what is named in rekey.yaml.' })
  } else if (refusal) {
    access.error({
      code: 'KAFKA_REFUSED', subject: 'kafka', message: `the brokers, or their certificate, were refused: ${refusal.message}`,
      fix: 'Correct kafka.ssl (ca, cert, key) and kafka.sasl (mechanism, username, password).',
    })
  }
  if (brokers.every((text) => isLoopback(parseAddress(text) ?? { host: '', port: 0 })) || tls) return
  if (sasl !== null) {
    const message = sasl === 'plain' ? 'rows and the password travel in the clear' : 'rows travel in the clear'
    access.warning({ code: 'KAFKA_PLAIN', subject: 'kafka', message, fix: 'Set kafka.ssl, and give the brokers a listener with TLS.' })
  } else {
    access.warning({
      code: 'KAFKA_OPEN', subject: 'kafka', message: 'the brokers know neither TLS nor passwords: who reaches them can read all rows, and write into the topic',
      fix: 'Set kafka.ssl and kafka.sasl, unless the network is private.',
    })
  }
}

function judgeTopic({ wish, kind, facts, refusal, knownId }: AskedTopic, { brokers }: KafkaFacts, { replication, access, capacity }: Reports): void {
  const subject = `topic ${wish.topic}`
  if (refusal) {
    const config = [...(kind === 'changes' ? topicSettings(wish, wish.replication ?? Math.min(3, brokers)) : [])].map(([name, value]) => ` --config ${name}=${value}`)
    const copies = wish.replication ?? Math.min(3, brokers)
    const command = `kafka-topics.sh --create --topic ${wish.topic} --partitions ${wish.partitions ?? 1} --replication-factor ${copies}${config.join('')}`
    access.error({
      code: 'KAFKA_TOPIC_ACCESS', subject, message: refusal.message,
      fix: `Grant Describe, DescribeConfigs, Create, Read and Write on it, or have it made: ${command}`,
    })
    return
  }
  if (!facts) return
  for (const { message, fix } of kind === 'changes' ? topicProblems(wish, facts) : sizeProblems(wish, facts)) {
    replication.error({ code: 'KAFKA_TOPIC', subject, message, fix })
  }
  if (knownId !== null && facts.id !== null && facts.id !== knownId) {
    replication.warning({
      code: 'KAFKA_TOPIC_ANEW', subject, message: `it was deleted and made anew since the run last began: its id is ${facts.id}, and was ${knownId}`,
      fix: 'Start deliver: it goes on when nothing is missing, and else names what is.',
    })
  }
  if (facts.leaderless > 0) {
    replication.error({
      code: 'KAFKA_LEADERLESS', subject, message: `${facts.leaderless} of its partitions have no leader: they can be neither read nor written`,
      fix: 'Bring the brokers back that have them.',
    })
  }
  if (kind === 'changes') judgeCopies(subject, facts, { brokers, capacity })
}

function judgeCopies(subject: string, { replicas, settings }: TopicFacts, { brokers, capacity }: { readonly brokers: number; readonly capacity: Report }): void {
  if (replicas < 2) {
    capacity.warning({
      code: 'KAFKA_COPIES', subject, message: 'one broker has all of it: if its disk is lost, changes that were not read are lost, which is noticed, and the copy begins anew',
      fix: brokers > 1 ? 'kafka-reassign-partitions.sh, or delete the topic before the run: it is made with more copies.' : 'Three brokers.',
    })
  } else if (Number(settings.get('min.insync.replicas')) < 2) {
    const fix = replicas > 2 ? `kafka-configs.sh --alter --entity-type topics --entity-name ${subject.slice(6)} --add-config min.insync.replicas=2` : 'Three copies, and min.insync.replicas=2.'
    capacity.warning({ code: 'KAFKA_COPIES', subject, message: 'a change counts as written when one broker has it (min.insync.replicas < 2)', fix })
  }
}

function judgeRights({ producer, group }: KafkaFacts, access: Report): void {
  if (producer) {
    const fix = 'Grant Write on the topics, or IdempotentWrite on the cluster where the brokers are older than 3.0.'
    access.error({ code: 'KAFKA_WRITE', subject: 'kafka', message: producer.message, fix })
  }
  if (group) {
    const fix = 'Grant Read, Describe and Delete on the groups whose names begin so (a prefixed ACL).'
    access.error({ code: 'KAFKA_GROUP', subject: 'kafka', message: group.message, fix })
  }
}

function judgeRequests({ requestBytes, topics }: KafkaFacts, capacity: Report): void {
  const { batchBytes } = topics[0].wish
  if (requestBytes === null || requestBytes >= batchBytes + BATCH_SLACK) return
  capacity.error({
    code: 'KAFKA_REQUEST', subject: 'kafka', fix: `A kafka.batch of at most ${requestBytes - BATCH_SLACK} bytes, or a larger socket.request.max.bytes.`,
    message: `the brokers take requests of ${requestBytes} bytes (socket.request.max.bytes), less than kafka.batch needs (${batchBytes + BATCH_SLACK})`,
  })
}
