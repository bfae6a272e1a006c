import { keyOf } from '../core/coalesce.ts'
import type { RenameRule } from '../core/mapping.ts'
import { Lines } from '../core/out.ts'
import { ledgerName, renameName, type Program } from '../core/program.ts'
import { writeColumns } from '../core/rekey.ts'
import { escapeField, isNull, isUnchanged, rawField, unescapeField, type Row } from '../core/row.ts'
import type { ResolveDeps } from './resolve.ts'

/** How many suffixes are asked for at once. */
const CANDIDATES = 20

/**
 * Unique values that a different row of the destination has: ours gets the first free suffix (`name-2`), which the ledger keeps, so that it
 * stays the same on every replay. A value that one of our own rows has for the moment (two rows that swap) is no clash.
 */
export async function renameRows(program: Program, rows: readonly Row[], deps: ResolveDeps): Promise<void> {
  for (const rule of program.rule.rename) await renameColumn(program, rule, rows, deps)
}

interface Named {
  readonly key: string
  readonly raw: string
  readonly values: readonly (string | null)[]
}

async function renameColumn(program: Program, rule: RenameRule, rows: readonly Row[], deps: ResolveDeps): Promise<void> {
  const entity = renameName(program.rule, rule.column)
  const named = rows.flatMap((row) => namedRow(program, rule, row, deps))
  await deps.decisions.load(entity, named.map(({ key, raw }) => `${key}\t${raw}`))
  const open = named.filter(({ key, raw }) => !deps.decisions.get(entity, `${key}\t${raw}`))
  if (open.length === 0) return
  const taken = await others(program, rule, open.map(({ values }) => values), deps)
  const at = rule.unique.indexOf(rule.column)
  const given = new Set<string>()
  for (const [i, one] of open.entries()) {
    if (!taken[i]) continue
    const id = await freeName(program, rule, { values: one.values, at, given }, deps)
    given.add(id)
    deps.decisions.decide({ entity, key: `${one.key}\t${one.raw}`, id: rawOf(id), kind: 'renamed', rule: `${rule.unique.join(' + ')} is taken`, evidence: '' })
  }
}

/** The unique values of a row that is ours; nothing for rows that are merged, not carried, or whose values are not all known. */
function namedRow(program: Program, rule: RenameRule, row: Row, deps: ResolveDeps): Named[] {
  const key = keyOf(row, program.key)
  const decision = program.rule.ledger ? deps.decisions.get(ledgerName(program), key) : undefined
  if (program.rule.ledger && decision?.kind !== 'inserted' && decision?.kind !== 'adopted') return []
  const steps = rule.unique.map((name) => program.columns[program.rule.columns.findIndex((c) => c.target === name)])
  if (steps.some((step) => step.from < 0 || isUnchanged(row, step.from) || isNull(row, step.from))) return []
  const values = steps.map((step) => {
    if (step.kind === 'renamed') return textOf(rawField(row, step.from))
    const lines = new Lines(64)
    writeColumns(program, [step], row, lines, deps.scope)
    return textOf(lines.view().toString('latin1'))
  })
  const own = steps[rule.unique.indexOf(rule.column)]
  return [{ key, raw: rawField(row, own.from), values }]
}

/** For each set of values: does a row that is not ours have it? */
async function others(program: Program, rule: RenameRule, rows: readonly (readonly (string | null)[])[], deps: ResolveDeps): Promise<boolean[]> {
  const target = deps.targetOf(program)
  const on = rule.unique.map((column) => ({ column, normalise: 'exact' as const }))
  const types = rule.unique.map((name) => target.columns.find((c) => c.name === name)!.type)
  const hits = await deps.match({ table: program.rule.target, on, types, key: program.rule.targetKey, rows })
  const ours = program.rule.ledger ? await deps.ours(ledgerName(program), hits.flat()) : null
  const minter = program.rule.entity === null ? null : deps.minters.get(program.rule.entity)
  return hits.map((ids) => ids.some((id) => (ours ? !ours.has(id) : minter?.unmint(textOf(id)) == null)))
}

interface Wanted {
  readonly values: readonly (string | null)[]
  readonly at: number
  readonly given: ReadonlySet<string>
}

async function freeName(program: Program, rule: RenameRule, { values, at, given }: Wanted, deps: ResolveDeps): Promise<string> {
  for (let from = 2; ; from += CANDIDATES) {
    const names = Array.from({ length: CANDIDATES }, (_, i) => `${values[at]}${rule.separator}${from + i}`)
    const taken = await deps.match({
      table: program.rule.target, on: rule.unique.map((column) => ({ column, normalise: 'exact' as const })),
      types: rule.unique.map((name) => deps.targetOf(program).columns.find((c) => c.name === name)!.type),
      key: program.rule.targetKey, rows: names.map((name) => values.map((value, i) => (i === at ? name : value))),
    })
    const free = names.find((name, i) => taken[i].length === 0 && !given.has(name))
    if (free !== undefined) return free
  }
}

function textOf(raw: string): string {
  return unescapeField(Buffer.from(raw, 'latin1')).toString('utf8')
}

function rawOf(text: string): string {
  return escapeField(Buffer.from(text, 'utf8')).toString('latin1')
}
