import type { Checkpoint, Decision, MatchQuestion, Part, WritePlan } from './core/plan.ts'
import type { Blocked, ParkedRow } from './core/parking.ts'
import type { Lsn } from './core/lsn.ts'
import type { TableName } from './core/relation.ts'
import type { Row } from './core/row.ts'
import type { Transaction } from './core/change.ts'
import type { BegunUpload } from './core/objects/copy.ts'
import type { NamedObject } from './core/objects/named.ts'
import type { FoundObject, JobResult, JobsSeen, ObjectJob } from './core/objects/job.ts'
import type { ListedObject, ObjectInfo, ObjectName, ObjectTarget, OpenUpload, UploadedPart, Written } from './core/objects/object.ts'

/** A part of a table, by key: rows above `after` and up to and including `upTo` (COPY text key fields); null is open. */
export interface Chunk {
  readonly table: TableName
  readonly index: number
  readonly after: readonly string[] | null
  readonly upTo: readonly string[] | null
}

/** A chunk of the initial copy as the destination remembers it. Tables that point at themselves are copied in two passes. */
export interface CopyChunk extends Chunk {
  readonly pass: 1 | 2
  readonly done: boolean
}

export interface Source {
  /**
   * Yields committed transactions in commit order, beginning with the first whose commit LSN is above `after`. Memory is bounded: while
   * the consumer does not ask, the socket is not read, yet keepalives are answered. Ends when the signal aborts; throws RekeyError.
   */
  stream(after: Lsn, signal: AbortSignal): AsyncIterable<readonly Transaction[]>
  /** Tells the slot that everything up to and including this end LSN is durable elsewhere. Never goes backward. */
  confirm(lsn: Lsn): void
  /** Splits a table into chunks of about `rows` rows by its key; one open chunk for a table without a key. */
  chunks(table: TableName, rows: number): Promise<readonly Chunk[]>
  /**
   * Yields the rows of a chunk in blocks, columns in the order asked, under the exported snapshot while it lives. The rows of a block are
   * valid until the next block is asked for.
   */
  copy(chunk: Chunk, columns: readonly string[]): AsyncIterable<readonly Row[]>
  /** Reads rows as they are now, by one column's text values; rows that are gone are absent from the answer. */
  read(table: TableName, columns: readonly string[], by: readonly string[], keys: readonly (readonly string[])[]): Promise<readonly Row[]>
}

export interface ChangeLog {
  /** Resolves when the log has taken the transactions and has room for more. They may still be lost: see durable(). */
  append(transactions: readonly Transaction[]): Promise<void>
  /** Yields what was appended, in order, in batches of whole reads; the consumer asks only when it has room. */
  read(signal: AbortSignal): AsyncIterable<readonly Transaction[]>
  /** The consumer says: everything up to this end LSN is in the destination. */
  ack(lsn: Lsn): void
  /** End LSN up to which nothing can be lost any more: what may be confirmed to the slot. */
  durable(): Lsn
}

export interface IdMap {
  /** Ledger entries of these source keys of an entity; keys without one are absent. One bulk look-up. */
  find(entity: string, keys: readonly string[]): Promise<ReadonlyMap<string, Decision>>
  /** The reverse: source keys of these destination ids. */
  findIds(ids: readonly string[]): Promise<readonly Decision[]>
}

/**
 * A copy of ledger entries that is quick to ask. It may lack entries, be lost, or be wrong at any time, so what a plan takes from it is proven
 * by the ledger before it is committed. Only what is committed is put into it. No method rejects: a copy that does not answer knows nothing.
 */
export interface IdCache {
  /** Entries that it has of these keys. `learn` takes what the ledger said of the others when it was asked after this; it is written behind. */
  find(entity: string, keys: readonly string[]): Promise<Cached>
  /**
   * These decisions of committed plans, in their order, are in the ledger now. Returns at once: new ones are written behind, and of those that
   * took the place of others nothing is known from here on, whether or not that can be written.
   */
  keep(decisions: readonly Decision[]): void
  /** It says nothing of these keys any more, or nothing at all until that is so. `learn` as of find(). */
  drop(entity: string, keys: readonly string[]): Promise<Omit<Cached, 'entries'>>
}

