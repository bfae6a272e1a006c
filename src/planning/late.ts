import type { Change } from '../core/change.ts'
import { keyOf } from '../core/coalesce.ts'
import { mayBeFirst } from '../core/gather.ts'
import type { Program } from '../core/program.ts'
import { unescapeField } from '../core/row.ts'
import { destinationKey } from './refused.ts'
import type { ResolveDeps } from './resolve.ts'

/**
 * Updates with which rows pass their filter for the first time, and which do not bring all of them: their rows are not at the destination,
 * and only the source can tell what they are. Asked of all at once, so that thousands of them need not fail one by one.
 */
export async function lateRows(changes: readonly Change[], deps: ResolveDeps): Promise<ReadonlySet<Change>> {
  const asked = new Map<Program, { change: Change; key: string }[]>()
  const seen = new Set<string>()
  for (const change of changes) {
    const program = deps.programOf(change.relation)
    const { where, verdict, keyed } = program.rule
    if (where.length === 0 || change.op === 'truncate') continue
    const names = [change.old, change.row].flatMap((row) => (row ? [`${program.name}\n${keyOf(row, program.key)}`] : []))
    // What an earlier change of these has made of the row is not there yet.
    const first = !names.some((name) => seen.has(name))
    for (const name of names) seen.add(name)
    if (!first || verdict !== 'move' || !keyed || !mayBeFirst(change, program)) continue
    const key = await destinationKey(program, (change.old ?? change.row)!, deps)
    if (key === null) continue
    const some = asked.get(program) ?? []
    asked.set(program, some)
    some.push({ change, key })
  }
  const late = new Set<Change>()
  for (const [program, some] of asked) (await present(program, some, deps)).forEach((there, i) => there || late.add(some[i].change))
  return late
}

/** New rows, and rows that go, under whose computed id there is a row. Where a ledger says what is ours, it is asked when they are planned. */
export async function takenRows(changes: readonly Change[], deps: ResolveDeps): Promise<ReadonlySet<Change>> {
  const asked = new Map<Program, { change: Change; key: string }[]>()
  for (const change of changes) {
    const program = deps.programOf(change.relation)
    if ((change.op !== 'insert' && change.op !== 'delete') || program.rule.ledger || !program.rule.keyed) continue
    const key = await destinationKey(program, (change.row ?? change.old)!, deps)
    if (key === null) continue
    const some = asked.get(program) ?? []
    asked.set(program, some)
    some.push({ change, key })
  }
  const taken = new Set<Change>()
  for (const [program, some] of asked) (await present(program, some, deps)).forEach((there, i) => there && taken.add(some[i].change))
  return taken
}

async function present({ rule }: Program, some: readonly { readonly key: string }[], deps: ResolveDeps): Promise<boolean[]> {
  const { columns } = deps.tableNamed(rule.target)
  const found = await deps.match({
    table: rule.target, on: rule.targetKey.map((column) => ({ column, normalise: 'exact' as const })), key: rule.targetKey,
    types: rule.targetKey.map((name) => columns.find((column) => column.name === name)!.type),
    rows: some.map(({ key }) => key.split('\t').map((field) => unescapeField(Buffer.from(field, 'latin1')).toString('utf8'))),
  })
  return found.map((keys) => keys.length > 0)
}
