import type { TypeFact } from '../ddl/facts.ts'

/** What `rekey check` reads of one side beyond its catalog. Null where it could not be read (that is a finding of its own). */
export interface SideFacts {
  readonly settings: Readonly<Record<string, string>>
  readonly role: RoleFact | null
  readonly tables: readonly TableFact[] | null
  readonly types: readonly TypeFact[] | null
  /** Sessions of clients, and receivers of WAL. */
  readonly backends: number | null
  readonly senders: number | null
}

export interface RoleFact {
  readonly name: string
  readonly superuser: boolean
  /** By attribute, or by membership in a managed service's role. */
  readonly replication: boolean
  readonly database: string
  readonly databaseOid: string
  readonly inRecovery: boolean
  readonly create: boolean
  readonly temp: boolean
}

export interface TableFact {
  readonly name: string
  readonly usage: boolean
  readonly owner: boolean
  readonly select: boolean
  readonly insert: boolean
  readonly update: boolean
  readonly delete: boolean
  /** Row security hides rows of this table from the role. */
  readonly hidden: boolean
}

export interface SourceFacts extends SideFacts {
  readonly slots: readonly SlotFact[] | null
  /** Null when it could not be read, 'none' when there is none. */
  readonly publication: PublicationFact | 'none' | null
  /** Transactions that write, open for long. */
  readonly transactions: readonly { readonly pid: number; readonly seconds: number; readonly application: string }[] | null
  readonly prepared: readonly { readonly gid: string; readonly database: string; readonly seconds: number }[] | null
  readonly largeObjects: number | null
  /** Inheritance children that are no partitions. */
  readonly inherited: readonly { readonly child: string; readonly parent: string }[] | null
  /** Largest values, in bytes, of wide columns of large tables. */
  readonly largest: readonly { readonly table: string; readonly column: string; readonly type: string; readonly bytes: number }[]
}

export interface SlotFact {
  readonly name: string
  readonly plugin: string | null
  readonly database: string | null
  readonly temporary: boolean
  readonly pid: number | null
  readonly walStatus: string | null
  readonly invalidation: string | null
}

export interface PublicationFact {
  readonly allTables: boolean
  readonly viaRoot: boolean
  readonly allChanges: boolean
  readonly tables: readonly { readonly name: string; readonly filtered: boolean }[]
}

export interface DestinationFacts extends SideFacts {
  /** May set session_replication_role. */
  readonly replicaRole: boolean | null
  /** May create in the schema rekey; null when there is none yet. */
  readonly rekeySchema: boolean | null
}
