import { RekeyError } from './errors.ts'
import type { Mapping, TableRule } from './mapping.ts'
import type { Decision } from './plan.ts'
import type { Minters } from './program.ts'
import { nameOf } from './relation.ts'
import { escapeField, unescapeField } from './row.ts'

export const ACTIONS = ['import', 'map', 'merge', 'rename', 'placeholder', 'drop'] as const
export type Action = (typeof ACTIONS)[number]

/** A row that a person must decide about. Keys are COPY text fields, joined by tabs where they are composite. */
export interface ConflictRow {
  readonly table: string
  readonly source_key: string
  readonly target_key: string
  readonly reason: string
  readonly evidence: string
  readonly recommended_action: Action
}

export const CSV_COLUMNS = ['table', 'source_key', 'target_key', 'reason', 'evidence', 'recommended_action', 'action'] as const

/** The file conflicts.csv (RFC 4180): people fill `action`, and `target_key` where the action needs one; the rest is not edited. */
export function conflictsCsv(conflicts: readonly ConflictRow[]): string {
  const lines = conflicts.map((c) => [c.table, c.source_key, c.target_key, c.reason, c.evidence, c.recommended_action, ''])
  return [CSV_COLUMNS, ...lines].map((line) => line.map(cell).join(',')).join('\r\n').concat('\r\n')
}

