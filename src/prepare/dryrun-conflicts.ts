import { tableOf, type Catalog } from '../core/catalog.ts'
import { keyOf } from '../core/coalesce.ts'
import { type Action, type ConflictRow, textOf } from '../core/conflicts-csv.ts'
import type { Mapping, MergeKeyPart } from '../core/mapping.ts'
import { ledgerName, type Minters, type Program } from '../core/program.ts'
import { nameOf } from '../core/relation.ts'
import { type Row, unescapeField } from '../core/row.ts'
import type { Outcome } from '../core/totals.ts'
import type { Entered, Overlay } from './dryrun-overlay.ts'
import { writtenValue } from './dryrun-parents.ts'
import type { Planned, Planner } from '../planning/planner.ts'

interface Of {
  readonly program: Program
  readonly run: {
    readonly planner: Planner
    readonly overlay: Overlay
    readonly catalogs: { readonly destination: Catalog }
    readonly mapping: Mapping
    readonly minters: Minters
  }
}

/** What the planner said of a block: one outcome a row. */
interface Found {
  readonly conflicts: Planned['conflicts']
  readonly outcomes: readonly Outcome[]
}

/**
 * Rows of a block that a person must decide about, by their place in it: those that the planner left, those that share a natural key with
 * a row planned before, and new rows whose unique values a row of the destination has (which the run would park).
 */
export async function findConflicts(rows: readonly Row[], planned: Found, of: Of): Promise<Map<number, ConflictRow>> {
  const { program } = of
  const found = new Map<number, ConflictRow>()
  const left = new Map(planned.conflicts.filter((c) => c.program === program && !c.behind).map((c) => [c.key, c.reason]))
  const fresh: number[] = []
  for (const [i, row] of rows.entries()) {
    const key = keyOf(row, program.key)
    const reason = left.get(key)
    if (reason !== undefined) found.set(i, await described(row, reason, of))
    else if (planned.outcomes[i] === 'inserted') {
      const twin = enter(row, key, of)
      if (twin) found.set(i, twinOf(program, key, twin))
      else fresh.push(i)
    }
  }
  for (const [i, conflict] of await taken(rows, fresh, of)) if (!found.has(i)) found.set(i, conflict)
  return found
}

/** The natural keys that are known whole of a row, as they will be at the destination. */
function naturalsOf(row: Row, { program, run }: Of): { on: readonly MergeKeyPart[]; values: (string | null)[] }[] {
  const { rule } = program
  return (rule.merge?.on ?? []).flatMap((on) => {
    const values = on.map((part) => writtenValue(program, rule.columns.findIndex((c) => c.target === part.column), row, run.planner.scope))
    return values.includes(null) ? [] : [{ on, values }]
  })
}

function enter(row: Row, key: string, of: Of): Entered | null {
  const { program, run } = of
  if (!program.rule.merge) return null
  const entity = ledgerName(program)
  const id = run.planner.decisions.get(entity, key)?.id ?? ''
  for (const natural of naturalsOf(row, of)) {
    const twin = run.overlay.enter({ table: program.rule.target, ...natural }, { entity, key, id })
    if (twin) return twin
  }
  return null
}

function twinOf(program: Program, key: string, twin: Entered): ConflictRow {
  const evidence = `source key ${textOf(twin.key)}`
  return conflictOf(program, key, { target: twin.id, reason: 'two source rows have one natural key', evidence, action: 'merge' })
}

interface Said {
  readonly target: string
  readonly reason: string
  readonly evidence: string
  readonly action: Action
}

function conflictOf({ rule }: Program, key: string, { target, reason, evidence, action }: Said): ConflictRow {
  return { table: nameOf(rule.source), source_key: textOf(key), target_key: textOf(target), reason, evidence, recommended_action: action }
}

