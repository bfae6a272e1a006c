import { ANEW } from '../errors.ts'
import { tableOf, type Catalog, type CatalogTable } from '../catalog.ts'
import type { PublicationFact, SlotFact, SourceFacts } from './facts.ts'
import { reportOf, type Finding, type Report } from './finding.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../quote.ts'
import { nameOf, type TableName } from '../relation.ts'

export interface ReplicationInput {
  readonly source: Catalog
  readonly facts: SourceFacts
  /** Tables whose changes will be captured. */
  readonly captured: readonly TableName[]
  readonly slot: string
  readonly publication: string
}

/** Can the source's changes be read, all of them, from a slot of ours? */
export function judgeReplication(input: ReplicationInput): Finding[] {
  const report = reportOf('replication')
  const { settings } = input.facts
  if (settings.wal_level !== undefined && settings.wal_level !== 'logical') {
    report.error({
      code: 'WAL_LEVEL', subject: 'source', message: `wal_level is ${settings.wal_level}; changes can be decoded with logical only`,
      fix: "alter system set wal_level = 'logical'; then restart the source (managed services have a parameter for it).",
    })
  }
  judgeRoom(input, report)
  judgeTimeouts(settings, report)
  judgeSlot(input, report)
  judgePublication(input, report)
  for (const name of input.captured) {
    const table = tableOf(input.source, name)
    if (table) judgeIdentity(table, report)
  }
  judgeTransactions(input, report)
  return report.findings
}

function judgeRoom({ facts, slot }: ReplicationInput, report: Report): void {
  const { settings, slots, senders } = facts
  const most = Number(settings.max_replication_slots ?? NaN)
  if (slots && !slots.some((s) => s.name === slot) && slots.length >= most) {
    report.error({
      code: 'NO_SLOT_FREE', subject: 'source', message: `all ${most} replication slots are taken`,
      fix: `alter system set max_replication_slots = ${most + 4}; then restart; or drop slots that nobody reads.`,
    })
  }
  const free = Number(settings.max_wal_senders ?? NaN) - (senders ?? NaN)
  if (free < 2) {
    const say = free < 1 ? report.error : report.warning
    say({
      code: 'NO_SENDER_FREE', subject: 'source',
      message: `${Math.max(0, free)} of ${settings.max_wal_senders} WAL senders are free; 2 are used while the slot is made`,
      fix: `alter system set max_wal_senders = ${Number(settings.max_wal_senders) + 4}; then restart.`,
    })
  }
}

function judgeTimeouts(settings: SourceFacts['settings'], report: Report): void {
  const timeout = Number(settings.wal_sender_timeout ?? NaN)
  if (timeout === 0 || timeout < 10_000) {
    report.warning({
      code: 'WAL_SENDER_TIMEOUT', subject: 'source',
      message: timeout === 0 ? 'wal_sender_timeout is off: after a lost connection the slot stays in use for hours'
        : `wal_sender_timeout is ${timeout} ms: a short pause of the network ends the stream`,
      fix: "alter system set wal_sender_timeout = '60s'; select pg_reload_conf();",
    })
  }
  const idle = Number(settings.idle_replication_slot_timeout ?? 0)
  if (idle > 0) {
    report.warning({
      code: 'IDLE_SLOT_TIMEOUT', subject: 'source', message: `a slot that nobody reads for ${idle} s is given up by the server`,
      fix: 'Set idle_replication_slot_timeout = 0 until the migration is over, or never stop rekey for that long.',
    })
  }
}

function judgeSlot({ facts, slot, source }: ReplicationInput, report: Report): void {
  const found = facts.slots?.find((s) => s.name === slot)
  if (!found) return
  const subject = `slot ${slot}`
  if (isLost(found)) {
    report.error({
      code: 'SLOT_LOST', subject, message: `the server gave it up (${found.invalidation ?? found.walStatus}); changes are missing`,
      fix: ANEW,
    })
  } else if (found.plugin !== 'pgoutput' || found.database !== source.database || found.temporary) {
    report.error({
      code: 'SLOT_FOREIGN', subject,
      message: `it is of plugin ${found.plugin ?? 'none'} and database ${found.database ?? 'none'}: not one of ours`,
      fix: 'Name this pipeline otherwise (`pipeline` in rekey.yaml), or drop that slot.',
    })
  } else if (found.pid !== null) {
    report.warning({
      code: 'SLOT_IN_USE', subject, message: `process ${found.pid} reads it`,
      fix: 'If that is not a rekey that runs now, stop it, or start with --takeover.',
    })
  } else report.info({ code: 'SLOT_EXISTS', subject, message: 'it is there: a run goes on where the last one ended', fix: '' })
}

