import type { Transaction } from '../../src/core/change.ts'
import type { Lsn } from '../../src/core/lsn.ts'
import type { TableName } from '../../src/core/relation.ts'

/** What a record says of where it comes from, the same in all of them. */
export interface Origin {
  /** Prefix of the topics: Debezium's `topic.prefix`. */
  readonly name: string
  readonly database: string
  /** Of rekey. */
  readonly version: string
}

/**
 * Debezium's `source` object. It is the same for all changes of a table in a transaction, whose single addresses the stream does not tell:
 * `lsn` is where the transaction's commit is. Times are the commit's.
 */
export function sourceText(origin: Origin, t: Transaction, table: TableName | null, lastCommit: Lsn): string {
  const micros = t.commitMicros
  const sequence = JSON.stringify(JSON.stringify([String(lastCommit), String(t.commitLsn)]))
  const text = JSON.stringify
  return `{"version":${text(`rekey/${origin.version}`)},"connector":"postgresql","name":${text(origin.name)}` +
    `,"ts_ms":${Math.floor(micros / 1e3)},"snapshot":"false","db":${text(origin.database)},"sequence":${sequence},"ts_us":${micros},"ts_ns":${BigInt(micros) * 1000n}` +
    `,"schema":${text(table?.schema ?? '')},"table":${text(table?.table ?? '')},"txId":${t.xid},"lsn":${t.commitLsn}}`
}
