import type { ConflictRow } from './conflicts-csv.ts'
import type { KeyFault } from './objects/named.ts'

/** What the dry run found of one table: rows = new + adopted + matched + skipped + conflict + orphan + invalid. Keys are COPY text fields. */
export interface TablePlan {
  readonly table: string
  readonly target: string
  readonly context: string
  readonly verdict: string
  rows: number
  new: number
  /** A trigger of the destination makes it when its maker is written, and it becomes ours. */
  adopted: number
  matched: number
  conflict: number
  /** A parent (by a foreign key of the destination) is not there: missing at the source, not carried, or itself in conflict. */
  orphan: number
  /** A value does not have the form that the mapping says. */
  invalid: number
  readonly skipped: Record<string, number>
  /** Source keys, a few of each kind; matched ones with the destination's key. */
  readonly samples: Record<'new' | 'adopted' | 'matched' | 'conflict' | 'orphan' | 'invalid', string[]>
  /** Size at the source with its indexes, as the catalog says. */
  readonly bytes: number
  seconds: number
}

/** What the objects that rows name come to. Objects below directories have no rows, so they are not among them. */
export interface ObjectsPlan {
  readonly objects: number
  readonly directories: number
  /** As the rows say, else by the mean of the sample. */
  readonly bytes: number
  /** Bytes of the longest key after rewriting; 1,024 is the most. */
  readonly longestKey: number
  /** Objects that were asked for at the source, and those of them that are not there. */
  readonly sampled: { readonly objects: number; readonly missing: number }
  /** Objects that would be parked, by the fault of their keys, and a few of the keys. CONFLICT: another object has the new key. */
  readonly faults: Readonly<Record<KeyFault | 'CONFLICT', { readonly objects: number; readonly samples: readonly string[] }>>
}

export interface PlanFile {
  readonly format: 'rekey-plan/1'
  readonly application: string
  readonly mapping: string
  readonly source: { readonly system: string; readonly database: string }
  readonly destination: { readonly system: string; readonly database: string }
  readonly tables: readonly TablePlan[]
  readonly totals: Readonly<Record<'rows' | 'new' | 'adopted' | 'matched' | 'skipped' | 'conflict' | 'orphan' | 'invalid' | 'bytes', number>>
  readonly estimate: Estimate
  /** Absent where the mapping carries no objects. */
  readonly objects?: ObjectsPlan
  readonly conflicts: readonly ConflictRow[]
  /** sha256 over everything else, canonical, hex. Equal data and mapping give an equal digest. */
  readonly digest: string
}

export interface Estimate {
  readonly assumption: typeof ONE_COPY_STREAM
  readonly seconds: number
}

/**
 * What one copy stream does with keys, indexes and foreign keys in place on two cores: measured with rows of about 370 bytes. Two streams
 * are about half as fast again. A narrow table is bound by its rows, a wide one by its bytes.
 */
export const ONE_COPY_STREAM = { name: 'one copy stream, two cores, foreign keys on', rowsPerSecond: 46_000,
  bytesPerSecond: 17_000_000 } as const

export function secondsFor(rows: number, bytes: number): number {
  return Math.ceil(Math.max(rows / ONE_COPY_STREAM.rowsPerSecond, bytes / ONE_COPY_STREAM.bytesPerSecond))
}

/** JSON with sorted members and no spaces: equal values, equal text. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).filter(([, v]) => v !== undefined).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([key, v]) => `${JSON.stringify(key)}:${canonical(v)}`).join(',')}}`
}

export function totalsOf(tables: readonly TablePlan[]): PlanFile['totals'] {
  const sum = (of: (t: TablePlan) => number): number => tables.reduce((all, t) => all + of(t), 0)
  return {
    rows: sum((t) => t.rows), new: sum((t) => t.new), adopted: sum((t) => t.adopted), matched: sum((t) => t.matched), conflict: sum((t) => t.conflict),
    orphan: sum((t) => t.orphan), invalid: sum((t) => t.invalid), bytes: sum((t) => t.bytes),
    skipped: sum((t) => Object.values(t.skipped).reduce((all, n) => all + n, 0)),
  }
}