/** A planner's conflict with the destination's rows that speak in it. */
async function described(row: Row, reason: string, of: Of): Promise<ConflictRow> {
  const { program, run } = of
  const { rule } = program
  const key = keyOf(row, program.key)
  const twin = naturalsOf(row, of).map((natural) => run.overlay.entered({ table: rule.target, ...natural })).find((e) => e && e.key !== key)
  if (twin) return twinOf(program, key, twin)
  const own = { on: rule.targetKey.map((column) => ({ column, normalise: 'exact' as const })) }
  const questions = rule.merge ? naturalsOf(row, of) : [{ ...own, values: ownKey(row, of) }]
  for (const { on, values } of questions) {
    const types = on.map((part) => typeOf(part.column, of))
    const [ids] = await run.overlay.match({ table: rule.target, on, types, key: rule.targetKey, rows: [values] })
    if (ids.length === 0) continue
    const parts = on.map((p) => (p.normalise === 'exact' ? p.column : `lower(${p.column})`))
    const evidence = `${parts.join(' + ')}: ${ids.slice(0, 5).map(textOf).join(', ')}`
    return conflictOf(program, key, { target: ids.length === 1 ? ids[0] : '', reason, evidence, action: rule.merge ? 'merge' : 'map' })
  }
  return conflictOf(program, key, { target: '', reason, evidence: '', action: 'drop' })
}

function ownKey(row: Row, { program, run }: Of): (string | null)[] {
  return program.targetKeyAt.map((i) => writtenValue(program, i, row, run.planner.scope))
}

function typeOf(column: string, { program, run }: Of): string {
  return tableOf(run.catalogs.destination, program.rule.target)!.columns.find((c) => c.name === column)!.type
}

/** New rows whose values of a unique key stand in a row of the destination that is not ours. */
async function taken(rows: readonly Row[], fresh: readonly number[], of: Of): Promise<Map<number, ConflictRow>> {
  const { program, run } = of
  const { rule } = program
  const found = new Map<number, ConflictRow>()
  const target = tableOf(run.catalogs.destination, rule.target)!
  for (const unique of rule.keyed && rule.targetKey.length > 0 ? target.uniques : []) {
    const at = unique.columns.map((name) => rule.columns.findIndex((c) => c.target === name))
    const isKey = unique.columns.length === rule.targetKey.length && unique.columns.every((c) => rule.targetKey.includes(c))
    if (!unique.usable || isKey || at.includes(-1)) continue
    const asked = fresh.map((i) => ({ i, values: at.map((column) => writtenValue(program, column, rows[i], run.planner.scope)) }))
      .filter(({ values }) => !values.includes(null))
    if (asked.length === 0) continue
    const on = unique.columns.map((column) => ({ column, normalise: 'exact' as const }))
    const answers = await run.overlay.match({ table: rule.target, on, types: unique.columns.map((c) => typeOf(c, of)),
      key: rule.targetKey, rows: asked.map((a) => a.values) })
    const foreign = await notOurs(answers, of)
    // A suffix makes a text another one; nothing else can be renamed.
    const text = unique.columns.some((c) => /^(text|character varying)/.test(typeOf(c, of)))
    asked.forEach(({ i }, n) => {
      if (foreign[n].length === 0 || found.has(i)) return
      const evidence = `${unique.columns.join(' + ')}: ${foreign[n].map(textOf).join(', ')}`
      found.set(i, conflictOf(program, keyOf(rows[i], program.key), {
        target: foreign[n][0], reason: 'a unique value is taken at the destination', evidence, action: text ? 'rename' : 'map',
      }))
    })
  }
  return found
}

async function notOurs(answers: readonly (readonly string[])[], { program, run }: Of): Promise<string[][]> {
  const { rule } = program
  if (!rule.ledger) {
    const minter = run.minters.get(rule.entity ?? '')
    return answers.map((ids) => ids.filter((id) => minter?.unmint(unescapeField(Buffer.from(id, 'latin1')).toString('utf8')) == null))
  }
  const all = [...new Set(answers.flat())]
  const ours = new Set((all.length > 0 ? await run.overlay.idMap.findIds(all) : [])
    .filter((d) => d.entity === ledgerName(program) && (d.kind === 'inserted' || d.kind === 'adopted')).map((d) => d.id))
  return answers.map((ids) => ids.filter((id) => !ours.has(id)))
}
