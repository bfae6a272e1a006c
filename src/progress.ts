import { lagOf } from './core/lag.ts'
import { jobTotals, objectSpeed, type ObjectProgress } from './core/objects/job.ts'
import { formatLsn, type Lsn } from './core/lsn.ts'
import type { Checkpoint, Totals } from './core/plan.ts'
import { nameOf } from './core/relation.ts'
import { every } from './clock.ts'
import type { Meter } from './meter.ts'
import type { Opened } from './pipeline/open.ts'

export interface Progress {
  readonly phase: 'starting' | 'snapshot' | 'stream' | 'mirror' | 'draining'
  readonly tables: readonly { readonly table: string; readonly copied: number; readonly estimate: number; readonly finished: boolean }[]
  readonly totals: Readonly<Record<string, Totals>>
  readonly rowsPerSecond: number
  /** How long the oldest commit that is not applied yet waits, about; 0 when everything known is applied; null before any. */
  readonly lagSeconds: number | null
  readonly lagBytes: number | null
  readonly parked: number
  readonly position: string
  /** Null without objects. */
  readonly objects: ObjectProgress | null
}

export interface Note {
  readonly level: 'info' | 'warn'
  readonly event: string
  readonly text: string
}

export interface RunEvents {
  progress(progress: Progress): void
  note(note: Note): void
  /** Told everything beside it. */
  readonly meter?: Partial<Meter>
}

const TICK_MS = 250

/** Keeps count of a run and tells about it four times a second. */
export function startMeter({ catalogs, mapping, source, config }: Pick<Opened, 'catalogs' | 'mapping' | 'source' | 'config'>,
  events: RunEvents, first: Progress['phase'] = 'starting'): Partial<Meter> {
  const tables = new Map([...mapping.tables.values()].filter((rule) => rule.verdict === 'move' || rule.verdict === 'merge').map((rule) => {
    const table = catalogs.source.tables.find((t) => nameOf(t) === nameOf(rule.source))
    return [nameOf(rule.source), { copied: 0, estimate: Math.max(0, table?.rowsEstimate ?? 0), open: 1 }]
  }))
  const rates = rateMeter()
  let phase = first
  let checkpoint: Checkpoint | null = null
  let parked = 0
  const lag = lagOf(2 * config.heartbeat + 1_000)
  let asking = false
  let objects: ObjectProgress | null = null
  const speed = objectSpeed()
  const progress = (): Progress => ({
    phase, parked, rowsPerSecond: rates.perSecond(), totals: checkpoint?.totals ?? {}, position: formatLsn(checkpoint?.commitLsn ?? 0n),
    tables: [...tables].map(([table, { copied, estimate, open }]) => ({ table, copied, estimate: Math.max(copied, estimate),
      finished: open === 0 })),
    objects,
    lagBytes: lag.bytes(), lagSeconds: lag.seconds(Date.now()),
  })
  const stopTicking = every(TICK_MS, () => events.progress(progress()))
  const stopAsking = every(1_000, () => {
    if (asking || phase !== 'stream') return
    asking = true
    source.query("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::text")
      .then(([[lsn]]) => lag.sampled(BigInt(lsn!), Date.now()), () => {}).finally(() => (asking = false))
  })
  const came: Meter['read'] = (transactions) => lag.read(transactions.at(-1)?.commitLsn ?? 0n, Date.now())
  return {
    copying(chunks) {
      phase = 'snapshot'
      for (const [name, table] of tables) table.open = chunks.filter((c) => !c.done && nameOf(c.table) === name).length
    },
    copied({ table, pass, rows, finished }) {
      const one = tables.get(table)!
      if (pass === 1) one.copied += rows
      if (finished) one.open--
      rates.add(rows)
    },
    streaming(at) {
      phase = 'stream'
      checkpoint = at
      lag.from(at)
      for (const table of tables.values()) table.open = 0
    },
    read: came,
    consumed: came,
    applied(applied) {
      checkpoint = applied.checkpoint
      // Rows that wait since an earlier run are not counted here.
      parked = Math.max(0, parked + applied.parked)
      lag.applied(applied.checkpoint, applied.commitMicros, Date.now())
      rates.add(applied.rows)
    },
    objects({ counts }) {
      if (mapping.stores.size > 0) objects = speed(jobTotals(counts), performance.now())
    },
    stop() {
      stopTicking()
      stopAsking()
      events.progress(progress())
    },
  }
}

/** The same of a process that only captures: it knows how far it has read, and nothing of the destination. */
export function startCaptureMeter(events: RunEvents): Partial<Meter> & Pick<Meter, 'read' | 'stop'> & { commitLsn(): Lsn } {
  const rates = rateMeter()
  let commitLsn: Lsn = 0n
  const progress = (): Progress => ({
    phase: commitLsn === 0n ? 'starting' : 'stream', tables: [], totals: {}, rowsPerSecond: rates.perSecond(), lagSeconds: null, lagBytes: null,
    parked: 0, position: formatLsn(commitLsn), objects: null,
  })
  const stopTicking = every(TICK_MS, () => events.progress(progress()))
  return {
    read(transactions) {
      commitLsn = transactions.at(-1)?.commitLsn ?? commitLsn
      rates.add(transactions.reduce((n, t) => n + t.changes.length, 0))
    },
    commitLsn: () => commitLsn,
    stop() {
      stopTicking()
      events.progress(progress())
    },
  }
}

/** Rows a second over the last few seconds. */
function rateMeter(): { add(rows: number): void; perSecond(): number } {
  let samples: { at: number; rows: number }[] = []
  return {
    add: (rows) => void samples.push({ at: performance.now(), rows }),
    perSecond() {
      const now = performance.now()
      samples = samples.filter(({ at }) => now - at < 3_000)
      if (samples.length === 0) return 0
      const span = Math.max(500, now - samples[0].at)
      return Math.round((samples.reduce((sum, { rows }) => sum + rows, 0) * 1_000) / span)
    },
  }
}