function cell(text: string): string {
  return /[",\r\n\t]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/**
 * Records with the line on which each begins. Cells are apart by commas, or by semicolons where the first line has those alone, as
 * spreadsheets write it in countries with decimal commas. Throws RangeError with the line of a quote that does not end.
 */
export function parseCsv(text: string): { line: number; cells: string[] }[] {
  const [first] = text.split('\n', 1)
  const apart = first.includes(';') && !first.includes(',') ? ';' : ','
  const records: { line: number; cells: string[] }[] = []
  let at = text.startsWith('\uFEFF') ? 1 : 0
  let line = 1
  while (at < text.length) {
    const record = { line, cells: [] as string[] }
    for (;;) {
      let value = ''
      if (text[at] === '"') {
        const from = line
        for (at++; text[at] !== '"' || text[at + 1] === '"'; at++) {
          if (at >= text.length) throw new RangeError(`${from}`)
          if (text[at] === '"') at++
          if (text[at] === '\n') line++
          value += text[at]
        }
        at++
      }
      while (at < text.length && text[at] !== apart && text[at] !== '\n' && text[at] !== '\r') value += text[at++]
      record.cells.push(value)
      if (text[at] !== apart) break
      at++
    }
    if (text[at] === '\r') at++
    if (text[at] === '\n') at++
    line++
    if (record.cells.length > 1 || record.cells[0] !== '') records.push(record)
  }
  return records
}

export interface DecideOptions {
  /** What the dry run found: plan.json. */
  readonly conflicts: readonly ConflictRow[]
  readonly mapping: Mapping
  readonly minters: Minters
}

/**
 * The decisions of an edited conflicts.csv, for the ledger, before a run. Throws CONFIG with every fault by its line, and UNDECIDED while
 * a conflict has no action.
 */
export function decisionsFromCsv(csv: string, options: DecideOptions): Decision[] {
  const faults: string[] = []
  const records = recordsOf(csv, faults)
  const known = new Map(options.conflicts.map((c) => [idOf(c.table, c.source_key), c]))
  const open = new Map(known)
  const decisions: Decision[] = []
  for (const { line, cells } of records) {
    const say = (text: string): void => void faults.push(`conflicts.csv:${line}: ${text}`)
    const [table, key, target, reason, evidence, recommended, action] = cells.map((c, i) => (i === 6 ? c.trim().toLowerCase() : c))
    const conflict = known.get(idOf(table, key))
    if (cells.length !== CSV_COLUMNS.length) say(`${cells.length} columns instead of ${CSV_COLUMNS.length}`)
    else if (!conflict) say('the plan has no such conflict; table and source_key are not to be edited')
    else if (!open.has(idOf(table, key)) && action !== '') say('this row was decided in a line above')
    else if (conflict.reason !== reason || conflict.evidence !== evidence || conflict.recommended_action !== recommended) {
      say('only target_key and action may be edited')
    } else if (action !== '') {
      open.delete(idOf(table, key))
      const made = decide({ conflict, action, target: target.trim() === '' ? conflict.target_key : target }, options)
      if (typeof made === 'string') say(made)
      else decisions.push(made)
    }
  }
  if (faults.length > 0) throw new RekeyError('CONFIG', faults.join('\n'))
  if (open.size > 0) throw new RekeyError('UNDECIDED', undecided(open.values(), known.size))
  return decisions
}

function idOf(table: string | undefined, key: string | undefined): string {
  return `${table}\n${key}`
}

function recordsOf(csv: string, faults: string[]): { line: number; cells: string[] }[] {
  try {
    const [head, ...records] = parseCsv(csv)
    if (head?.cells.join(',') === CSV_COLUMNS.join(',')) return records
    faults.push(`conflicts.csv:1: the first line must be ${CSV_COLUMNS.join(',')}`)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    faults.push(`conflicts.csv:${error.message}: a quote that does not end`)
  }
  return []
}

function undecided(open: Iterable<ConflictRow>, all: number): string {
  const tables = new Map<string, number>()
  let n = 0
  for (const { table } of open) {
    tables.set(table, (tables.get(table) ?? 0) + 1)
    n++
  }
  return `${n} of ${all} conflicts have no action: ${[...tables].map(([table, count]) => `${table} (${count})`).join(', ')}`
}

interface Said {
  readonly conflict: ConflictRow
  readonly action: string
  readonly target: string
}

/** The decision, or what is wrong with it. */
function decide({ conflict, action, target }: Said, { mapping, minters }: DecideOptions): Decision | string {
  if (!ACTIONS.includes(action as Action)) return `unknown action ${JSON.stringify(action)}; one of ${ACTIONS.join(', ')}`
  const rule = mapping.tables.get(conflict.table)
  if (!rule) return `the mapping has no table ${conflict.table}`
  if (!rule.ledger) {
    return `rows of ${conflict.table} are never decided one by one; declare \`rename\` or \`merge\` in the mapping, ` +
      'or change the destination\'s row'
  }
  const base = { entity: rule.entity ?? nameOf(rule.source), key: rawOf(conflict.source_key), evidence: conflict.evidence }
  const needs = action === 'map' || action === 'merge' || action === 'placeholder'
  if (needs && target === '') return `${action} needs a target_key`
  if (needs && target.split('\t').length !== rule.targetKey.length) {
    return `target_key must have ${rule.targetKey.length} values (${rule.targetKey.join(', ')}), joined by tabs`
  }
  if (action === 'merge') return { ...base, id: rawOf(target), kind: 'merged', rule: 'decided: merge' }
  if (needs) return { ...base, id: rawOf(target), kind: 'pinned', rule: `decided: ${action}` }
  const own = mintedId(rule, base.key, minters)
  if (action === 'drop') return { ...base, id: own ?? '', kind: 'pinned', rule: DROPPED }
  if (action === 'rename' && rule.rename.length === 0) {
    return `say which column gets a suffix in the mapping, \`rename\` of ${conflict.table}, and run \`rekey plan\` again`
  }
  return own === null ? `rows of ${conflict.table} have no id of their own: map, merge, placeholder or drop`
    : { ...base, id: own, kind: 'inserted', rule: `decided: ${action}` }
}

/** Rows that a person chose not to carry. */
export const DROPPED = 'decided: drop'

function mintedId({ entity }: TableRule, key: string, minters: Minters): string | null {
  const minter = entity === null ? undefined : minters.get(entity)
  const id = minter?.mint(unescapeField(Buffer.from(key, 'latin1')).toString('utf8')) ?? null
  return id === null ? null : escapeField(Buffer.from(id, 'utf8')).toString('latin1')
}

/** The ledger's spelling (bytes as latin1) of a key as files show it. */
export function rawOf(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

export function textOf(raw: string): string {
  return Buffer.from(raw, 'latin1').toString('utf8')
}