export interface Cached {
  readonly entries: ReadonlyMap<string, Decision>
  learn(entries: Iterable<Decision>): void
}

/** A key and its id, as the engine has them. */
export type Pair = readonly [key: string, id: string]

/** Where pairs go that are computed and not looked up, for readers who have not the secret. Nothing of ours reads them. No method rejects. */
export interface PairShelf {
  /** Of rows that are committed. Returns at once; what cannot be written makes it incomplete. */
  put(entity: string, pairs: readonly Pair[]): void
  /** Some pairs were not put. */
  lacks(): void
  /** Null when it does not answer. */
  complete(): Promise<boolean | null>
  /** All pairs were put since `work` began, unless it says false: then it is complete, if nothing was lacking meanwhile. */
  completedBy(work: () => Promise<boolean>): Promise<void>
}

/** How a copy of the ledger is filled and kept right. */
export interface CacheUpkeep {
  /**
   * full: every entry of the ledger was put into it, and it was up since. empty: it was lost, restored, restarted or is another ledger's; it has been
   * emptied and is to be filled by who asked. away: it does not answer, or another process fills it.
   */
  state(): Promise<'full' | 'empty' | 'away'>
  /** Compares with entries as the ledger has them: adds those that are missing, gives those of which it says otherwise. Null when it does not answer. */
  compare(entries: readonly Decision[]): Promise<{ readonly added: number; readonly differing: readonly Decision[] } | null>
  /** All entries that the ledger had when state() said empty were compared: it is full, and find() answers. */
  filled(): Promise<void>
}

export interface ParkedRows {
  /** Keys of rows that wait: what comes later for them waits behind. */
  waiting(): Promise<Blocked>
  /**
   * Rows that are to be tried again (because a person wants it, or the object that they waited for is there), at most so many, with all
   * that waits behind others, in the order of the source, and the keys of all that go on waiting; nothing when none is wanted.
   */
  due(most: number): Promise<{ readonly rows: readonly ParkedRow[]; readonly others: Blocked }>
  /** Rows that failed while the stream was behind the copy, to be read again. */
  left(): Promise<readonly ParkedRow[]>
  /** Rows of a table that wait or were waived. */
  of(table: string): Promise<readonly string[]>
  /** These are to be read again, as rows that were left. */
  leave(ids: readonly string[]): Promise<void>
  /** These were tried and go on waiting. */
  keep(ids: readonly string[]): Promise<void>
  /** What waits of these tables is to be tried again. */
  again(tables: readonly string[]): Promise<void>
}

export interface Destination {
  /** Takes the pipeline for this process (a new epoch of the writer) and resolves with what is durably applied. */
  open(): Promise<Checkpoint>
  /** For each row of the question, the destination keys of the rows that have this natural key: as the next plan will find them. */
  match(question: MatchQuestion): Promise<readonly (readonly string[])[]>
  /**
   * Tries some of a plan's writes inside the open transaction (begins one if there is none) and leaves no trace of them when it rejects,
   * not even at a constraint that is deferred to the commit. For finding the row that fails; apply() then commits what held.
   * `fragment`: the source transaction goes on after these changes, so what it deletes may only go at its end.
   */
  attempt(parts: readonly Part[], checks: WritePlan['checks'], fragment: boolean): Promise<void>
  /** An attempt for rows that exchange unique values: each gets a value that nobody has before it gets its own. Rejects as attempt() does. */
  exchange(parts: readonly Part[], checks: WritePlan['checks'], fragment: boolean): Promise<void>
  /** Several attempts as one: when `work` resolves with false, or rejects, none of them leaves a trace. Rejects as `work` does. */
  together(work: () => Promise<boolean>): Promise<void>
  /**
   * Rows, ledger, journal, parked rows and checkpoint in one transaction, chained to the checkpoint before it. Resolves when that
   * transaction is durable; for a plan that is not the last of its transaction, when the part is in the open transaction. Up to two may
   * be under way. Rejects with RekeyError (sqlstate set) with nothing applied; with 25P02 where what it continues is not open any more; with STALE when the ledger does not have what the plan relied on.
   */
  apply(plan: WritePlan): Promise<void>
  /** Rolls back what is open: nothing remains of attempts and of parts whose plan was not the last. */
  undo(): Promise<void>
  /** The chunks of the initial copy, made by `make` and kept on the first call; done is true for those that a committed plan completed. */
  chunks(make: () => Promise<readonly CopyChunk[]>): Promise<readonly CopyChunk[]>
}

