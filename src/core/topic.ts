export interface TopicWish {
  readonly topic: string
  /** A batch of this many bytes must be taken. */
  readonly batchBytes: number
  /** Null: as many as there are brokers, up to three. */
  readonly replication: number | null
  /** Default 1. It is what the topic is made with, and must be ever after. */
  readonly partitions?: number
}

/** A topic as the brokers describe it. */
export interface TopicFacts {
  /** Another one when a topic of this name was deleted and made anew; null where brokers, or the library, do not tell. */
  readonly id: string | null
  readonly partitions: number
  /** Copies of the partition that has fewest, those that are behind too. */
  readonly replicas: number
  /** Partitions without a leader: they can be neither read nor written. */
  readonly leaderless: number
  readonly settings: ReadonlyMap<string, string>
}

export interface TopicProblem {
  readonly message: string
  /** What to do, as words or as a command of Kafka's. */
  readonly fix: string
}

/** What a batch may be larger than its records by. */
export const BATCH_SLACK = 64 << 10

/** The settings that a topic of changes is made with: it keeps everything until it is deleted. */
export function topicSettings({ batchBytes }: TopicWish, copies: number): Map<string, string> {
  return new Map([
    ['cleanup.policy', 'delete'], ['retention.ms', '-1'], ['retention.bytes', '-1'],
    ['max.message.bytes', String(Math.max(1_048_588, batchBytes + BATCH_SLACK))],
    // An acknowledged record is then on two brokers at least, and one may be lost.
    ...(copies > 2 ? [['min.insync.replicas', '2'] as const] : []),
  ])
}

/** Why this topic would lose changes, mix their order or refuse them. */
export function topicProblems(wish: TopicWish, facts: TopicFacts): TopicProblem[] {
  return [...partitionProblems(wish, facts), ...keepingProblems(wish, facts), ...sizeProblems(wish, facts)]
}

function partitionProblems({ topic, partitions: wanted = 1 }: TopicWish, { partitions }: TopicFacts): TopicProblem[] {
  if (partitions === wanted) return []
  const message = wanted === 1
    ? `it has ${partitions} partitions, of which one alone keeps the order`
    : `it has ${partitions} partitions and must have ${wanted}: rows have their places by that number`
  return [{ message, fix: `Set kafka.partitions to ${partitions} if that is meant, or another kafka.prefix, or delete topic ${topic} when nothing in it is needed.` }]
}

function keepingProblems({ topic }: TopicWish, { settings }: TopicFacts): TopicProblem[] {
  return [['cleanup.policy', 'delete'], ['retention.ms', '-1'], ['retention.bytes', '-1']].flatMap(([name, wanted]) => {
    const is = settings.get(name)
    if (is === wanted) return []
    return [{ message: `its ${name} is ${is} and must be ${wanted}, or changes are removed before they are read`, fix: setting(topic, name, wanted) }]
  })
}

/** Of any topic that batches go to. */
export function sizeProblems({ topic, batchBytes }: TopicWish, { settings }: Pick<TopicFacts, 'settings'>): TopicProblem[] {
  const least = batchBytes + BATCH_SLACK
  const most = Number(settings.get('max.message.bytes'))
  if (most >= least) return []
  const fix = `${setting(topic, 'max.message.bytes', String(least))}\nor a smaller kafka.batch.`
  return [{ message: `its max.message.bytes is ${most}, less than kafka.batch needs (${least})`, fix }]
}

function setting(topic: string, name: string, value: string): string {
  return `kafka-configs.sh --alter --entity-type topics --entity-name ${topic} --add-config ${name}=${value}`
}
