import type { Totals } from '../core/plan.ts'
import { addTotals, noTotals, skippedOf } from '../core/totals.ts'
import type { ObjectProgress } from '../core/objects/job.ts'
import type { Progress } from '../progress.ts'
import { counted, fit, formatBytes, formatCount, formatSeconds, plain } from './text.ts'

export interface Room {
  readonly columns: number
  readonly rows: number
}

const BAR = 20

/**
 * The live view of a run: a line that says how it goes, then the tables of the copy with a bar each (those under way first, as many as
 * there is room for), or what has become of the rows once the stream runs. No line is longer than the room.
 */
export function progressLines(progress: Progress, room: Room): string[] {
  const lines = [headline(progress)]
  if (progress.phase === 'snapshot') lines.push(...tableLines(progress.tables, room))
  const all = totalOf(progress.totals)
  if (all.read > 0) lines.push(`  ${totalsText(all)}`)
  if (progress.objects) lines.push(`  ${objectsText(progress.objects)}`)
  return lines.map((line) => fit(plain(line), Math.max(1, room.columns - 1)))
}

function headline(p: Progress): string {
  const parts: string[] = [p.phase]
  const share = copiedShare(p)
  if (p.phase === 'snapshot' && share !== null) parts[0] += ` ${percent(share).trim()}`
  if (p.phase !== 'starting') parts.push(`${formatCount(p.rowsPerSecond)} rows/s`)
  const lag = lagText(p)
  if (lag !== '') parts.push(`lag ${lag}`)
  parts.push(`parked ${formatCount(p.parked)}`)
  if (p.position !== '') parts.push(`at ${p.position}`)
  return parts.join(' · ')
}

function lagText({ lagSeconds, lagBytes }: Progress): string {
  const texts = [lagSeconds === null ? '' : formatSeconds(lagSeconds), lagBytes === null ? '' : formatBytes(lagBytes)]
  return texts.filter((text) => text !== '').join(', ')
}

type TableProgress = Progress['tables'][number]

function tableLines(tables: Progress['tables'], room: Room): string[] {
  const rank = (t: TableProgress): number => (t.finished ? 2 : t.copied > 0 ? 0 : 1)
  const sorted = [...tables].sort((a, b) => rank(a) - rank(b))
  const most = Math.max(1, room.rows - 5)
  const shown = sorted.length <= most ? [...tables] : sorted.slice(0, most - 1)
  const width = Math.min(40, Math.max(0, ...shown.map(({ table }) => table.length)))
  const lines = shown.map((t) => `  ${fit(t.table, width).padEnd(width)}  ${bar(shareOf(t))}  ${shareText(t)}`)
  const rest = sorted.slice(shown.length)
  const done = rest.filter((t) => t.finished).length
  if (rest.length > 0) lines.push(`  and ${counted(rest.length, 'more table')}, ${formatCount(done)} of them done`)
  return lines
}

/** An estimate may be too low: until a table is finished it never shows as full. */
function shareOf({ copied, estimate, finished }: TableProgress): number {
  if (finished) return 1
  return estimate > 0 ? Math.min(0.99, copied / estimate) : 0
}

function bar(share: number): string {
  const full = Math.floor(share * BAR)
  return `[${'█'.repeat(full)}${'░'.repeat(BAR - full)}]`
}

function shareText(t: TableProgress): string {
  if (t.finished) return `done  ${counted(t.copied, 'row')}`
  if (t.copied === 0 && t.estimate === 0) return 'waiting'
  return `${percent(shareOf(t))}  ${formatCount(t.copied)} of about ${formatCount(Math.max(t.estimate, t.copied))}`
}

function percent(share: number): string {
  return `${Math.floor(share * 100)} %`.padStart(5)
}

/** The share of the rows that is copied, by the estimates; null when there is nothing to go by. */
export function copiedShare({ tables }: Progress): number | null {
  let copied = 0
  let all = 0
  for (const t of tables) {
    copied += t.copied
    all += t.finished ? t.copied : Math.max(t.estimate, t.copied)
  }
  if (all === 0) return null
  return tables.every((t) => t.finished) ? 1 : Math.min(0.99, copied / all)
}