/** Bytes of one object, or of a range of it, from another bucket of the same store. */
export interface StoredBytes extends ObjectName {
  readonly bucket: string
  readonly etag: string
  readonly range: { readonly from: number; readonly to: number } | null
}

/**
 * Where the bytes of a write come from. Digests (hex) are told beforehand, and the store checks them: some servers keep what arrived of
 * a body that broke off, so a stream without its MD5 may leave a short object behind.
 */
export type ObjectContent =
  | { readonly bytes: Uint8Array; readonly sha256: string }
  | { readonly stream: AsyncIterable<Uint8Array>; readonly size: number; readonly md5: string | null }
  | { readonly stored: StoredBytes }

/** What to read: `etag` is the object that is meant, `range` its bytes, both ends included. */
export interface ObjectRead extends ObjectName {
  readonly etag: string | null
  readonly range: { readonly from: number; readonly to: number } | null
}

/** An object and its bytes, which hold a connection until they are read to their end or cancelled. They may end early: count them. */
export interface ObjectBody {
  readonly info: ObjectInfo
  readonly body: AsyncIterable<Uint8Array>
  cancel(): void
}

/**
 * One bucket, or one folder. Keys are exact bytes. Rejections are RekeyError: OBJECT_MISSING, OBJECT_CHANGED (what `etag` means is no
 * longer there), OBJECT_EXISTS (the condition of a write does not hold), OBJECT_REFUSED (a person must act), OBJECT_CORRUPT (bytes did
 * not arrive whole), STORE_BUSY (slower, please), REMOTE (no answer; a write may have happened all the same).
 */
export interface ObjectStore {
  /** Stores of equal `place` can copy between their buckets by themselves. */
  readonly place: string
  readonly bucket: string
  readonly uploads: ObjectUploads
  /** The object as it is now, or null where there is none (a delete marker is none). */
  head(name: ObjectName): Promise<ObjectInfo | null>
  /** Resolves when the headers are there: the bytes follow while `body` is read, and belong to `info`. */
  read(what: ObjectRead, signal?: AbortSignal): Promise<ObjectBody>
  /** Yields the keys that begin with `prefix` and sort above `after` in UTF-8 order, in pages. Rejects rather than end early. */
  list(prefix: string, after: string | null): AsyncIterable<readonly ListedObject[]>
  /** Resolves when the whole object is durable and visible; before that nothing of it is. Up to 5 GiB. */
  put(target: ObjectTarget, content: ObjectContent, signal?: AbortSignal): Promise<Written>
  /** Resolves with true when that very object was removed, with false when it is not there (any more). */
  remove(key: string, etag: string): Promise<boolean>
}

