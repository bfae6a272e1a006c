import { checkStores, type CheckedStores } from './check-objects.ts'
import { readDestinationFacts, readSourceFacts, type Asking } from './check-facts.ts'
import type { Catalog } from '../core/catalog.ts'
import { judgeAccess } from '../core/check/access.ts'
import { judgeCycles } from '../core/check/cycles.ts'
import { judgeKafka, type KafkaInput } from '../core/check/kafka.ts'
import { judgeMapping, type PlacedProblem } from '../core/check/mapping.ts'
import { judgeRedis } from '../core/check/redis.ts'
import { judgeReplication } from '../core/check/replication.ts'
import { judgeSchema } from '../core/check/schema.ts'
import { judgeCapacity, judgeServers } from '../core/check/server.ts'
import { sortFindings, type Finding } from '../core/check/finding.ts'
import type { Mapping } from '../core/mapping.ts'
import type { TextQuery } from './ddl-facts.ts'

export { unreadable } from './check-facts.ts'
export { refuseFindings, type Finding } from '../core/check/finding.ts'

export interface CheckOptions {
  /** One session each, under the roles that a run connects with. */
  readonly source: TextQuery
  readonly destination: TextQuery
  readonly catalogs: { readonly source: Catalog; readonly destination: Catalog }
  readonly mapping: Mapping
  /** What the compiler said of it. */
  readonly problems: readonly PlacedProblem[]
  readonly slot: string
  readonly publication: string
  readonly checks: 'engine' | 'set'
  /** Connections of the initial copy (snapshot.workers). */
  readonly workers: number
  /** snapshot.indexes. */
  readonly indexes?: 'keep' | 'rebuild'
  /** The server of the id map, and what it says of itself; null when it does not answer. */
  readonly redis?: Parameters<typeof judgeRedis>[0]
  /** The brokers of the change log, and what they say. */
  readonly kafka?: KafkaInput
  /** The stores that the mapping uses. */
  readonly stores?: CheckedStores
  /** From which age on a writing transaction is told, in seconds. Default 60. */
  readonly longSeconds?: number
  /** From which size on a table's values are measured, in bytes. Default 2 MB: what is compressed may take a 255th of its length (lz4). */
  readonly largeTable?: number
}

/**
 * Everything that stands in the way of a run, at once, and what is worth knowing before it. Reads both databases, changes neither; what
 * cannot be read is a finding, too. Of destination stores writing is tried, and nothing is left there. Sorted by group, in each the gravest first.
 */
export async function check(options: CheckOptions): Promise<Finding[]> {
  const { catalogs, mapping, slot, publication, checks } = options
  const findings: Finding[] = []
  const asking = (side: Asking['side']): Asking => ({ side, query: options[side], findings })
  const carried = [...mapping.tables.values()].filter((rule) => rule.verdict === 'move' || rule.verdict === 'merge')
  const captured = carried.map((rule) => rule.source)
  const written = carried.map((rule) => rule.target)
  const [sourceFacts, destinationFacts] = await Promise.all([
    readSourceFacts(asking('source'), {
      captured, catalog: catalogs.source, publication, longSeconds: options.longSeconds ?? 60, largeTable: options.largeTable ?? 2e6,
    }),
    readDestinationFacts(asking('destination'), written, catalogs.destination.major),
  ])
  const source = { catalog: catalogs.source, facts: sourceFacts }
  const destination = { catalog: catalogs.destination, facts: destinationFacts }
  // Each worker writes and looks up on connections of its own, beside those of the stream.
  const servers = { source, destination, connections: options.workers * 2 + 2 }
  const replication = judgeReplication({ source: catalogs.source, facts: sourceFacts, captured, slot, publication })
  findings.push(
    ...judgeServers(servers), ...replication,
    ...judgeAccess({ source: sourceFacts, destination: destinationFacts, captured, written, checks,
      rebuild: options.indexes === 'rebuild',
      triggersOff: carried.some((r) => r.triggers === 'off') }),
    ...judgeSchema({ source, destination, mapping }), ...judgeCycles(mapping, catalogs.destination),
    ...judgeMapping(mapping, { problems: options.problems, told: replication, checks }), ...judgeCapacity(servers),
    ...(options.kafka ? judgeKafka(options.kafka) : []),
    ...(options.redis ? judgeRedis(options.redis) : []),
    ...(options.stores ? await checkStores(options.stores) : []),
  )
  return sortFindings(findings)
}
