import type { Transaction } from '../core/change.ts'
import type { RekeyError } from '../core/errors.ts'
import { passedAt } from '../core/heartbeat.ts'
import type { Lsn } from '../core/lsn.ts'
import type { RowObjects } from '../core/objects/named.ts'
import type { Mapping } from '../core/mapping.ts'
import type { Blocked } from '../core/parking.ts'
import type { Checkpoint, Decision, Parked, Part, Totals, WritePlan } from '../core/plan.ts'
import { type ProofBook, releaseWrites } from '../core/write.ts'
import type { Relation } from '../core/relation.ts'
import type { Planned, Planner } from '../planning/planner.ts'
import type { Refused } from '../planning/refused.ts'
import type { ChangeLog, Destination, ParkedRows, Source } from '../ports.ts'

/** A partition among others: what its delivery knows of them. */
export interface Lane {
  readonly partition: number
  /** Positions of all partitions, in order, its own among them. */
  positions(): Promise<readonly Lsn[]>
  /** For a moment. Rejects with Stopped when nobody wants to go on. */
  rest(): Promise<void>
}

export interface DeliverOptions {
  readonly log: Pick<ChangeLog, 'read' | 'ack'>
  readonly destination: Destination
  readonly planner: Planner
  readonly mapping: Mapping
  readonly checkpoint: Checkpoint
  readonly batch: { readonly rows: number; readonly bytes: number; readonly inFlight: number }
  readonly parked: ParkedRows
  /** The carried tables in their present shape, for parked rows that are tried again. */
  readonly relations: ReadonlyMap<string, Relation>
  readonly care: Care
  /** Commit LSN from which on the initial copy is passed; before it, new rows may be there already. Known from a marker: see capture. */
  readonly convergeAt: (messages: readonly string[], commitLsn: Lsn) => Lsn | null
  readonly onApplied: (applied: Applied) => void
  /** The transactions of a batch that is committed; of one in fragments only its last ones. Their rows are valid until it returns. */
  readonly onCommitted?: (transactions: readonly Transaction[]) => void
  /** So many transactions came again that were applied before. */
  readonly onRepeated: (transactions: number) => void
  /** A batch has to be done again: for its SQLSTATE, or a code of ours where there is none. */
  readonly onRetry: (reason: string) => void
  readonly point: (name: string) => Promise<void>
  readonly readSource: Source['read']
  /** Resolves when a reader of the source sees these transactions: the stream may have them before they are visible there. */
  readonly visible: (xids: readonly number[]) => Promise<void>
  /** The stream has passed the copy, and nothing is left to be read again. */
  readonly passedCopy?: () => Promise<void>
  /** Sends a marker through the stream behind everything that was read of the source so far: convergeAt tells when it comes. */
  readonly mark: () => Promise<void>
  readonly now: () => number
  /** Set where changes are spread over partitions and this is the delivery of one of them. */
  readonly lane?: Lane
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>
}

export interface Applied {
  readonly checkpoint: Checkpoint
  readonly transactions: number
  readonly rows: number
  /** Of the source's rows, as they wait in memory. */
  readonly bytes: number
  /** From the start of the batch to its commit. */
  readonly seconds: number
  /** Newest moment of the source, by its own clock, up to which all is applied: seconds since 1970; null when nothing tells. */
  readonly passed: number | null
  /** Rows that wait now and did not before; negative when some of those that waited went through. */
  readonly parked: number
  /** Commit time of the newest transaction, microseconds since the epoch; 0 when the batch has none. */
  readonly commitMicros: number
}

/** What earlier tries have taught. */
export interface Care extends Refused {
  /** Transactions up to this commit LSN are applied change by change: one of them failed when it was applied as a whole. */
  readonly until: Lsn
  /** Rows that must stay where they are, for others point at them: known only at the end of a transaction in fragments. */
  readonly refused: ReadonlySet<string>
}

export const NO_CARE: Care = { until: 0n, refused: new Set() }

/** A source transaction failed after parts of it were sent on: the stream must begin again at the checkpoint, with care. */
export class RestartStream extends Error {
  readonly care: Care

  constructor(message: string, care: Partial<Care>, cause?: unknown) {
    super(message, { cause })
    this.care = { ...NO_CARE, ...care }
  }
}

export function moreCare(before: Care, { care }: RestartStream): Care {
  return { until: care.until > before.until ? care.until : before.until, refused: new Set([...before.refused, ...care.refused]) }
}

export interface Flight {
  readonly transactions: readonly Transaction[]
  readonly decisions: readonly Decision[]
  readonly next: Checkpoint
  readonly parked: number
  readonly parts: readonly Part[]
  /** When it was begun, by the clock of `now`. */
  readonly began: number
  readonly done: Promise<RekeyError | null>
}

