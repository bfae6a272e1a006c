import type { DestinationFacts, SourceFacts, TableFact } from './facts.ts'
import { publicationDifferences } from './replication.ts'
import { reportOf, type Finding, type Report } from './finding.ts'
import { quoteIdent, quoteName } from '../quote.ts'
import { nameOf, type TableName } from '../relation.ts'

export interface AccessInput {
  readonly source: SourceFacts
  readonly destination: DestinationFacts
  readonly captured: readonly TableName[]
  /** Destination tables that are written. */
  readonly written: readonly TableName[]
  readonly checks: 'engine' | 'set'
  /** Some table's triggers are to be off. */
  readonly triggersOff: boolean
  /** Indexes are to be dropped and made again, which only a table's owner may do. */
  readonly rebuild: boolean
}

/** May the two roles do what a run does? */
export function judgeAccess(input: AccessInput): Finding[] {
  const report = reportOf('access')
  judgeSource(input, report)
  judgeDestination(input, report)
  return report.findings
}

function judgeSource({ source, captured }: AccessInput, report: Report): void {
  const { role } = source
  if (role && !role.superuser && !role.replication) {
    report.error({
      code: 'REPLICATION', subject: `role ${role.name}`, message: 'it may not read the replication stream',
      fix: `alter role ${quoteIdent(role.name)} replication; (Amazon RDS: grant rds_replication to ${quoteIdent(role.name)};)`,
    })
  }
  const makes = source.publication === 'none' ||
    (source.publication !== null && publicationDifferences(source.publication, captured.map(nameOf)).length > 0)
  if (role && makes && !role.create) {
    report.error({
      code: 'CREATE', subject: `role ${role.name}`, message: 'it may not make the publication',
      fix: `grant create on database ${quoteIdent(role.database)} to ${quoteIdent(role.name)};`,
    })
  }
  const facts = new Map((source.tables ?? []).map((t) => [t.name, t]))
  for (const table of captured) {
    const fact = facts.get(nameOf(table))
    if (!fact) continue
    lacks(table, fact, { report, side: 'source', role: role?.name ?? 'current_user', needs: ['select'] })
    if (role && makes && !role.superuser && !fact.owner) {
      report.error({
        code: 'OWNER', subject: nameOf(table), message: `only its owner may publish it, and ${role.name} is not`,
        fix: `alter table ${quoteName(table)} owner to ${quoteIdent(role.name)}; ` +
          'or grant the owner\'s role to it; or let the owner make the publication.',
      })
    }
  }
}

const WRITES = ['select', 'insert', 'update', 'delete'] as const

function judgeDestination(input: AccessInput, report: Report): void {
  const { destination, written, checks, triggersOff } = input
  const { role } = destination
  const name = role?.name ?? 'current_user'
  const facts = new Map((destination.tables ?? []).map((t) => [t.name, t]))
  for (const table of written) {
    const fact = facts.get(nameOf(table))
    if (fact) lacks(table, fact, { report, side: 'destination', role: name, needs: WRITES })
    if (fact && input.rebuild && role && !role.superuser && !fact.owner) {
      report.error({
        code: 'OWNER', subject: nameOf(table), message: `snapshot.indexes: rebuild is for its owner, and ${role.name} is not`,
        fix: 'Let rekey connect as the owner of the tables, or say snapshot: { indexes: keep }.',
      })
    }
  }
  if (role && destination.rekeySchema !== true && (destination.rekeySchema === false || !role.create)) {
    report.error({
      code: 'CREATE', subject: `role ${name}`, message: 'it may not make its own tables (schema rekey)',
      fix: destination.rekeySchema === false ? `grant create, usage on schema rekey to ${quoteIdent(name)};`
        : `grant create on database ${quoteIdent(role.database)} to ${quoteIdent(name)};`,
    })
  }
  if (role && !role.temp) {
    report.error({
      code: 'TEMP', subject: `role ${name}`, message: 'it may not make temporary tables, through which rows are written',
      fix: `grant temporary on database ${quoteIdent(role.database)} to ${quoteIdent(name)};`,
    })
  }
  if (destination.replicaRole === false && (checks === 'set' || triggersOff)) {
    report.error({
      code: 'REPLICA_ROLE', subject: `role ${name}`,
      message: `${checks === 'set' ? 'checks: set' : 'triggers: off'} needs the right to set session_replication_role`,
      fix: `From 15 on: grant set on parameter session_replication_role to ${quoteIdent(name)}; ` +
        `else a superuser, or ${checks === 'set' ? 'checks: engine' : 'triggers: fire'}.`,
    })
  }
}

interface Lacking {
  readonly report: Report
  readonly side: string
  readonly role: string
  readonly needs: readonly (typeof WRITES)[number][]
}

function lacks(table: TableName, fact: TableFact, { report, side, role, needs }: Lacking): void {
  const subject = nameOf(table)
  if (!fact.usage) {
    report.error({ code: 'USAGE', subject, message: `${role} may not use its schema at the ${side}`,
      fix: `grant usage on schema ${quoteIdent(table.schema)} to ${quoteIdent(role)};` })
  }
  const missing = needs.filter((right) => !fact[right])
  if (missing.length > 0) {
    report.error({
      code: 'PRIVILEGE', subject, message: `${role} lacks ${missing.join(', ')} at the ${side}`,
      fix: `grant ${missing.join(', ')} on ${quoteName(table)} to ${quoteIdent(role)};`,
    })
  }
  if (fact.hidden) {
    report.error({
      code: 'ROW_SECURITY', subject, message: `row security hides rows of it from ${role} at the ${side}`,
      fix: `alter role ${quoteIdent(role)} bypassrls;`,
    })
  }
}