/** Objects that are written in parts. Nothing of them is visible before finish(). */
export interface ObjectUploads {
  /**
   * Resolves when the upload exists; whoever begins it finishes or aborts it, or remembers it. `fill`: whether its parts are sent, each with
   * its digest, or copied by the store, which may have no digests or wrong ones.
   */
  begin(target: ObjectTarget, fill: 'sent' | 'copied'): Promise<Upload>
  /** An upload begun earlier with the parts that the store has; null when it was finished or aborted. */
  resume(target: ObjectTarget, id: string): Promise<Upload | null>
  /** Resolves when the upload and its parts are gone, also when they were before. */
  abort(key: string, id: string): Promise<void>
  /** Yields the open uploads of keys that begin with `prefix`, those of others too. */
  list(prefix: string): AsyncIterable<readonly OpenUpload[]>
}

export interface Upload {
  readonly id: string
  /** What the store had when this was asked for. */
  readonly parts: readonly UploadedPart[]
  /** Resolves when the store has this part, instead of one of the same number. */
  part(number: number, content: ObjectContent, signal?: AbortSignal): Promise<UploadedPart>
  /** Resolves when the object is visible, made of these parts in this order, the condition of its target held. */
  finish(parts: readonly UploadedPart[]): Promise<Written>
}

/** The jobs of a pipeline's objects. Rows write them (WritePlan.objects); workers, any number in any number of processes, do them. */
export interface ObjectJobs {
  /** Takes jobs that are due: until the lease ends nobody else gets them. Those of a worker that was lost are due when its lease has ended. */
  take(what: { readonly most: number; readonly leaseMs: number }): Promise<readonly ObjectJob[]>
  /** The same for copies whose rows went `graceMs` ago; `approved`: only of those that a person has agreed to. */
  takeLeaving(what: { readonly most: number; readonly leaseMs: number; readonly graceMs: number; readonly approved: boolean }): Promise<readonly ObjectJob[]>
  /** Prolongs the leases of jobs that are under way. */
  renew(jobs: readonly ObjectJob[], leaseMs: number): Promise<void>
  /**
   * Records what became of jobs; what a row or another worker has changed meanwhile is left alone. Rows that waited for an object are due
   * when this resolves.
   */
  settle(results: readonly { readonly job: ObjectJob; readonly result: JobResult }[]): Promise<void>
  readonly listed: ListedJobs
  readonly notes: JobNotes
}

/** What is noted of a job while it is under way, and what all of them have come to. */
export interface JobNotes {
  /** Gives the object its key; false when another object has it. */
  give(job: ObjectJob, newKey: string): Promise<boolean>
  /** An upload in parts that has begun, or is no more: resolves when whoever takes the job next knows of it. */
  begun(job: ObjectJob, upload: BegunUpload | null): Promise<void>
  /** Those of these destination keys whose jobs know of no upload in parts: one that is open there has been left behind. */
  withoutUpload(store: string, keys: readonly string[]): Promise<ReadonlySet<string>>
  /** Counts by state, what is due to be removed, and how long jobs wait. */
  counts(graceMs: number): Promise<JobsSeen>
}

/** Keys that objects would have, as a dry run collects them. */
export interface PlannedKeys {
  /** Objects that have their new keys; each counts once, however often it is named. */
  add(objects: readonly NamedObject[]): Promise<void>
  /** Resolves with how many would find their key taken by another object, and some of the source keys that share one. At the end, once. */
  clashes(samples: number): Promise<{ readonly objects: number; readonly samples: readonly string[] }>
}

/** A prefix of a source store, and the destination store that its objects go to. */
export interface SweptPrefix {
  readonly store: string
  readonly to: string
  readonly prefix: string
}

/** Jobs of prefixes, and of objects that were found by listing them. A listing adds and repairs; it never takes anything away. */
export interface ListedJobs {
  /** Has these prefixes listed, from their beginning, unless that was done less than `everyMs` ago or is under way. */
  sweep(prefixes: readonly SweptPrefix[], everyMs: number): Promise<void>
  /** Jobs for what a page of the listing shows, and the position behind it, in one commit; false when the job is another's by now. */
  found(job: ObjectJob, page: readonly FoundObject[]): Promise<boolean>
  /** Whether all that was found under the directory is verified. */
  isWhole(job: ObjectJob): Promise<boolean>
}