/** What a delivery knows of itself: the one mutable record of the stage. */
export interface State {
  /** What the destination has. */
  committed: Checkpoint
  /** What it will have when all flights have landed. */
  chain: Checkpoint
  blocked: Blocked
  /** Parts of a source transaction were sent that is not complete. */
  midway: boolean
  /** Parents that its rows were found to need so far and that are not proven yet. */
  book: ProofBook
  /** Rows were left while the stream was behind the copy; how often they were read again. */
  left: boolean
  rounds: number
  /** Source transactions that were applied last. */
  recent: number[]
  /** What the open transaction at the destination holds of fragments that came before. */
  landed: Landed
  /** Positions of the other partitions as they were seen last. */
  others: readonly Lsn[] | null
  /** When transactions came that go alone, by the clock of `now`: the last ones. */
  alone: readonly number[]
  /** When parked rows were last looked at, by the clock of `now`. */
  lookedAt: number
  /** What was found so far in a transaction that is applied carefully, fragment by fragment. */
  partial: Unfinished | null
}

export async function beginState({ checkpoint, parked }: Pick<DeliverOptions, 'checkpoint' | 'parked'>): Promise<State> {
  return {
    committed: checkpoint, chain: checkpoint, blocked: await parked.waiting(), lookedAt: 0, midway: false, book: new Map(), partial: null,
    left: true, rounds: 0, recent: [], landed: nothingLanded(), others: null, alone: [],
  }
}

/** Whole transactions, rows and bytes. */
export interface Landed {
  transactions: number
  rows: number
  bytes: number
}

export function nothingLanded(): Landed {
  return { transactions: 0, rows: 0, bytes: 0 }
}

/** A source transaction of which not all fragments have come yet. */
export interface Unfinished {
  readonly totals: Record<string, Totals>
  parked: Parked[]
  readonly objects: RowObjects[]
  /** Parked rows of earlier transactions, by id, that a truncate of their table took along: their tables. */
  readonly retired: Map<string, string>
}

export function converging(transactions: readonly Transaction[], checkpoint: Checkpoint): boolean {
  return checkpoint.convergeLsn === 0n || transactions[0].commitLsn <= checkpoint.convergeLsn
}

export function nextCheckpoint(transactions: readonly Transaction[], from: Checkpoint, options: DeliverOptions): Checkpoint {
  const final = transactions.findLast((t) => t.last)
  if (!final) return from
  let { convergeLsn } = from
  if (convergeLsn === 0n) for (const t of transactions) convergeLsn = options.convergeAt(t.messages, t.commitLsn) ?? convergeLsn
  return { ...from, epoch: final.epoch, commitLsn: final.commitLsn, endLsn: final.endLsn, convergeLsn, phase: 'stream' }
}

export interface PlanInput {
  readonly planned: Pick<Planned, 'parts' | 'checks' | 'rows' | 'objects'>
  readonly decisions: readonly Decision[]
  readonly before: Checkpoint
  readonly next: Checkpoint
  readonly last: boolean
  readonly continues?: boolean
  readonly parked?: WritePlan['parked']
}

export function planOf({ planned, decisions, before, next, last, continues = false, parked = [] }: PlanInput): WritePlan {
  const { epoch, commitLsn, endLsn, convergeLsn, phase } = next
  return {
    parts: planned.parts, decisions, parked, unparked: [], before: before.commitLsn, after: { epoch, commitLsn, endLsn, convergeLsn, phase },
    totals: next.totals, chunk: null, last, continues, checks: planned.checks, rows: planned.rows, objects: planned.objects,
  }
}

/** More than can be on their way from the source's log to its readers. */
const RECENT = 10_000

/** A batch, or a fragment of a transaction, is at the destination: true when it is committed, too. */
export function arrive(transactions: readonly Transaction[], { landed }: State): boolean {
  for (const { changes, bytes, last } of transactions) {
    if (last) landed.transactions++
    landed.rows += changes.length
    landed.bytes += bytes
  }
  return transactions.at(-1)!.last
}

export function accept(flight: Flight, options: DeliverOptions, state: State): void {
  options.planner.decisions.committed(flight.decisions)
  for (const part of flight.parts) releaseWrites(part.writes)
  if (!arrive(flight.transactions, state)) return
  options.onCommitted?.(flight.transactions)
  state.committed = flight.next
  for (const { xid } of flight.transactions) if (xid !== 0) state.recent.push(xid)
  if (state.recent.length > 2 * RECENT) state.recent = state.recent.slice(-RECENT)
  options.log.ack(flight.next.endLsn)
  options.onApplied({
    checkpoint: flight.next, parked: flight.parked, ...state.landed,
    commitMicros: flight.transactions.at(-1)!.commitMicros, passed: passedAt(flight.transactions).seconds,
    seconds: (options.now() - flight.began) / 1e3,
  })
  state.landed = nothingLanded()
}

