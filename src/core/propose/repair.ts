import type { Problem } from '../problem.ts'
import { note, type Proposal } from './proposal.ts'

interface Repair {
  /** Of the proposal as it is now. */
  problems(): readonly Problem[]
  /** Lists the tables anew after one was skipped. */
  relist(): void
  /** A text that a column of the destination, which nothing fills, could hold; null when none is safe to guess. */
  filler(label: string, column: string): string | null
}

const ROUNDS = 100

/**
 * Takes back what does not hold, until the mapping compiles: a guess that does not fit, a column that has no place, in the end a whole
 * table. Each time a note or a reason that begins with `todo:` says so.
 */
export function repair(proposal: Proposal, { problems, relist, filler }: Repair): void {
  for (let round = 0; round < ROUNDS; round++) {
    const errors = problems().filter((p) => p.severity === 'error')
    if (errors.length === 0) return
    for (const error of round < ROUNDS / 2 ? errors : []) mend(proposal, error, filler)
    if (round >= ROUNDS / 2) for (const error of errors) skip(proposal, error)
    relist()
  }
}

function place({ spec }: Proposal, where: string): { label: string; column: string | null } | null {
  const label = Object.keys(spec.tables).sort((a, b) => b.length - a.length).find((l) => where === `tables.${l}` ||
    where.startsWith(`tables.${l}.`))
  if (label === undefined) return null
  const rest = where.slice(`tables.${label}.`.length)
  return { label, column: rest.startsWith('columns.') ? rest.slice('columns.'.length).replace(/\.(ref|array)$/, '') : null }
}

function mend(proposal: Proposal, error: Problem, filler: Repair['filler']): void {
  const { spec } = proposal
  if (error.where.startsWith('entities.')) return keepKey(proposal, error)
  const found = place(proposal, error.where)
  if (found === null) return
  const { label, column } = found
  const rule = spec.tables[label]
  if (rule.verdict === 'skip') return
  if (column === null) return error.code === 'RENAME' ? void delete rule.rename : skip(proposal, error)
  const path = `tables.${label}.columns.${column}`
  const guess = rule.columns?.[column]
  const guessed = guess?.ref !== undefined || guess?.array !== undefined
  const constant = error.code === 'COLUMN_UNFILLED' ? filler(label, column) : null
  if (constant !== null) {
    rule.columns = { ...rule.columns, [column]: { constant } }
    note(proposal, path, 'todo: only the destination has this column; what shall stand in it?')
  } else if (error.code === 'ID_UNDECIDED') {
    rule.notAnId = [...(rule.notAnId ?? []), column]
    note(proposal, `tables.${label}`, `todo: ${column} looks like an id; is it one of this system's? Then say {ref: …}`)
  } else if (guessed) {
    rule.columns = Object.fromEntries(Object.entries(rule.columns!).filter(([name]) => name !== column))
    proposal.notes.delete(path)
  } else if (error.code === 'COLUMN_UNDECIDED') {
    rule.columns = { ...rule.columns, [column]: { drop: 'todo: the destination has no such column' } }
  } else if (error.code === 'PARENT_SKIPPED' && guess?.drop === undefined) {
    rule.columns = { ...rule.columns, [column]: { drop: 'todo: the table that it points at is skipped' } }
  } else if (error.code === 'TYPE_MISFIT' && spec.entities[label] !== undefined && spec.entities[label].id !== 'keep') {
    keepKey(proposal, { ...error, where: `entities.${label}` })
  } else skip(proposal, error)
}

function keepKey(proposal: Proposal, error: Problem): void {
  const name = Object.keys(proposal.spec.entities).find((e) => error.where === `entities.${e}` || error.where.startsWith(`entities.${e}.`))
  if (name === undefined) return
  if (error.code === 'ENTITY_KEY' || error.code === 'UNKNOWN_ENTITY' ||
    proposal.spec.entities[name].id === 'keep') delete proposal.spec.entities[name]
  else {
    proposal.spec.entities[name] = { id: 'keep' }
    note(proposal, `entities.${name}`, `todo: ${error.message}`)
  }
}

/** The last resort: the table is not carried until a person has said how. */
function skip(proposal: Proposal, error: Problem): void {
  const found = place(proposal, error.where)
  if (found === null) return
  proposal.spec.tables[found.label] = { verdict: 'skip', reason: `todo: ${error.message}` }
  delete proposal.spec.entities[found.label]
  for (const name of Object.keys(proposal.spec.entities)) if (name.startsWith(`${found.label}.`)) delete proposal.spec.entities[name]
  for (const path of proposal.notes.keys()) {
    if (path === `tables.${found.label}` || path.startsWith(`tables.${found.label}.`) ||
      path === `entities.${found.label}`) proposal.notes.delete(path)
  }
}