export function totalOf(totals: Readonly<Record<string, Totals>>): Totals {
  const sum: Record<string, Totals> = { all: noTotals() }
  for (const t of Object.values(totals)) addTotals(sum, { all: t })
  return sum.all
}

/** `read 10 = inserted 4 + updated 3 + …`: outcomes that did not occur are left out. */
export function totalsText(t: Totals): string {
  const parts: [string, number][] = [
    ['inserted', t.inserted], ['updated', t.updated], ['merged', t.merged], ['deleted', t.deleted],
    ['skipped', skippedOf(t)], ['parked', t.parked],
  ]
  const met = parts.filter(([, n]) => n > 0).map(([name, n]) => `${name} ${formatCount(n)}`)
  return `read ${formatCount(t.read)}${met.length > 0 ? ` = ${met.join(' + ')}` : ''}`
}

/** `objects 3 of 10, 1.2 MB of 4.0 MB, 2 MB/s, 12 s left; 1 parked`. */
export function objectsText(o: ObjectProgress): string {
  const speed = o.waiting > 0 && o.bytesPerSecond > 0 ? `, ${formatBytes(o.bytesPerSecond)}/s` : ''
  const left = o.waiting > 0 && o.etaSeconds !== null ? `, ${formatSeconds(o.etaSeconds)} left` : ''
  const others = [[o.parked, 'parked'], [o.leaving, 'to be removed']].filter(([n]) => Number(n) > 0).map(([n, what]) => `${formatCount(Number(n))} ${what}`)
  const bytes = o.bytes > 0 ? `, ${formatBytes(o.bytesDone)} of ${formatBytes(o.bytes)}` : ''
  return `objects ${formatCount(o.done)} of ${formatCount(o.total - o.leaving)}${bytes}${speed}${left}${others.length > 0 ? `; ${others.join(', ')}` : ''}`
}

/** One sentence for a log. */
export function progressText(p: Progress): string {
  if (p.phase === 'snapshot') {
    const done = p.tables.filter((t) => t.finished).length
    const rows = p.tables.reduce((n, t) => n + t.copied, 0)
    const share = copiedShare(p)
    const about = share === null ? '' : ` (about ${Math.floor(share * 100)} %)`
    const tables = `${done} of ${counted(p.tables.length, 'table')} done`
    return `copying: ${tables}, ${counted(rows, 'row')}${about}, ${formatCount(p.rowsPerSecond)} rows/s${p.objects ? `; ${objectsText(p.objects)}` : ''}`
  }
  const lag = lagText(p)
  const words = { starting: 'starting', stream: 'streaming', mirror: 'carrying objects', draining: 'draining' }[p.phase]
  const objects = p.objects ? `; ${objectsText(p.objects)}` : ''
  if (p.phase === 'mirror') return `${words}${objects}`
  return `${words}: ${formatCount(p.rowsPerSecond)} rows/s${lag === '' ? '' : `, lag ${lag}`}, parked ${formatCount(p.parked)}${objects}`
}

/** The members of a log line. */
export function progressFields(p: Progress): Record<string, unknown> {
  const { phase, lagSeconds, lagBytes, parked, position } = p
  const rowsPerSecond = Math.round(p.rowsPerSecond)
  const tables = p.phase === 'snapshot'
    ? { copied: p.tables.reduce((n, t) => n + t.copied, 0), tables: p.tables.length, tablesDone: p.tables.filter((t) => t.finished).length }
    : {}
  return { event: 'progress', phase, ...tables, read: totalOf(p.totals).read, rowsPerSecond, lagSeconds, lagBytes, parked, position, ...(p.objects && { objects: p.objects }) }
}

export interface Logged {
  readonly at: number
  readonly phase: string
  readonly parked: number
}

export const LOG_EVERY_MS = 5_000

/** A line every five seconds (times in milliseconds), and at once when the phase changes or another row was parked. */
export function isWorthLogging(last: Logged | null, progress: Pick<Progress, 'phase' | 'parked'>, now: number): boolean {
  return last === null || progress.phase !== last.phase || progress.parked !== last.parked || now - last.at >= LOG_EVERY_MS
}