function isLost({ walStatus, invalidation }: SlotFact): boolean {
  return walStatus === 'lost' || (invalidation !== null && invalidation !== '')
}

/** What the publication has to say, as SQL. A changed publication of a living slot would lose changes: then all begins anew. */
function judgePublication({ facts, publication, captured, slot }: ReplicationInput, report: Report): void {
  const found = facts.publication
  if (found === null || found === 'none') return
  const subject = `publication ${publication}`
  const differences = publicationDifferences(found, captured.map(nameOf))
  if (differences.length === 0) return
  const list = captured.map((t) => `only ${quoteName(t)}`).join(', ')
  const begun = facts.slots?.some((s) => s.name === slot)
  report.error({
    code: 'PUBLICATION', subject, message: differences.join('; '),
    fix: begun ? `Changes that were not published are lost to the slot: ${ANEW}`
      : `drop publication ${quoteIdent(publication)}; rekey makes it, ` +
        `or: create publication ${quoteIdent(publication)} for table ${list} with (publish_via_partition_root = true);`,
  })
}

export function publicationDifferences(found: PublicationFact, wanted: readonly string[]): string[] {
  if (found.allTables) return ['it is FOR ALL TABLES, which makes updates of tables without a key fail in the source\'s own application']
  const have = found.tables.map((t) => t.name)
  const missing = wanted.filter((t) => !have.includes(t))
  const extra = have.filter((t) => !wanted.includes(t))
  const filtered = found.tables.filter((t) => t.filtered).map((t) => t.name)
  return [
    ...(missing.length > 0 ? [`it lacks ${missing.join(', ')}`] : []),
    ...(extra.length > 0 ? [`it has also ${extra.join(', ')}`] : []),
    ...(filtered.length > 0 ? [`it filters ${filtered.join(', ')}`] : []),
    ...(found.allChanges ? [] : ['it does not publish all kinds of changes']),
    ...(found.viaRoot ? [] : ['publish_via_partition_root is off']),
  ]
}

/** Without an identity the server refuses the source application's updates and deletes from the moment the table is published. */
function judgeIdentity(table: CatalogTable, report: Report): void {
  if (table.identity === 'f' || table.identityColumns.length > 0) return
  const nullable = (name: string): boolean => table.columns.some((c) => c.name === name && c.nullable)
  const index = table.uniques.find((u) => u.usable && !u.deferrable && !u.columns.some(nullable))
  const usable = table.identity === 'n' && table.primaryKey !== null && !table.primaryKey.deferrable
  const identity = usable ? 'default' : index ? `using index ${quoteIdent(index.name)}` : 'full'
  const why = table.identity === 'n' ? 'its replica identity is NOTHING'
    : table.primaryKey?.deferrable ? 'its primary key is DEFERRABLE, which is no replica identity'
    : 'it has no primary key'
  report.error({
    code: 'NO_KEY', subject: nameOf(table),
    message: `${why}: once published, its updates and deletes would fail in the source's own application`,
    fix: `alter table ${quoteName(table)} replica identity ${identity};`,
  })
}

/** A slot can only be made when every transaction that writes has ended. */
function judgeTransactions({ facts, slot }: ReplicationInput, report: Report): void {
  if (facts.slots?.some((s) => s.name === slot)) return
  for (const { gid, database, seconds } of facts.prepared ?? []) {
    report.error({
      code: 'PREPARED_TRANSACTION', subject: gid,
      message: `a prepared transaction in ${database}, ${seconds} s old, keeps the slot from being made`,
      fix: `In database ${database}: commit prepared ${quoteLiteral(gid)}; or rollback prepared ${quoteLiteral(gid)};`,
    })
  }
  for (const { pid, seconds, application } of facts.transactions ?? []) {
    report.warning({
      code: 'LONG_TRANSACTION', subject: `process ${pid}`,
      message: `a transaction${application === '' ? '' : ` of ${application}`} writes for ${seconds} s; the slot waits for its end`,
      fix: `Let it end, or: select pg_terminate_backend(${pid});`,
    })
  }
}
