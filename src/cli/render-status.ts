import { skippedOf } from '../core/totals.ts'
import { objectsText } from './progress.ts'
import type { ClosedTotals, SlotStatus, Status } from './status.ts'
import { counted, formatBytes, formatCount, formatSeconds, plain, renderTable, type TextColumn } from './text.ts'

export function renderStatus(status: Status): string {
  const lines = [`pipeline  ${status.pipeline}: ${stateText(status)}`, `source    deployment ${status.deployment}`]
  if (status.position !== null) lines.push(`position  ${status.position}, written ${status.updatedAt}`)
  if (status.lag) lines.push(`lag       ${lagText(status.lag)}`)
  if (status.slot) lines.push(`slot      ${slotText(status.slot)}`)
  if (status.topic) lines.push(`topic     ${status.topic.name}, id ${status.topic.id}`)
  for (const { partition, position, lagBytes, member } of status.partitions) {
    lines.push(`partition ${partition}: ${position}, ${lagBytes === 0 ? 'nothing' : formatBytes(lagBytes)} behind, ${member === null ? 'applied by nobody' : `applied by ${member.slice(0, 8)}`}`)
  }
  if (status.united !== null) lines.push(`together  partition ${status.united}'s process applies all of them, in the order of the source`)
  const { done, open, rows } = status.chunks
  if (done + open > 0) lines.push(`copy      ${formatCount(done)} of ${counted(done + open, 'chunk')} done, ${counted(rows, 'row')}`)
  const { waiting, retry, waived, left, reasons } = status.parked
  if (status.state !== 'not started' || waiting + retry + waived + left > 0) {
    const again = left > 0 ? `, ${formatCount(left)} to be read again by the stream` : ''
    lines.push(`parked    ${formatCount(waiting)} waiting, ${formatCount(retry)} to be tried again, ${formatCount(waived)} waived${again}`)
  }
  if (status.objects) lines.push(`objects   ${objectsText({ ...status.objects, objectsPerSecond: 0, bytesPerSecond: 0, etaSeconds: null }).replace(/^objects /, '')}`)
  if (status.deadLetters > 0) lines.push(`log       ${counted(status.deadLetters, 'record')} in rekey.dead_letter`)
  for (const text of status.warnings) lines.push(`warning   ${plain(text)}`)
  if (reasons.length > 0) lines.push('', ...reasonTable(reasons))
  if (Object.keys(status.tables).length > 0) lines.push('', ...totalsTable(status.tables, status.totals))
  return `${lines.join('\n')}\n`
}

function lagText({ bytes, seconds }: NonNullable<Status['lag']>): string {
  return bytes === 0 ? 'none' : `${formatBytes(bytes)} of WAL, last commit ${formatSeconds(seconds)} ago`
}

function stateText({ state, phase, writer, chunks }: Status): string {
  if (state === 'not started') return 'not started'
  const copied = chunks.open === 0 && chunks.done > 0
  const doing = phase === 'stream' ? 'streaming' : phase !== 'snapshot' ? 'starting' : copied ? 'copied' : 'copying'
  if (state === 'stopped') return `stopped while ${doing}`
  const since = writer?.sinceSeconds == null ? '' : ` for ${formatSeconds(writer.sinceSeconds)}`
  return `running${since}, ${doing} (process ${writer?.pid} at the destination)`
}

function slotText(slot: SlotStatus): string {
  const parts = [slot.health === 'ok' ? (slot.active ? 'being read' : 'not being read') : slot.health]
  if (slot.walStatus !== null) parts.push(`WAL ${slot.walStatus}`)
  if (slot.retainedBytes !== null) parts.push(`holds ${formatBytes(slot.retainedBytes)} back`)
  if (slot.safeBytes !== null) parts.push(`${formatBytes(slot.safeBytes)} left before it may be lost`)
  return `${slot.name}: ${parts.join(', ')}`
}

function reasonTable(reasons: Status['parked']['reasons']): string[] {
  const columns: TextColumn[] = [
    { title: 'PARKED IN' }, { title: 'STATE' }, { title: 'SQLSTATE' }, { title: 'ROWS', align: 'right' }, { title: 'REASON' },
  ]
  return renderTable(columns, reasons.map((r) => [r.table, r.state, r.sqlstate, formatCount(r.rows), r.reason]))
}

const NUMBERS = ['READ', 'INSERTED', 'UPDATED', 'MERGED', 'DELETED', 'SKIPPED', 'PARKED']

/** One line a table; the last column says whether read is the sum of all others. */
export function totalsTable(tables: Readonly<Record<string, ClosedTotals>>, all: ClosedTotals): string[] {
  const columns: TextColumn[] = [{ title: 'TABLE' }, ...NUMBERS.map((title) => ({ title, align: 'right' as const })), { title: 'CLOSES' }]
  const row = (name: string, t: ClosedTotals): string[] => {
    const numbers = [t.read, t.inserted, t.updated, t.merged, t.deleted, skippedOf(t), t.parked]
    return [name, ...numbers.map(formatCount), t.closes ? '✓' : '✗ DOES NOT CLOSE']
  }
  const rows = Object.entries(tables).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, t]) => row(name, t))
  return renderTable(columns, [...rows, row('all', all)])
}
