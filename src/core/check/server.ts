import type { Catalog } from '../catalog.ts'
import type { DestinationFacts, SideFacts, SourceFacts } from './facts.ts'
import { reportOf, type Finding, type Report } from './finding.ts'

export interface ServerInput {
  readonly source: { readonly catalog: Catalog; readonly facts: SourceFacts }
  readonly destination: { readonly catalog: Catalog; readonly facts: DestinationFacts }
  /** Connections that a run opens at the destination. */
  readonly connections: number
}

/** Two servers that can be worked with. */
export function judgeServers({ source, destination }: ServerInput): Finding[] {
  const report = reportOf('connectivity')
  for (const [subject, { catalog, facts }] of [['source', source], ['destination', destination]] as const) {
    judgeVersion(catalog, subject, report)
    if (facts.role?.inRecovery) {
      report.error({ code: 'STANDBY', subject, message: 'the server is a standby: nothing can be made there',
        fix: 'Name the primary in rekey.yaml.' })
    }
    judgeEncoding(catalog, subject, report)
  }
  judgeMinor(source.catalog, report)
  const oids = [source.facts.role?.databaseOid, destination.facts.role?.databaseOid]
  if (source.catalog.systemId === destination.catalog.systemId && oids[0] !== undefined && oids[0] === oids[1]) {
    report.error({ code: 'SAME_DATABASE', subject: 'destination', message: 'it is the same database as the source',
      fix: 'Name two databases in rekey.yaml.' })
  }
  return report.findings
}

function judgeVersion({ major, versionNum }: Catalog, subject: string, report: Report): void {
  const text = `PostgreSQL ${major}.${versionNum % 10_000}`
  if (major < 14) report.error({ code: 'VERSION', subject, message: `${text} is too old`, fix: 'Upgrade it to 14 or later.' })
  if (major > 18) report.warning({ code: 'VERSION', subject, message: `${text} is newer than what was tried (14 to 18)`,
    fix: 'Rehearse on a copy first.' })
}

function judgeEncoding({ encoding }: Catalog, subject: string, report: Report): void {
  if (encoding === 'UTF8') return
  if (encoding === 'SQL_ASCII') {
    report.error({
      code: 'ENCODING', subject, message: 'the encoding is SQL_ASCII: nobody knows what its bytes mean',
      fix: 'Make a database with encoding UTF8 from a dump whose client_encoding says what the bytes are.',
    })
  } else {
    report.warning({
      code: 'ENCODING', subject, message: `the encoding is ${encoding}; values travel as UTF8`,
      fix: subject === 'source' ? '' : 'Rows with characters that it does not have will be parked.',
    })
  }
}

/** First minor, by major, in which a publication that changes under an open transaction no longer loses changes. */
const PUBLICATION_FIXED: Readonly<Record<number, number>> = { 14: 18, 15: 13, 16: 9, 17: 5 }
/** First minor, by major, in which INSERT … ON CONFLICT DO UPDATE asks for a replica identity too. */
const IDENTITY_ASKED: Readonly<Record<number, number>> = { 15: 15, 16: 11, 17: 7 }

function judgeMinor({ major, versionNum }: Catalog, report: Report): void {
  const minor = versionNum % 10_000
  if (minor < (PUBLICATION_FIXED[major] ?? 0)) {
    report.warning({
      code: 'OLD_MINOR', subject: 'source',
      message: `${major}.${minor} may lose changes of transactions that are open while a publication is made`,
      fix: `Update to ${major}.${PUBLICATION_FIXED[major]} or later, or start in a quiet moment.`,
    })
  }
  if (minor < (IDENTITY_ASKED[major] ?? 0)) {
    report.info({
      code: 'MINOR_AHEAD', subject: 'source',
      message: `from ${major}.${IDENTITY_ASKED[major]} on, INSERT … ON CONFLICT DO UPDATE of a published table needs a replica identity`,
      fix: 'No published table may be without one; do not update the source while the migration runs.',
    })
  }
}

/** Disks, connections and what is lost when a server fails. */
export function judgeCapacity({ source, destination, connections }: ServerInput): Finding[] {
  const report = reportOf('capacity')
  const keep = Number(source.facts.settings.max_slot_wal_keep_size ?? NaN)
  if (keep === -1) {
    report.warning({
      code: 'WAL_UNLIMITED', subject: 'source',
      message: 'while rekey does not read, WAL is kept until the disk is full (max_slot_wal_keep_size = -1)',
      fix: "Watch the disk, or: alter system set max_slot_wal_keep_size = '100GB'; select pg_reload_conf(); (the slot is lost beyond it)",
    })
  } else if (keep < 1024) {
    report.warning({
      code: 'WAL_LIMIT', subject: 'source',
      message: `the slot is lost when rekey is ${keep} MB of WAL behind; the initial copy alone may take longer`,
      fix: "alter system set max_slot_wal_keep_size = '100GB'; select pg_reload_conf();",
    })
  }
  const decoding = Number(source.facts.settings.logical_decoding_work_mem ?? NaN)
  if (decoding < 65_536) {
    report.info({
      code: 'DECODING_MEMORY', subject: 'source', message: `transactions above ${decoding} kB are written to disk while they are decoded`,
      fix: "alter system set logical_decoding_work_mem = '64MB'; select pg_reload_conf();",
    })
  }
  judgeDurability(destination.facts, report)
  judgeConnections(destination.facts, connections, report)
  return report.findings
}

function judgeDurability({ settings, senders }: SideFacts, report: Report): void {
  const subject = 'destination'
  if (settings.fsync === 'off' || settings.synchronous_commit === 'off') {
    const name = settings.fsync === 'off' ? 'fsync' : 'synchronous_commit'
    report.warning({
      code: 'NOT_DURABLE', subject,
      message: `${name} is off: after a crash the destination may have lost rows that the source was told are safe`,
      fix: `Switch ${name} on; \`retain\` in rekey.yaml covers only what is younger than it.`,
    })
  }
  if ((settings.synchronous_standby_names ?? '') === '' && (senders ?? 0) > 0) {
    report.warning({
      code: 'ASYNCHRONOUS_STANDBY', subject, message: 'its standbys are asynchronous: a failover may lose the last commits',
      fix: 'Set synchronous_standby_names, or keep `retain` above the lag of the standbys: what is lost is then sent again.',
    })
  } else if ((settings.synchronous_standby_names ?? '') !== '' && settings.synchronous_commit === 'local') {
    report.warning({
      code: 'ASYNCHRONOUS_STANDBY', subject,
      message: 'synchronous_commit is local: commits do not wait for the synchronous standbys that are named',
      fix: 'Set synchronous_commit = on for the role of rekey.',
    })
  }
}

function judgeConnections({ settings, backends }: SideFacts, connections: number, report: Report): void {
  const free = Number(settings.max_connections ?? NaN) - Number(settings.superuser_reserved_connections ?? 0) - (backends ?? NaN)
  if (!(free < connections)) return
  report.error({
    code: 'CONNECTIONS', subject: 'destination', message: `${Math.max(0, free)} connections are free; a run opens ${connections}`,
    fix: 'Lower snapshot.workers in rekey.yaml, or raise max_connections.',
  })
}
